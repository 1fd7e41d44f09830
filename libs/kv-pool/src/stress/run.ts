import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { countFields, freeFields } from "../fields.js";
import { MAP_WORD, type Role } from "../layout.js";
import { KvPool } from "../pool.js";
import { mapSegment } from "../segment.js";
import { MAX_TOKENS, SideArea } from "./side-area.js";
import type { StressAnswer, StressOrder } from "./worker.js";

// The built one, also when this file is run from its source.
const WORKER = fileURLToPath(new URL("../../dist/stress/worker.js", import.meta.url));
const READY_WITHIN_MS = 30_000;

/** The figures that must be 0, by whichever run. */
export interface StressFaults {
  /** Blocks that had another living holder's stamp on them when they were given out. */
  readonly doubleAllocations: number;
  /** Blocks not free in the map at the end; blocks still charged to workers that had freed all, or to a role. */
  readonly lostBlocks: number;
  readonly chargedBlocks: number;
}

export interface PairsResult extends StressFaults {
  /** Allocations after which the role held more than its quota. Not known of killed workers: they cannot say. */
  readonly quotaPassed: number;
  readonly workers: readonly StressAnswer[];
}

/** Real processes, one for each role given, that allocate and free at random until each has done its pairs. */
export async function stressPairs(options: {
  readonly path: string;
  readonly roles: readonly Role[];
  readonly pairs: number;
  readonly blocks: number;
  readonly prefillQuotaBlocks: number;
  readonly maxBlocks: number;
  /** Steps between two owners of each process; never unless given. */
  readonly respawnEvery?: number;
}): Promise<PairsResult> {
  return withPool(options, async (pool, side) => {
    const workers = options.roles.map((role, index) =>
      startWorker({
        ...paths(options.path),
        mode: "pairs",
        role,
        token: index + 1,
        pairs: options.pairs,
        maxBlocks: options.maxBlocks,
        seed: 7_919 * (index + 1),
        quotaBlocks: role === "prefill" ? options.prefillQuotaBlocks : options.blocks,
        respawnEvery: options.respawnEvery ?? 0,
        reclaimEvery: 0,
      }),
    );
    const answers = await Promise.all(workers.map((worker) => worker.answer));
    const { quotaPassed } = side;
    return { ...faults(options.path, pool, side, answers), quotaPassed, workers: answers };
  });
}

export interface KillsResult extends StressFaults {
  readonly kills: number;
  /** Of these, with other books than blocks at that instant: in the middle of an allocation or a free. */
  readonly insideACall: number;
  /** Blocks that dead workers held. */
  readonly foundBlocks: number;
}

/**
 * One decode worker runs all the time and takes back what the dead held; prefill workers beside it are started and killed
 * (SIGKILL) within 3 ms of work, one after the other, and this process takes back too, twice at once.
 */
export async function stressKills(options: {
  readonly path: string;
  readonly kills: number;
  readonly blocks: number;
  readonly prefillQuotaBlocks: number;
  readonly maxBlocks: number;
  readonly random: () => number;
}): Promise<KillsResult> {
  if (options.kills + 2 > MAX_TOKENS) throw new Error(`kills must be below ${MAX_TOKENS - 2}`);
  return withPool(options, async (pool, side) => {
    const common = { ...paths(options.path), mode: "pairs", pairs: 0, maxBlocks: options.maxBlocks } as const;
    const order = { ...common, quotaBlocks: null, respawnEvery: 0 };
    const survivor = startWorker({ ...order, role: "decode", token: 1, seed: 3, reclaimEvery: 20_000 });
    const second = KvPool.open(options.path);
    const answers: StressAnswer[] = [];
    let insideACall = 0;
    let foundBlocks = 0;
    // The next victim starts while this one is killed: a start is most of the time.
    const start = (token: number) =>
      startWorker({ ...order, role: "prefill", token, seed: token * 31, reclaimEvery: 0 });
    let next = start(2);
    try {
      for (let kill = 0; kill < options.kills; kill += 1) {
        const token = kill + 2;
        const victim = next;
        if (kill + 1 < options.kills) next = start(token + 1);
        await victim.ready;
        await sleep(options.random() * 3);
        side.markDead(token);
        await victim.kill();
        const charged = pool.owners().find((owner) => owner.process.pid === victim.pid)?.blocks;
        const found = (await Promise.all([pool.reclaimDead(), second.reclaimDead()])).flat();
        const held = found.find((owner) => owner.process.pid === victim.pid)?.blocks;
        foundBlocks += held ?? 0;
        if (charged !== undefined && held !== undefined && charged !== held) insideACall += 1;
      }
      side.stop();
      answers.push(await survivor.answer);
    } finally {
      await Promise.all([survivor.kill(), next.kill()]);
      second.close();
    }
    return { ...faults(options.path, pool, side, answers), kills: options.kills, insideACall, foundBlocks };
  });
}

