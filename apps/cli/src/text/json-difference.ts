const MOST_DIFFERENCES = 10;
const MOST_VALUE_CHARS = 120;

/**
 * Where two JSON values differ, as "path: stored X, again Y"; at most 10. The order of an object's keys
 * does not count (jsonb does not keep it), the order of a list does.
 */
export function differences(stored: unknown, again: unknown, most = MOST_DIFFERENCES): string[] {
  const found: string[] = [];
  compare("", stored, again, found, most);
  return found;
}

function compare(path: string, stored: unknown, again: unknown, found: string[], most: number): void {
  if (found.length >= most || Object.is(stored, again)) return;
  if (Array.isArray(stored) && Array.isArray(again) && stored.length === again.length) {
    for (const [i, each] of stored.entries()) compare(`${path}[${i}]`, each, again[i], found, most);
    return;
  }
  if (isRecord(stored) && isRecord(again)) {
    for (const key of new Set([...Object.keys(stored), ...Object.keys(again)])) {
      compare(path === "" ? key : `${path}.${key}`, stored[key], again[key], found, most);
    }
    return;
  }
  found.push(`${path || "the whole"}: stored ${shown(stored)}, again ${shown(again)}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > MOST_VALUE_CHARS ? `${text.slice(0, MOST_VALUE_CHARS)}…` : text;
}
