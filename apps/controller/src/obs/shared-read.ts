/** One reading for all who ask within `forMs`: the gauges of a scrape that come from one statement run it once. */
export function sharedRead<T>(read: () => Promise<T>, forMs: number): () => Promise<T> {
  let held: { readonly value: Promise<T>; readonly untilMs: number } | null = null;
  return () => {
    const nowMs = Date.now();
    if (held === null || held.untilMs <= nowMs) {
      const value = read();
      held = { value, untilMs: nowMs + forMs };
      // What failed is tried again by the next one who asks.
      value.catch(() => (held = null));
    }
    return held.value;
  };
}
