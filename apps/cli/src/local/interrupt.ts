import type { Io } from "../io.js";
import { CliFailure, EXIT } from "../failure.js";

/** The person asked to stop. Not a failure: the caller ends what it began and leaves in peace. */
export class Interrupted extends CliFailure {
  constructor(readonly signalName: string) {
    super(EXIT.interrupted, `stopped by ${signalName}`);
    this.name = "Interrupted";
  }
}

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Lets signals do what they did before. */
  release(): void;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Aborts at the first Ctrl-C, SIGTERM or hang-up, so that everything can be stopped in order. The second
 * one ends this process at once; its children see their standard input close and end too.
 */
export function onInterrupt(io: Io): Interrupt {
  const controller = new AbortController();
  const handle = (name: string) => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    io.stderr.write(`\nstopping (once more: at once)\n`);
    controller.abort(new Interrupted(name));
  };
  for (const name of SIGNALS) process.on(name, handle);
  return {
    signal: controller.signal,
    release: () => {
      for (const name of SIGNALS) process.off(name, handle);
    },
  };
}
