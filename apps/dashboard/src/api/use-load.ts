import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError, send } from "./client.js";

export interface Loaded<T> {
  /** What was read last; stays while it is read again. */
  readonly data: T | null;
  readonly etag: string | null;
  readonly error: ApiError | null;
  readonly reload: () => void;
}

/** How long after a failure that passes (database away, controller restarting) it is tried again. */
const RETRY_MS = 3_000;

/** Reads `path` when it changes and when asked; null reads nothing. What fails in passing is tried again by itself. */
export function useLoad<T>(path: string | null): Loaded<T> {
  const [state, setState] = useState<{ path: string | null; data: T | null; etag: string | null }>({
    path: null,
    data: null,
    etag: null,
  });
  const [error, setError] = useState<ApiError | null>(null);
  const [turn, setTurn] = useState(0);
  const retry = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const reload = useCallback(() => setTurn((value) => value + 1), []);
  useEffect(() => {
    if (path === null) return undefined;
    const stop = new AbortController();
    const read = async () => {
      try {
        const { data, etag } = await send<T>({ method: "GET", path }, stop.signal);
        setState({ path, data, etag });
        setError(null);
      } catch (failure) {
        if (stop.signal.aborted) return;
        const told = failure instanceof ApiError ? failure : new ApiError(0, String(failure));
        setError(told);
        if (told.passes) retry.current = setTimeout(reload, RETRY_MS);
      }
    };
    void read();
    return () => {
      stop.abort();
      clearTimeout(retry.current);
    };
  }, [path, turn, reload]);
  const isCurrent = state.path === path;
  return { data: isCurrent ? state.data : null, etag: isCurrent ? state.etag : null, error, reload };
}

/** Calls `reload` so often while the page is open, for what no event tells of. */
export function useEvery(everyMs: number, reload: () => void): void {
  useEffect(() => {
    const timer = setInterval(reload, everyMs);
    return () => clearInterval(timer);
  }, [everyMs, reload]);
}