export interface StressWorker {
  readonly pid: number;
  /** Attached, and at work. */
  readonly ready: Promise<void>;
  /** Its last line. Rejects when it ends without one. */
  readonly answer: Promise<StressAnswer>;
  /** SIGKILL, and waits for its end. */
  kill(): Promise<void>;
}

export function startWorker(order: StressOrder): StressWorker {
  const child = spawn(process.execPath, [WORKER, JSON.stringify(order)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const lines: string[] = [];
  const ready = waitForReady(child, lines);
  const answer = once(child, "close").then(() => {
    const last = lines.at(-1);
    if (last === undefined || last === "ready")
      throw new Error(
        `stress worker ${order.token} ended (${child.exitCode ?? child.signalCode}) with no answer`,
      );
    return JSON.parse(last) as StressAnswer;
  });
  // One that is killed on purpose has no answer, and one killed early is never ready.
  answer.catch(() => {});
  ready.catch(() => {});
  const kill = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  return { pid: child.pid ?? -1, ready, answer, kill };
}

function waitForReady(child: ChildProcess, lines: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`a stress worker was not ready within ${READY_WITHIN_MS} ms`));
    }, READY_WITHIN_MS);
    child.once("exit", () => {
      clearTimeout(timer);
      reject(new Error("a stress worker ended before it was ready"));
    });
    createInterface({ input: child.stdout! }).on("line", (line) => {
      lines.push(line);
      clearTimeout(timer);
      resolve();
    });
  });
}

function paths(path: string): { pool: string; side: string } {
  return { pool: path, side: `${path}.side` };
}

async function withPool<T>(
  options: { readonly path: string; readonly blocks: number; readonly prefillQuotaBlocks: number },
  action: (pool: KvPool, side: SideArea) => Promise<T>,
): Promise<T> {
  const { pool: path, side: sidePath } = paths(options.path);
  const pool = KvPool.create(path, {
    blocks: options.blocks,
    prefillQuotaBlocks: options.prefillQuotaBlocks,
    tokensPerBlock: 16,
    bytesPerBlock: 0,
  });
  const side = SideArea.create(sidePath, options.blocks);
  try {
    return await action(pool, side);
  } finally {
    pool.close();
    side.close();
    rmSync(path, { force: true });
    rmSync(sidePath, { force: true });
  }
}

function faults(path: string, pool: KvPool, side: SideArea, answers: readonly StressAnswer[]): StressFaults {
  const usage = pool.usage();
  return {
    doubleAllocations: side.doubleAllocations,
    lostBlocks: pool.shape.blocks - countFree(path),
    chargedBlocks: answers.reduce(
      (sum, answer) => sum + Math.abs(answer.heldAtEnd),
      usage.prefill.usedBlocks + usage.decode.usedBlocks,
    ),
  };
}

/** Counts the map itself and believes no counter. */
export function countFree(path: string): number {
  const segment = mapSegment(path);
  let free = 0;
  for (const word of new Int32Array(segment.buffer).subarray(MAP_WORD)) free += countFields(freeFields(word));
  segment.unmap();
  return free;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
