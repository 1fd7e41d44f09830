const MOST_SUGGESTIONS = 3;
/** Names are at most 63 characters; longer input is not compared. */
const LONGEST_NAME = 100;

/**
 * Names that a person may have meant: a few typing errors away (a third of the letters, at least 2), or
 * beginning alike. Nearest first, at most 3.
 */
export function nearNames(typed: string, known: readonly string[]): string[] {
  if (typed === "" || typed.length > LONGEST_NAME) return [];
  const wanted = typed.toLowerCase();
  const allowed = Math.max(2, Math.floor(wanted.length / 3));
  return known
    .filter((name) => name.length <= LONGEST_NAME)
    .map((name) => ({ name, distance: editDistance(wanted, name.toLowerCase()) }))
    .filter(({ name, distance }) => distance <= allowed || startsAlike(wanted, name.toLowerCase()))
    .sort((a, b) => a.distance - b.distance || a.name.localeCompare(b.name))
    .slice(0, MOST_SUGGESTIONS)
    .map(({ name }) => name);
}

/** "Did you mean chat-8b or chat-70b?"; the names there are when none is near. */
export function suggestion(kind: string, typed: string, known: readonly string[]): string {
  const near = nearNames(typed, known);
  if (near.length > 0) return `Did you mean ${near.join(" or ")}?`;
  if (known.length === 0) return `There are no ${kind}s yet.`;
  const shown = known.slice(0, 8).join(", ");
  return `The ${kind}s are: ${shown}${known.length > 8 ? ", …" : ""}.`;
}

function startsAlike(typed: string, name: string): boolean {
  return Math.min(typed.length, name.length) >= 3 && (name.startsWith(typed) || typed.startsWith(name));
}

/** Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
