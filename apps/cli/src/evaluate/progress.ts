/** How far an evaluation is: a bar that is drawn over on a terminal, a line every tenth elsewhere. */
import type { Writable } from "node:stream";

const WIDTH = 30;
const REDRAW_MS = 100;

export interface Progress {
  update(done: number): void;
  end(): void;
}

export function progressOn(
  stderr: Writable & { readonly isTTY?: boolean },
  total: number,
  now: () => number,
): Progress {
  return stderr.isTTY === true ? bar(stderr, total, now) : lines(stderr, total, now);
}

function bar(stderr: Writable, total: number, now: () => number): Progress {
  const startMs = now();
  let drawnMs = -Infinity;
  return {
    update(done) {
      if (done < total && now() - drawnMs < REDRAW_MS) return;
      drawnMs = now();
      const filled = Math.floor((WIDTH * done) / total);
      const text = `[${"#".repeat(filled)}${".".repeat(WIDTH - filled)}] ${counts(done, total, now() - startMs)}`;
      stderr.write(`\r${text}\u001B[K`);
    },
    end: () => void stderr.write("\r\u001B[K"),
  };
}

function lines(stderr: Writable, total: number, now: () => number): Progress {
  const startMs = now();
  let said = 0;
  stderr.write(`${counts(0, total, 0)}\n`);
  return {
    update(done) {
      const tenth = Math.floor((10 * done) / total);
      if (tenth === said) return;
      said = tenth;
      stderr.write(`${counts(done, total, now() - startMs)}\n`);
    },
    end: () => undefined,
  };
}

function counts(done: number, total: number, elapsedMs: number): string {
  const leftS = done === 0 ? null : (elapsedMs / done) * (total - done) * 1e-3;
  const left = leftS === null || done === total ? "" : `, about ${clock(leftS)} left`;
  return `${done} of ${total} runs, ${clock(elapsedMs / 1000)}${left}`;
}

function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
