import { isRecord } from "@fulcrum/core/signal/fault.js";

export interface LeafChange {
  /** With dots: `slo.ttft.boundMs`. */
  readonly field: string;
  /** undefined: it was not there. */
  readonly from: unknown;
  /** undefined: it is not there any more. */
  readonly to: unknown;
}

/** Where two records differ, down to what is no record; the order of keys does not count, that of a list does. */
export function leafChanges(
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): LeafChange[] {
  return changesBelow("", before, after);
}

function changesBelow(
  path: string,
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): LeafChange[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) => {
    const [from, to] = [before[key], after[key]];
    const field = path === "" ? key : `${path}.${key}`;
    if (isRecord(from) && isRecord(to)) return changesBelow(field, from, to);
    return ordered(from) === ordered(to) ? [] : [{ field, from, to }];
  });
}

/** JSON with the keys of every record in one order. */
function ordered(value: unknown): string | undefined {
  return JSON.stringify(value, (_, inner: unknown) =>
    isRecord(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

export function valueWords(value: unknown): string {
  return value === undefined ? "-" : JSON.stringify(value);
}
