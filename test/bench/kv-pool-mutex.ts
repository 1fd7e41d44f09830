import { writeFileSync } from "node:fs";
import { mmap } from "@fulcrum/kv-pool/libc.js";
import { mapSegment } from "@fulcrum/kv-pool/segment.js";
import koffi from "koffi";

const program = koffi.load(null);
const attributesInit = program.func("int pthread_mutexattr_init(void *attributes)");
const setShared = program.func("int pthread_mutexattr_setpshared(void *attributes, int shared)");
const setRobust = program.func("int pthread_mutexattr_setrobust(void *attributes, int robust)");
const mutexInit = program.func("int pthread_mutex_init(void *mutex, void *attributes)");
const lock = program.func("int pthread_mutex_lock(void *mutex)") as (mutex: bigint) => number;
const unlock = program.func("int pthread_mutex_unlock(void *mutex)") as (mutex: bigint) => number;
const makeConsistent = program.func("int pthread_mutex_consistent(void *mutex)") as (mutex: bigint) => number;

const EOWNERDEAD = 130;
const HEAD_WORDS = 64;
/** Past the mutex itself, which is 40 bytes on glibc and 24 on musl. */
const FREE = 16;
const USED = 17;
const QUOTA = 19;

/**
 * What everyone would write first, and the bench's comparison: one robust process-shared pthread mutex around a free list
 * with owner words and quotas. The same promises as KvPool (all or nothing, quota, foreign and double frees refused),
 * but for turns and for what is to be done after EOWNERDEAD. Linux only.
 */
export class MutexPool {
  private constructor(
    private readonly words: Int32Array,
    private readonly mutex: bigint,
    private readonly blocks: number,
    private readonly role: number,
  ) {}

  static create(path: string, blocks: number): void {
    writeFileSync(path, new Uint8Array((HEAD_WORDS + 2 * blocks) * 4));
    const { words, mutex } = map(path);
    const attributes = new Uint8Array(64);
    for (const rc of [
      attributesInit(attributes),
      setShared(attributes, 1),
      setRobust(attributes, 1),
      mutexInit(mutex, attributes),
    ] as number[])
      if (rc !== 0) throw new Error(`the robust mutex could not be made: error ${rc}`);
    words[FREE] = blocks;
    words[QUOTA] = blocks;
    words[QUOTA + 1] = blocks;
    for (let block = 0; block < blocks; block += 1) words[HEAD_WORDS + blocks + block] = blocks - 1 - block;
  }

  static open(path: string, role: "prefill" | "decode"): MutexPool {
    const { words, mutex } = map(path);
    return new MutexPool(words, mutex, (words.length - HEAD_WORDS) / 2, role === "prefill" ? 0 : 1);
  }

  allocate(n: number, out: Uint32Array): "ok" | "no_room" | "over_quota" {
    const { words, blocks, role } = this;
    this.lock();
    const free = words[FREE]!;
    const used = words[USED + role]!;
    if (n > free || used + n > words[QUOTA + role]!) {
      unlock(this.mutex);
      return n > free ? "no_room" : "over_quota";
    }
    for (let i = 0; i < n; i += 1) {
      const block = words[HEAD_WORDS + blocks + free - 1 - i]!;
      words[HEAD_WORDS + block] = role + 1;
      out[i] = block;
    }
    words[FREE] = free - n;
    words[USED + role] = used + n;
    unlock(this.mutex);
    return "ok";
  }

  free(list: Uint32Array, n: number): void {
    const { words, blocks, role } = this;
    this.lock();
    const free = words[FREE]!;
    let done = 0;
    for (; done < n; done += 1) {
      const block = list[done]! | 0;
      if (block < 0 || block >= blocks || words[HEAD_WORDS + block] !== role + 1) break;
      words[HEAD_WORDS + block] = 0;
      words[HEAD_WORDS + blocks + free + done] = block;
    }
    if (done < n) for (let i = 0; i < done; i += 1) words[HEAD_WORDS + list[i]!] = role + 1;
    else {
      words[FREE] = free + n;
      words[USED + role]! -= n;
    }
    unlock(this.mutex);
    if (done < n) throw new Error(`block ${list[done]} is not held`);
  }

  private lock(): void {
    const rc = lock(this.mutex);
    if (rc === EOWNERDEAD) makeConsistent(this.mutex);
    else if (rc !== 0) throw new Error(`pthread_mutex_lock: error ${rc}`);
  }
}

/** The mutex goes to the C library as an address: a number is the cheapest argument that koffi passes. */
function map(path: string): { words: Int32Array; mutex: bigint } {
  const segment = mapSegment(path);
  const address = mmap(null, segment.buffer.byteLength, 3, 1, segment.fd, 0);
  segment.close();
  if (address === null) throw new Error(`${path} could not be mapped`);
  return { words: new Int32Array(segment.buffer), mutex: address };
}
