import type { Io } from "../io.js";

const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const CLEAR_REST_OF_LINE = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";
const RED = "\u001b[31m";
const GREEN = "\u001b[32m";
const PLAIN = "\u001b[0m";

/** Without a terminal a block of plain text comes so often. */
const BLOCK_EVERY_MS = 10_000;

/** Where the live view goes: redrawn in place on a terminal, else a block of text every 10 s. */
export interface Screen {
  draw(lines: (width: number) => string[]): void;
  close(): void;
}

export function openScreen(io: Io): Screen {
  return io.stdout.isTTY === true ? terminalScreen(io) : blockScreen(io);
}

function terminalScreen(io: Io): Screen {
  const { stdout } = io;
  const colours = (io.env["NO_COLOR"] ?? "") === "";
  let open = true;
  stdout.write(ENTER);
  return {
    draw(lines) {
      if (!open) return;
      const shown = lines(stdout.columns ?? 80).slice(0, (stdout.rows ?? 24) - 1);
      const text = shown.map((line) => (colours ? painted(line) : line) + CLEAR_REST_OF_LINE).join("\n");
      stdout.write(HOME + text + CLEAR_BELOW);
    },
    close() {
      if (open) stdout.write(LEAVE);
      open = false;
    },
  };
}

function blockScreen(io: Io): Screen {
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  return {
    draw(lines) {
      if (io.now() - drawnAtMs < BLOCK_EVERY_MS) return;
      drawnAtMs = io.now();
      io.stdout.write(`${lines(100).join("\n").trimEnd()}\n\n`);
    },
    close: () => undefined,
  };
}

/** Verdicts stand after a latency and its unit: "412 ms OVER". */
function painted(line: string): string {
  return line
    .replace(/(?<=m?s )OVER\b/g, `${RED}OVER${PLAIN}`)
    .replace(/(?<=m?s )ok\b/g, `${GREEN}ok${PLAIN}`);
}
