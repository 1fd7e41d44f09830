/** The steps of a restart: drain, the operator's command, wait until the engine answers again, serve. */
import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import { z } from "zod";
import type { Clock } from "../../clock.js";
import { DriverError } from "../../partition-driver.js";
import { argv, durationMs, httpUrl } from "../../config-fields.js";
import { requestJson } from "../staged/json-request.js";

/** A command, or a POST; done when it ends well. One shape with both, so that a wrong field is told by its name. */
const order = z
  .strictObject(
    { command: argv.optional(), url: httpUrl.optional(), timeoutMs: durationMs(100, 3_600_000, 60_000) },
    "must be { command: [...] } or { url: ... }, and may hold timeoutMs",
  )
  .refine(({ command, url }) => (command === undefined) !== (url === undefined), {
    error: "must have either command or url",
  });

type Order = z.infer<typeof order>;

export const engineRestart = z.strictObject({
  /** Until it is set the driver refuses to move: a restart drops what the drain did not wait for. */
  allowRestart: z.boolean().default(false),
  /** What makes the router send no more, and waits; without it requests in flight are lost. */
  drain: order.optional(),
  /** Undoes the drain, once the engine is well again or was left as it is. */
  resume: order.optional(),
  /**
   * For example ["systemctl", "restart", "sglang.service"]. Ends when the old engine is gone and the new one starts;
   * an engine that it leaves running must have an output of its own.
   */
  command: argv,
  commandTimeoutMs: durationMs(100, 3_600_000, 120_000),
  healthUrl: httpUrl,
  /** From the end of the command to the first good answer: loads the weights. */
  healthTimeoutMs: durationMs(100, 3_600_000, 600_000),
  healthPollMs: durationMs(10, 60_000, 1_000),
  /** Least time between two restarts. */
  minIntervalMs: durationMs(0, 86_400_000, 600_000),
});

export type EngineRestartConfig = z.infer<typeof engineRestart>;

/** Of what a command wrote, this much is told. */
const MAX_OUTPUT = 2_000;
/** After SIGTERM, before SIGKILL. Only of the operator's command, never of the engine. */
const COMMAND_GRACE_MS = 2_000;

/** @throws DriverError `code` */
export async function give(how: Order, code: string): Promise<void> {
  const { command, url = "", timeoutMs } = how;
  if (command) return runCommand(command, timeoutMs, code);
  const answer = await requestJson({ method: "POST", url, body: {}, timeoutMs }).catch((error: unknown) => {
    throw new DriverError(code, error instanceof Error ? error.message : String(error), true);
  });
  if (answer.status < 200 || answer.status >= 300) {
    throw new DriverError(code, `${url} answered ${answer.status}`, true);
  }
}

/** `onStart` gets the command's pid. @throws DriverError `code` */
export async function runCommand(
  command: readonly string[],
  timeoutMs: number,
  code: string,
  onStart?: (pid: number) => void,
): Promise<void> {
  const [file = "", ...args] = command;
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  if (child.pid !== undefined) onStart?.(child.pid);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-MAX_OUTPUT);
    });
  }
  let timedOut = false;
  const end = (name: NodeJS.Signals): void => {
    // Its whole group: a script's children must not outlive it. Gone already: nothing to end.
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name);
    } catch {
      child.kill(name);
    }
  };
  const timer = setTimeout(() => {
    timedOut = true;
    end("SIGTERM");
    setTimeout(() => end("SIGKILL"), COMMAND_GRACE_MS).unref();
  }, timeoutMs);
  try {
    // "exit", not "close": an engine that the command left running may hold its output open.
    const how = await new Promise<string | null>((resolve) => {
      child.on("error", (error) => resolve(error.message));
      child.on("exit", (status, name) => resolve(status === 0 ? null : `ended with ${name ?? status}`));
    });
    if (!timedOut && how === null) return;
    const why = timedOut ? `took longer than ${timeoutMs} ms` : how;
    throw new DriverError(code, `${command.join(" ")}: ${why}${output && `: ${output.trim()}`}`, true);
  } finally {
    clearTimeout(timer);
    // Read on, so that whatever the command left running can write; and let the agent end meanwhile.
    for (const stream of [child.stdout, child.stderr]) (stream as Socket).unref();
    child.unref();
  }
}

/** @throws DriverError `restart_failed` */
export async function untilHealthy(
  config: EngineRestartConfig,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const { healthUrl, healthTimeoutMs, healthPollMs } = config;
  const giveUpAtMs = clock.monotonicMs() + healthTimeoutMs;
  for (;;) {
    const timeoutMs = Math.max(100, healthPollMs);
    const last = await requestJson({ method: "GET", url: healthUrl, timeoutMs }).then(
      ({ status }) => (status === 200 ? null : `answered ${status}`),
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    if (last === null) return;
    if (signal.aborted) throw new DriverError("restart_failed", "the agent is closing", true);
    if (clock.monotonicMs() > giveUpAtMs) {
      const message = `${healthUrl} was not well within ${healthTimeoutMs} ms: ${last}`;
      throw new DriverError("restart_failed", message, true);
    }
    await clock.sleep(healthPollMs, signal);
  }
}
