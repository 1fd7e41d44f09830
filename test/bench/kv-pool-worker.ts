/** One process of the pool's bench: waits for the others, then allocates and frees for a while. One JSON line. */
import { mapSegment } from "@fulcrum/kv-pool/segment.js";
import { KvPool } from "@fulcrum/kv-pool/pool.js";
import { MutexPool } from "./kv-pool-mutex.js";

export interface BenchOrder {
  readonly kind: "pool" | "mutex";
  readonly path: string;
  readonly barrier: string;
  readonly processes: number;
  readonly role: "prefill" | "decode";
  readonly n: number;
  readonly seconds: number;
}

export interface BenchAnswer {
  readonly allocations: number;
  /** Mean over everything, with whatever else ran on the machine. */
  readonly allocateMeanNs: number;
  /** Median over batches of 16 to 64 allocations. */
  readonly allocateNs: number;
  readonly freeNs: number;
}

const order = JSON.parse(process.argv[2] ?? "") as BenchOrder;
const batch = order.n > 64 ? 16 : 64;
const owner =
  order.kind === "mutex"
    ? MutexPool.open(order.path, order.role)
    : await KvPool.open(order.path).attach({ role: order.role, turn: 0 });
const lists = Array.from({ length: batch }, () => new Uint32Array(order.n));

for (let i = 0; i < 2_000; i += 1) oneBatch();
const barrier = new Int32Array(mapSegment(order.barrier).buffer);
Atomics.add(barrier, 0, 1);
while (Atomics.load(barrier, 0) < order.processes);
process.stdout.write(`${JSON.stringify(measure())}\n`);

function oneBatch(): { allocateNs: number; freeNs: number } {
  const beganAtMs = performance.now();
  for (let i = 0; i < batch; i += 1)
    if (owner.allocate(order.n, lists[i]!) !== "ok")
      throw new Error(`refused: ${order.kind}, ${order.n} blocks`);
  const heldAtMs = performance.now();
  for (let i = 0; i < batch; i += 1) owner.free(lists[i]!, order.n);
  const endedAtMs = performance.now();
  return {
    allocateNs: ((heldAtMs - beganAtMs) * 1e6) / batch,
    freeNs: ((endedAtMs - heldAtMs) * 1e6) / batch,
  };
}

function measure(): BenchAnswer {
  const allocateNs: number[] = [];
  const freeNs: number[] = [];
  const endAtMs = performance.now() + order.seconds * 1_000;
  while (performance.now() < endAtMs) {
    const one = oneBatch();
    allocateNs.push(one.allocateNs);
    freeNs.push(one.freeNs);
  }
  return {
    allocations: allocateNs.length * batch,
    allocateMeanNs: allocateNs.reduce((sum, ns) => sum + ns, 0) / allocateNs.length,
    allocateNs: median(allocateNs),
    freeNs: median(freeNs),
  };
}

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
}
