import { stringify } from "yaml";
import { ApiClient, Refusal } from "../api/client.js";
import type { Engine } from "./services.js";
import { readSecret, writePrivate } from "./state-folder.js";

export interface AgentConfigOptions {
  readonly agent: string;
  readonly controllerUrl: string;
  readonly keyFile: string;
  readonly stateDir: string;
  readonly windowMs: number;
  readonly instances: readonly { readonly engine: Engine; readonly pool: string }[];
}

/** The agent's YAML for engines on this machine, each of one rank. */
export function agentConfigText(options: AgentConfigOptions): string {
  return stringify({
    agent: options.agent,
    controller: { url: options.controllerUrl, keyFile: options.keyFile },
    stateDir: options.stateDir,
    windowMs: options.windowMs,
    instances: options.instances.map(({ engine, pool }) => ({
      instance: engine.name,
      pool,
      ranks: [0],
      rankCount: 1,
      reader: { type: "sglang", url: engine.metricsUrl },
      driver: { type: "engine-sim", socket: engine.socket },
    })),
  });
}

/** Leaves a key in `file` with which `agent` may report: the one that is there if it still works, else a new one. */
export async function ensureAgentKey(admin: ApiClient, agent: string, file: string): Promise<void> {
  const kept = readSecret(file);
  if (kept !== null && (await works(new ApiClient({ url: admin.url, key: kept }), agent))) return;
  const { body } = await admin.call("createKey", { body: { name: `agent ${agent}`, role: "agent", agent } });
  writePrivate(file, `${body.key}\n`);
}

async function works(client: ApiClient, agent: string): Promise<boolean> {
  try {
    await client.call("getAssignments", { query: { agent, waitMs: 0 } });
    return true;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    // 304 and 404 come after the key has been accepted.
    return error.status !== 401 && error.status !== 403;
  }
}
