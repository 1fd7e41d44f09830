/** The workers of one role that the rules are tried on, and the turn that the role has. */
import { join } from "node:path";
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { Candidate } from "./candidate.js";
import { RuleBroken } from "./conversation.js";

/** In the order in which they are started. Each is prepared for a generation, and so for a share, of its own. */
const NAMES = ["a", "b", "c", "d", "away", "refused"] as const;
export type Name = (typeof NAMES)[number];

export interface StageOptions {
  readonly role: WorkerRole;
  readonly folder: string;
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
  /** Longest wait for hello, and for ready. */
  readonly attachMs: number;
  /** Of the whole GPU; null: not said. */
  readonly gpuSmCount: number | null;
}

export class Stage {
  /** The role's turn, if all went as it should. */
  turn = 0;
  private readonly started = new Map<Name, Candidate>();

  constructor(readonly options: StageOptions) {}

  get all(): readonly Candidate[] {
    return [...this.started.values()];
  }

  of(name: Name): Candidate {
    const candidate = this.started.get(name);
    if (candidate === undefined) throw new RuleBroken(`worker ${name} was not started`);
    return candidate;
  }

  /** Starts it. */
  async start(name: Name, env: Readonly<Record<string, string>> = {}): Promise<Candidate> {
    const { role, folder, command } = this.options;
    const generation = NAMES.indexOf(name) + 1;
    const candidate = new Candidate({
      id: `${role}-${name}`,
      role,
      generation,
      smPct: 30 + 10 * generation,
      command,
      socket: join(folder, `${name}.sock`),
      env: { ...this.options.env, ...env },
    });
    this.started.set(name, candidate);
    await candidate.start();
    return candidate;
  }

  async greeted(name: Name, env: Readonly<Record<string, string>> = {}): Promise<Candidate> {
    const candidate = await this.start(name, env);
    await candidate.until("hello", this.options.attachMs, () => candidate.hello);
    return candidate;
  }

  async ready(name: Name, env: Readonly<Record<string, string>> = {}): Promise<Candidate> {
    const candidate = await this.greeted(name, env);
    await candidate.accept({ op: "attach" });
    await candidate.event("ready", this.options.attachMs);
    return candidate;
  }

  async end(): Promise<void> {
    for (const candidate of this.all) await candidate.end();
  }
}
