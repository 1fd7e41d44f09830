/** `npm run bench -- holds`: what holds that are in force cost a decision, in reading what it needs to know. */
import { dataSourceOptions, openDatabase } from "@fulcrum/controller/db/data-source.js";
import { loadContexts } from "@fulcrum/controller/decisions/load-contexts.js";
import type { DataSource } from "typeorm";
import { Client } from "./fleet.js";
import { register } from "./fleet-stream.js";
import { type OwnController, withOwnController } from "./own-controller.js";

const INSTANCES = 1_000;
/** As many as may be in force, one on each instance. */
const HOLDS = [0, 100, 1_000];
/** Instances that one report has decided on, and how often that is measured. */
const BATCH = 16;
const ROUNDS = 300;

export function holdsBench(): Promise<void> {
  return withOwnController(measure);
}

async function measure({ server, databaseUrl, key }: OwnController): Promise<void> {
  const source = await openDatabase(dataSourceOptions(databaseUrl, 2));
  try {
    const admin = new Client(server.url, key, 4);
    const made = await admin.json<{ key: string }>("POST", "/v1/keys", { name: "bench", role: "agent" });
    const agents = await register(admin, new Client(server.url, made.key, 4), INSTANCES);
    const names = agents.flatMap(({ instances }) => instances);
    let held = 0;
    for (const count of HOLDS) {
      for (; held < count; held += 1)
        await admin.json("POST", "/v1/pauses", { instance: names[held], reason: "bench" });
      await tell(source, `${count} holds, each of another instance`);
    }
    await source.query("UPDATE holds SET instance_id = NULL");
    await tell(source, `${held} holds, all of the pool`);
    admin.close();
  } finally {
    await source.destroy();
  }
}

async function tell(source: DataSource, what: string): Promise<void> {
  await source.query("ANALYZE holds, instances, instance_signals");
  console.log(`${what}: ${await measured(source)}`);
}

async function measured(source: DataSource): Promise<string> {
  const rows = await source.query<{ id: string }[]>("SELECT id FROM instances ORDER BY id");
  const ids = rows.map(({ id }) => id);
  const tookUs: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const from = (round * BATCH) % (ids.length - BATCH);
    const startedAt = performance.now();
    await loadContexts(source, ids.slice(from, from + BATCH), [], Date.now());
    tookUs.push(((performance.now() - startedAt) * 1_000) / BATCH);
  }
  const sorted = tookUs.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.floor(share * (sorted.length - 1))]!);
  return `${at(0.5)} us a decision to read what it needs (p99 ${at(0.99)} us), ${BATCH} at a time`;
}
