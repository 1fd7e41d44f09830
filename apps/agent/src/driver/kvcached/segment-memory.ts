/**
 * What the agent remembers of a segment. An engine that was killed leaves its file behind, and the next one writes its
 * total, and 0 in use, into that same file (mem_info_tracker.hpp init_kv_cache_limit @3fbf048): the inode tells
 * nothing then, but the limit is not the one that was written.
 */
import { z } from "zod";
import { StateFile } from "../staged/state-file.js";
import { MAX_SEGMENT_BYTES, type SegmentReading } from "./segment.js";

const bytes = z.number().min(0).max(MAX_SEGMENT_BYTES);

const remembered = z.strictObject({
  identity: z.string().nullable(),
  /** The whole pool, read when the engine was first seen: later the field holds what was written to it. */
  startTotalBytes: bytes,
  /** Read or written last; two while a write is under way. */
  limitsBytes: z.array(bytes).max(2),
  /** How often the limit of this file was found changed by another hand. */
  changes: z.int().min(0),
});

type Remembered = z.infer<typeof remembered>;

export interface KnownSegment {
  readonly startTotalBytes: number;
  /** Changes with the file, and when the limit is not what was written: then what was applied is lost. */
  readonly bootId: string;
}

export class SegmentMemory {
  private readonly state: StateFile<Remembered>;

  constructor(path: string) {
    const fresh = { identity: null, startTotalBytes: 0, limitsBytes: [], changes: 0 };
    this.state = new StateFile(path, remembered, fresh);
  }

  async know(reading: SegmentReading): Promise<KnownSegment> {
    const { identity, limitBytes } = reading;
    let known = await this.state.load();
    if (known.identity !== identity) {
      const first = { startTotalBytes: limitBytes, limitsBytes: [limitBytes], changes: 0 };
      known = await this.state.keep({ identity, ...first });
    } else if (!known.limitsBytes.includes(limitBytes)) {
      known = await this.state.keep(changed(known, reading));
    } else if (known.limitsBytes.length > 1) {
      // An agent died in the middle of a write; what stands there shows how it ended.
      known = await this.state.keep({ limitsBytes: [limitBytes] });
    }
    const { startTotalBytes, changes } = known;
    return { startTotalBytes, bootId: changes === 0 ? identity : `${identity}+${changes}` };
  }

  /** To be called before a write, so that an agent that dies right after it knows it again. @throws DriverError */
  async writing(fromBytes: number, toBytes: number): Promise<void> {
    await this.state.save({ limitsBytes: [fromBytes, toBytes] });
  }

  async wrote(limitBytes: number): Promise<void> {
    await this.state.keep({ limitsBytes: [limitBytes] });
  }
}

/**
 * Above what was written, or with nothing in use: an engine that started and wrote its total. Below, and in use:
 * somebody lowered the limit, and the pool is what it was. In doubt the pool is the smaller one: a limit above what the
 * engine reserved cannot be mapped.
 */
function changed(known: Remembered, { limitBytes, usedBytes, preallocBytes }: SegmentReading): Remembered {
  const { startTotalBytes, limitsBytes, changes } = known;
  const started = limitBytes > Math.max(...limitsBytes) || usedBytes + preallocBytes === 0;
  return {
    ...known,
    startTotalBytes: started ? limitBytes : startTotalBytes,
    limitsBytes: [limitBytes],
    changes: changes + 1,
  };
}
