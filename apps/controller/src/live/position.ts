/**
 * A place in the history of the database: which transactions had been committed. What has changed since is then
 * exact for any replica that asks, however long a commit took and whatever the clocks say.
 */
export interface Position {
  /** The database's clock. */
  readonly atMs: number;
  /** As pg_current_snapshot() writes it: `xmin:xmax:running,running`. */
  readonly snapshot: string;
}

/** What travels as the id of an event. */
export function positionId({ atMs, snapshot }: Position): string {
  return `${atMs}-${snapshot}`;
}

/** A database with that many transactions running at once has other worries. */
const MAX_ID_LENGTH = 4_000;
const ID = /^(\d{13,15})-(\d{1,19}):(\d{1,19}):((?:\d{1,19}(?:,\d{1,19})*)?)$/;

/** Null for anything that Postgres would not take as a snapshot. */
export function parsePosition(id: string): Position | null {
  const [, atMs, xmin, xmax, running] = (id.length <= MAX_ID_LENGTH && ID.exec(id)) || [];
  if (atMs === undefined || xmin === undefined || xmax === undefined || running === undefined) return null;
  const numbers = [xmin, ...(running === "" ? [] : running.split(","))].map(BigInt);
  const last = BigInt(xmax);
  const first = numbers[0]!;
  const listed = numbers.slice(1);
  const ascending = listed.every((xid, i) => xid < last && (i === 0 ? xid >= first : xid > listed[i - 1]!));
  if (first < 3n || last < first || last >= 2n ** 63n || !ascending) return null;
  return { atMs: Number(atMs), snapshot: `${xmin}:${xmax}:${running}` };
}

/** Whether `later` can have come after `earlier` in the same database. */
export function follows(later: Position, earlier: Position): boolean {
  return topOf(later) >= topOf(earlier);
}

function topOf({ snapshot }: Position): bigint {
  return BigInt(snapshot.split(":")[1] ?? "0");
}
