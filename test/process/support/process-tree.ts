/** What a program has started, however it was started, and whether any of it is still there. */
import { execFileSync } from "node:child_process";

import { processBirth } from "@fulcrum/embedded/process-table.js";

import { until } from "./until.js";

/** The agent waits up to 15 s for a report in flight. */
const GONE_LIMIT_MS = 25_000;

interface Row {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

function processTable(): Row[] {
  const text = execFileSync("ps", ["-A", "-ww", "-o", "pid=,ppid=,command="], {
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  return text.split("\n").flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line);
    return match === null
      ? []
      : [{ pid: Number(match[1]), parent: Number(match[2]), command: match[3] ?? "" }];
  });
}

/** The processes below this one, itself left out. */
export function descendantsOf(pid: number): Row[] {
  const table = processTable();
  const found: Row[] = [];
  const parents = new Set([pid]);
  // Children may stand before their parents in the table: again until nothing new is found.
  for (let before = -1; before !== found.length;) {
    before = found.length;
    for (const row of table) {
      if (!parents.has(row.parent) || parents.has(row.pid)) continue;
      parents.add(row.pid);
      found.push(row);
    }
  }
  return found;
}

/** Remembers everything that a program has started, for as long as it is looked at. */
export class ProcessTree {
  private readonly births = new Map<number, string>();
  private readonly commands = new Map<number, string>();

  constructor(
    private readonly pid: number,
    /** Stands in the command lines of what belongs to it: also found when its parent has gone. */
    private readonly mark: string,
  ) {}

  /** How many of the programs that it saw have this in their command line. */
  count(part: string): number {
    return [...this.commands.values()].filter((command) => command.includes(part)).length;
  }

  async look(): Promise<void> {
    for (const { pid, command } of descendantsOf(this.pid)) {
      const birth = await processBirth(pid);
      if (birth === undefined) continue;
      this.births.set(pid, birth);
      this.commands.set(pid, command);
    }
  }

  /** Those of the ones seen that still run. */
  private async seenLeft(): Promise<string[]> {
    const left: string[] = [];
    for (const [pid, birth] of this.births) {
      if ((await processBirth(pid)) === birth) left.push(`${pid} ${this.commands.get(pid) ?? ""}`);
    }
    return left;
  }

  /** Those that still run: of the ones seen, and by the mark. */
  private async left(): Promise<string[]> {
    const left = await this.seenLeft();
    const marked = processTable().filter(
      ({ pid, command }) => command.includes(this.mark) && !this.births.has(pid) && pid !== this.pid,
    );
    return [...left, ...marked.map(({ pid, command }) => `${pid} ${command}`)];
  }

  allGone(): Promise<void> {
    return none(() => this.left());
  }

  /** As allGone, but what bears the mark and was never seen may run: it belongs to a later life. */
  seenGone(): Promise<void> {
    return none(() => this.seenLeft());
  }

  /** For the end of a test that failed. */
  async killAll(): Promise<void> {
    for (const [pid, birth] of this.births) {
      if ((await processBirth(pid)) === birth) process.kill(pid, "SIGKILL");
    }
  }
}

async function none(left: () => Promise<string[]>): Promise<void> {
  await until(
    "everything that was started has ended",
    async () => {
      const still = await left();
      if (still.length > 0) throw new Error(still.join("\n"));
      return true;
    },
    GONE_LIMIT_MS,
  );
}
