/** The engine's control socket (docs/control-socket.md), as a bystander sees it. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { createInterface, type Interface } from "node:readline";

const ANSWER_LIMIT_MS = 5_000;
const WATCH_EVERY_MS = 15;
const MAX_SEEN = 20_000;

export interface EngineState {
  readonly generation: number;
  readonly phase: "steady" | "preparing" | "switching";
  readonly delivered: {
    readonly prefillSmPct: number;
    readonly decodeSmPct: number;
    readonly kvQuotaPct: number;
  };
  readonly asked: EngineState["delivered"];
  readonly prepared: { readonly generation: number; readonly ready: boolean } | null;
  readonly bootId: string;
  /** Ended iterations of each role; those at which what is prepared will switch; those of the last switch. */
  readonly iterations: Iterations;
  readonly armed: Iterations | null;
  readonly switchedAt: Iterations | null;
}

export interface Iterations {
  readonly prefill: number;
  readonly decode: number;
}

export class EngineControl {
  private constructor(
    private readonly socket: Socket,
    private readonly lines: Interface,
  ) {}

  static async open(path: string): Promise<EngineControl> {
    const socket = connect(path);
    await once(socket, "connect");
    socket.on("error", () => undefined);
    return new EngineControl(socket, createInterface({ input: socket }));
  }

  async ask(request: object): Promise<Record<string, unknown>> {
    const answered = once(this.lines, "line", { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
    this.socket.write(`${JSON.stringify({ id: 1, ...request })}\n`);
    const [line] = (await answered) as [string];
    return JSON.parse(line) as Record<string, unknown>;
  }

  async observe(): Promise<EngineState> {
    return (await this.ask({ op: "observe" }))["state"] as EngineState;
  }

  close(): void {
    this.socket.destroy();
  }
}

export async function observe(path: string): Promise<EngineState> {
  const control = await EngineControl.open(path);
  try {
    return await control.observe();
  } finally {
    control.close();
  }
}

export async function setFaults(path: string, faults: object): Promise<void> {
  const control = await EngineControl.open(path);
  try {
    const answer = await control.ask({ op: "faults", ...faults });
    if (answer["ok"] !== true) throw new Error(JSON.stringify(answer));
  } finally {
    control.close();
  }
}

/** Looks at an engine some 60 times a second until it is told to stop or the engine is gone. */
export class EngineWatch {
  /** Each state that differs from the one before in generation, preparation or delivery, oldest first. */
  readonly seen: Omit<EngineState, "iterations" | "armed" | "switchedAt">[] = [];
  private readonly stopped = new AbortController();
  private readonly running: Promise<void>;

  constructor(path: string) {
    this.running = this.run(path).catch(() => undefined);
  }

  /** The generations that ran and that were prepared, in the order of seeing them. */
  get generations(): { readonly ran: readonly number[]; readonly prepared: readonly number[] } {
    return {
      ran: this.seen.map(({ generation }) => generation),
      prepared: this.seen.flatMap(({ prepared }) => (prepared === null ? [] : [prepared.generation])),
    };
  }

  async stop(): Promise<void> {
    this.stopped.abort();
    await this.running;
  }

  private async run(path: string): Promise<void> {
    const control = await EngineControl.open(path);
    let last = "";
    try {
      while (!this.stopped.signal.aborted && this.seen.length < MAX_SEEN) {
        const { generation, phase, delivered, asked, prepared, bootId } = await control.observe();
        const state = { generation, phase, delivered, asked, prepared, bootId };
        const text = JSON.stringify(state);
        if (text !== last) this.seen.push(state);
        last = text;
        await new Promise((resolve) => {
          setTimeout(resolve, WATCH_EVERY_MS);
        });
      }
    } finally {
      control.close();
    }
  }
}

/** Whether no number is below the one before it. */
export function neverFalls(numbers: readonly number[]): boolean {
  return numbers.every((number, index) => index === 0 || number >= (numbers[index - 1] ?? 0));
}

/** The value of an unlabelled or once-labelled series on the engine's metrics page. */
export async function metricOf(metricsUrl: string, name: string): Promise<number> {
  const response = await fetch(metricsUrl, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
  const line = (await response.text()).split("\n").find((line) => line.startsWith(`${name}{`));
  return Number(line?.split(" ").at(-1));
}
