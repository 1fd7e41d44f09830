import { type RefObject, useEffect, useState } from "react";

/** Rows kept on each side of what is seen, so that a scroll shows no gap before the next paint. */
const OVERSCAN = 6;

/** Which rows of a long list of equally high ones to put into the document: [first, last). */
export function useWindow(
  scroller: RefObject<HTMLElement | null>,
  count: number,
  rowPx: number,
): { first: number; last: number } {
  const [seen, setSeen] = useState({ first: 0, last: 30 });
  useEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    let frame = 0;
    const look = () => {
      frame = 0;
      const top = Math.floor(element.scrollTop / rowPx);
      const rows = Math.ceil(element.clientHeight / rowPx);
      const first = Math.max(0, top - OVERSCAN);
      const last = top + rows + OVERSCAN;
      setSeen((before) => (before.first === first && before.last === last ? before : { first, last }));
    };
    const later = () => {
      if (frame === 0) frame = requestAnimationFrame(look);
    };
    look();
    element.addEventListener("scroll", later, { passive: true });
    const resized = new ResizeObserver(later);
    resized.observe(element);
    return () => {
      cancelAnimationFrame(frame);
      element.removeEventListener("scroll", later);
      resized.disconnect();
    };
  }, [scroller, rowPx]);
  const last = Math.min(count, seen.last);
  return { first: Math.max(0, Math.min(seen.first, last - 1)), last };
}

/** Whether a media query holds. */
export function useMedia(query: string): boolean {
  const [holds, setHolds] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const changed = () => setHolds(media.matches);
    changed();
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, [query]);
  return holds;
}
