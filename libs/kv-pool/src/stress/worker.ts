import type { Role } from "../layout.js";
import type { PoolOwner } from "../owner.js";
import { KvPool } from "../pool.js";
import { SideArea } from "./side-area.js";

/** What a stress process is told, as JSON in its first argument. */
export interface StressOrder {
  readonly pool: string;
  readonly side: string;
  /**
   * `pairs`: allocates and frees at random. `adopt`: adopts what the other role offers, frees it, and so on.
   */
  readonly mode: "pairs" | "adopt";
  readonly role: Role;
  /** 1..8191; its mark on the blocks that it holds. */
  readonly token: number;
  /** Ends after so many pairs; 0: when the side area says stop. */
  readonly pairs: number;
  /** Sizes are 1..maxBlocks, small ones more often. */
  readonly maxBlocks: number;
  readonly seed: number;
  /** What the role may hold; null where workers are killed and the count of what was granted means nothing. */
  readonly quotaBlocks: number | null;
  /**
   * Every so many steps a successor joins, adopts allocation by allocation what this owner holds, and this one leaves; 0
   * never. So slots are left and joined again all the time, by owners whose blocks others have adopted.
   */
  readonly respawnEvery: number;
  /** Takes back what dead owners held, every so many steps; 0 never. */
  readonly reclaimEvery: number;
}

/** What it answers, as JSON on its standard output, after a first line "ready". */
export interface StressAnswer {
  readonly pairs: number;
  readonly blocks: number;
  readonly refused: { no_room: number; over_quota: number; stale_turn: number };
  readonly seconds: number;
  readonly heldAtEnd: number;
}

const HELD_AT_MOST = 48;
const STEPS_PER_TURN = 2_000;

const order = JSON.parse(process.argv[2] ?? "") as StressOrder;
const pool = KvPool.open(order.pool);
const side = SideArea.open(order.side);
let owner = await join();
process.stdout.write("ready\n");
if (order.mode === "pairs") process.stdout.write(`${JSON.stringify(await runPairs())}\n`);
else await runAdoptions();
owner.detach();

function join(): Promise<PoolOwner> {
  return pool.attach({ role: order.role, turn: pool.turn(order.role) });
}

/** @returns the owner that has it all now. */
async function respawn(
  old: PoolOwner,
  buffers: readonly Uint32Array[],
  sizes: readonly number[],
): Promise<PoolOwner> {
  const successor = await join();
  for (const [index, n] of sizes.entries())
    if ((await successor.adopt(old, buffers[index]!, n)) !== "ok") throw new Error("an adoption was refused");
  const left = old.detach();
  if (left > 0) throw new Error(`${left} blocks were left behind`);
  return successor;
}

async function runPairs(): Promise<StressAnswer> {
  const random = xorshift(order.seed);
  const stepsPerTurn = order.respawnEvery > 0 ? order.respawnEvery : STEPS_PER_TURN;
  const buffers = Array.from({ length: HELD_AT_MOST }, () => new Uint32Array(order.maxBlocks));
  const sizes: number[] = [];
  const refused = { no_room: 0, over_quota: 0, stale_turn: 0 };
  let pairs = 0;
  let blocks = 0;
  let steps = 0;
  const beganAtMs = performance.now();
  while (order.pairs === 0 ? !side.stopped : pairs < order.pairs) {
    for (let i = 0; i < stepsPerTurn; i += 1) {
      const fill = sizes.length < HELD_AT_MOST && (sizes.length === 0 || (random() & 1) === 0);
      if (fill) {
        const n = randomSize(random);
        const result = take(owner, n, buffers[sizes.length]!);
        if (result === "ok") {
          sizes.push(n);
          blocks += n;
          continue;
        }
        refused[result] += 1;
        if (sizes.length === 0) continue;
      }
      giveBackOne(buffers, sizes, random() % sizes.length);
      pairs += 1;
    }
    steps += stepsPerTurn;
    if (order.respawnEvery > 0) owner = await respawn(owner, buffers, sizes);
    if (order.reclaimEvery > 0 && steps % order.reclaimEvery === 0) await pool.reclaimDead();
  }
  while (sizes.length > 0) {
    giveBackOne(buffers, sizes, 0);
    pairs += 1;
  }
  const seconds = (performance.now() - beganAtMs) / 1_000;
  return { pairs, blocks, refused, seconds, heldAtEnd: owner.held };
}

function take(by: PoolOwner, n: number, out: Uint32Array) {
  const result = by.allocate(n, out);
  if (result === "ok") {
    side.stamp(out, n, order.token);
    if (order.quotaBlocks !== null) side.granted(order.role, n, order.quotaBlocks);
  }
  return result;
}

/** Frees the allocation at `index`; the last one takes its place. */
function giveBackOne(buffers: Uint32Array[], sizes: number[], index: number): void {
  const last = sizes.length - 1;
  const buffer = buffers[index]!;
  const n = sizes[index]!;
  if (order.quotaBlocks !== null) side.granted(order.role, -n, order.quotaBlocks);
  side.unstamp(buffer, n, order.token);
  owner.free(buffer, n);
  buffers[index] = buffers[last]!;
  buffers[last] = buffer;
  sizes[index] = sizes[last]!;
  sizes.pop();
}

/** Adopts every offer of the other role's owner, and frees it at the next: until it is stopped or killed. */
async function runAdoptions(): Promise<void> {
  while (!side.stopped) {
    const offer = side.offered;
    const giver = pool.owners().find((other) => other.role !== order.role);
    if (offer !== undefined && giver !== undefined && (await owner.adopt(giver.slot, offer)) === "ok") {
      owner.free(offer);
      side.clearOffer();
    }
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

/** Half of them 1..4 blocks, the rest up to the largest. */
function randomSize(random: () => number): number {
  const most = (random() & 1) === 0 ? Math.min(4, order.maxBlocks) : order.maxBlocks;
  return 1 + (random() % most);
}

function xorshift(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 1;
  };
}
