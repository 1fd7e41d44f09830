import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { KvPool } from "@fulcrum/kv-pool/pool.js";
import { stressKills, stressPairs } from "@fulcrum/kv-pool/stress/run.js";
import { MutexPool } from "./kv-pool-mutex.js";
import type { BenchAnswer, BenchOrder } from "./kv-pool-worker.js";

const WORKER = fileURLToPath(new URL("./kv-pool-worker.js", import.meta.url));
const BLOCKS = 65_536;
const SIZES = [1, 4, 16, 64, 256];
const TARGET_NS = { alone: 150, together: 400 };
const SECONDS_PER_CELL = 0.7;
const LONG = { pairs: 10_000_000, kills: 1_000 };

interface Cell {
  readonly allocateNs: number;
  readonly allocateMeanNs: number;
  readonly freeNs: number;
}

/**
 * `npm run bench -- kv-pool`: ns per allocation of n blocks, one process alone and prefill beside decode, against a robust
 * pthread mutex in the same run. `--long`: also 2 x 10 million pairs and 1,000 kills. Prints; judges nothing.
 */
export async function kvPoolBench(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { json: { type: "string" }, long: { type: "boolean", default: false } },
  });
  // Shared memory proper where there is any; elsewhere a file, whose pages are as shared.
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "fulcrum-bench-"));
  try {
    const figures = {
      loadBefore: loadavg()[0],
      allocation: await allocationPhase(folder),
      long: values.long ? await longPhase(folder) : null,
    };
    if (values.json) writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function allocationPhase(folder: string) {
  console.log(
    `\nkv-pool, ${BLOCKS} blocks, ns per allocation of n blocks: median of batches (mean), then ns per free; machine's load ${loadavg()[0]!.toFixed(1)} before\n` +
      `  targets: below ${TARGET_NS.alone} ns alone, below ${TARGET_NS.together} ns together, faster than the mutex`,
  );
  const withMutex = process.platform === "linux";
  if (!withMutex) console.log("  no robust pthread mutex on this system: no comparison");
  const rows = [];
  for (const n of SIZES) {
    // In turn, so that a busy minute of the machine falls on both.
    const row = {
      n,
      poolAlone: await cell(folder, "pool", n, 1),
      mutexAlone: withMutex ? await cell(folder, "mutex", n, 1) : null,
      scatteredAlone: await cell(folder, "pool", n, 1, true),
      poolTogether: await cell(folder, "pool", n, 2),
      mutexTogether: withMutex ? await cell(folder, "mutex", n, 2) : null,
    };
    rows.push(row);
    console.log(
      `  n ${String(n).padStart(3)}  alone: pool ${text(row.poolAlone)}, mutex ${text(row.mutexAlone)}, half of the pool held by another, scattered ${text(row.scatteredAlone)}\n` +
        `         two processes: pool ${text(row.poolTogether)}, mutex ${text(row.mutexTogether)}`,
    );
  }
  return rows;
}

/** One size by one or two processes; of two, the mean of both. */
async function cell(
  folder: string,
  kind: BenchOrder["kind"],
  n: number,
  processes: number,
  scattered = false,
): Promise<Cell> {
  const path = join(folder, "pool");
  const barrier = join(folder, "barrier");
  writeFileSync(barrier, new Uint8Array(64));
  if (kind === "mutex") MutexPool.create(path, BLOCKS);
  else {
    const pool = KvPool.create(path, { blocks: BLOCKS, tokensPerBlock: 16, bytesPerBlock: 0 });
    if (scattered) await holdEveryOtherOnAverage(pool);
    pool.close();
  }
  const roles = ["prefill", "decode"] as const;
  const run = promisify(execFile);
  try {
    const answers = await Promise.all(
      roles.slice(0, processes).map(async (role) => {
        const order: BenchOrder = { kind, path, barrier, processes, role, n, seconds: SECONDS_PER_CELL };
        const { stdout } = await run(process.execPath, [WORKER, JSON.stringify(order)], { timeout: 60_000 });
        return JSON.parse(stdout) as BenchAnswer;
      }),
    );
    const mean = (key: keyof Cell) => answers.reduce((sum, answer) => sum + answer[key], 0) / answers.length;
    return { allocateNs: mean("allocateNs"), allocateMeanNs: mean("allocateMeanNs"), freeNs: mean("freeNs") };
  } finally {
    rmSync(path);
    rmSync(barrier);
  }
}

async function holdEveryOtherOnAverage(pool: KvPool): Promise<void> {
  const holder = await pool.attach({ role: "decode", turn: 0 });
  const all = new Uint32Array(BLOCKS);
  holder.allocate(BLOCKS, all);
  // A multiplicative hash: which half is held has no pattern that eight blocks to a word could line up with.
  holder.free(all.filter((block) => Math.imul(block, 0x9e3779b1) >>> 31 === 0));
}

async function longPhase(folder: string) {
  // Small enough that the quota and the pool's end are met all the time.
  const shape = { blocks: 1_000, prefillQuotaBlocks: 500, maxBlocks: 64 };
  const path = join(folder, "stress");
  console.log(`\nprefill beside decode, ${LONG.pairs} allocate/free pairs each, 1 to 64 blocks`);
  const pairs = await stressPairs({ ...shape, path, roles: ["prefill", "decode"], pairs: LONG.pairs });
  console.log(
    `  ${faultsText(pairs)}, quota passed ${pairs.quotaPassed}; ${pairs.workers.map((worker) => `${worker.pairs} pairs, ${worker.blocks} blocks in ${worker.seconds.toFixed(0)} s (refused: ${worker.refused.over_quota} over quota, ${worker.refused.no_room} no room)`).join("; ")}`,
  );
  console.log(
    `\n${LONG.kills} workers killed (SIGKILL) while they allocate and free beside one that goes on`,
  );
  const kills = await stressKills({ ...shape, path, kills: LONG.kills, random: Math.random });
  console.log(
    `  ${faultsText(kills)}; ${kills.foundBlocks} blocks of dead workers found and freed; ${kills.insideACall} of ${kills.kills} died inside an allocation or a free`,
  );
  return { pairs, kills };
}

function faultsText(faults: {
  readonly doubleAllocations: number;
  readonly lostBlocks: number;
  readonly chargedBlocks: number;
}): string {
  return `double allocations ${faults.doubleAllocations}, blocks lost ${faults.lostBlocks}, still charged ${faults.chargedBlocks}`;
}

function text(of: Cell | null): string {
  if (of === null) return "-";
  return `${of.allocateNs.toFixed(0)} (${of.allocateMeanNs.toFixed(0)}), ${of.freeNs.toFixed(0)}`;
}
