import type { Series } from "@fulcrum/contracts/live.js";
import { useCallback, useEffect, useRef, useState } from "react";
import { useEvents } from "../api/live.js";
import { type Loaded, useLoad } from "../api/use-load.js";

export const RANGES = [
  [15 * 60_000, "15 min"],
  [3_600_000, "1 h"],
  [6 * 3_600_000, "6 h"],
  [24 * 3_600_000, "24 h"],
] as const;

/** A live range ends now and moves; a zoomed one stands still. */
export interface Range {
  readonly fromMs: number;
  readonly toMs: number;
  readonly spanMs: number;
  readonly isZoomed: boolean;
}

/** A chart is read again after a window, at most this often; a day of steps does not change each second. */
function refreshMs(spanMs: number): number {
  return Math.max(2_000, spanMs / 300);
}

export function useRange(): {
  range: Range;
  setSpan: (spanMs: number) => void;
  zoom: (from: number, to: number) => void;
  follow: () => void;
} {
  const [spanMs, setSpanMs] = useState<number>(RANGES[0][0]);
  const [zoomed, setZoomed] = useState<{ fromMs: number; toMs: number } | null>(null);
  const [nowMs, setNowMs] = useState(() => Date.now());
  const follow = useCallback(() => setNowMs(Date.now()), []);
  const setSpan = useCallback((span: number) => {
    setSpanMs(span);
    setZoomed(null);
    setNowMs(Date.now());
  }, []);
  const zoom = useCallback(
    (from: number, to: number) => setZoomed({ fromMs: Math.floor(from), toMs: Math.ceil(to) }),
    [],
  );
  const range = zoomed
    ? { ...zoomed, spanMs, isZoomed: true }
    : { fromMs: nowMs - spanMs, toMs: nowMs, spanMs, isZoomed: false };
  return { range, setSpan, zoom, follow };
}

/** The series of the range, read again as windows come while the range is live. What was read stays until then. */
export function useSeries(instance: string, range: Range, follow: () => void): Loaded<Series> {
  const from = new Date(range.fromMs).toISOString();
  const to = new Date(range.toMs).toISOString();
  const path = `/v1/instances/${encodeURIComponent(instance)}/series?from=${from}&to=${to}&points=300`;
  const loaded = useLoad<Series>(path);
  const last = useRef<Series | null>(null);
  if (loaded.data) last.current = loaded.data;
  const due = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(due.current), []);
  useEvents((event) => {
    if (range.isZoomed || due.current !== undefined) return;
    const wait = event === "window" ? refreshMs(range.spanMs) : 300;
    due.current = setTimeout(() => {
      due.current = undefined;
      follow();
    }, wait);
  });
  return { ...loaded, data: loaded.data ?? last.current };
}
