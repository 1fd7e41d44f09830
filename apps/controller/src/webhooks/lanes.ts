/**
 * So many at a time for each key, and what comes beyond waits behind them: a target that never answers keeps its own
 * messages waiting and nobody else's. Whoever comes to a full lane returns at once, and its work is done by who is in it.
 */
export class Lanes {
  private readonly lanes = new Map<string, { running: number; readonly waiting: Set<string> }>();
  private closed = false;

  constructor(
    private readonly width: number,
    /** Waiting ids of a lane at most; what is beyond is dropped, and must be brought again. */
    private readonly room: number,
  ) {}

  /** Does `work` for the id, then for what waits in the lane; rejects with what `work` throws, and what waited is dropped. */
  async run(key: string, id: string, work: (id: string) => Promise<void>): Promise<void> {
    if (this.closed) return;
    const lane = this.lanes.get(key) ?? { running: 0, waiting: new Set<string>() };
    this.lanes.set(key, lane);
    if (lane.running >= this.width) {
      if (lane.waiting.size < this.room) lane.waiting.add(id);
      return;
    }
    lane.running += 1;
    try {
      for (let next: string | undefined = id; next !== undefined; next = takeFirst(lane.waiting))
        await work(next);
    } catch (error) {
      lane.waiting.clear();
      throw error;
    } finally {
      lane.running -= 1;
      if (lane.running === 0) this.lanes.delete(key);
    }
  }

  /** Begins nothing any more; what is under way ends. */
  close(): void {
    this.closed = true;
    for (const { waiting } of this.lanes.values()) waiting.clear();
  }
}

function takeFirst(ids: Set<string>): string | undefined {
  const [first] = ids;
  if (first !== undefined) ids.delete(first);
  return first;
}
