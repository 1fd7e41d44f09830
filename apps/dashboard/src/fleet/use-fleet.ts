import type { Fleet, LiveEvent } from "@fulcrum/contracts/live.js";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { ApiError, get } from "../api/client.js";
import { useEvents } from "../api/live.js";
import { FleetStore, MAX_INSTANCES } from "./fleet-store.js";
import type { Judged } from "./fleet-view.js";

/** The whole list, with what is over the lookback, is read this often; a large one less often, it is 2 KB an instance. */
const RELOAD_MS = 4_000;
const RELOAD_LARGE_MS = 15_000;
const LARGE = 200;
/** How long after a failure that passes it is tried again. */
const RETRY_MS = 3_000;
/** After a decision or a hold a list that is not large is read again, once for all that come together. */
const SOON_MS = 700;

export function useFleet(): {
  items: readonly Judged[];
  loaded: boolean;
  isCut: boolean;
  error: ApiError | null;
} {
  const [store] = useState(() => new FleetStore());
  const [state, setState] = useState<{ loaded: boolean; isCut: boolean; error: ApiError | null }>({
    loaded: false,
    isCut: false,
    error: null,
  });
  const items = useSyncExternalStore(store.subscribe, store.items);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const isSoon = useRef(false);
  const stop = useRef<AbortController | null>(null);

  const load = useCallback(() => {
    clearTimeout(timer.current);
    isSoon.current = false;
    stop.current?.abort();
    const mine = new AbortController();
    stop.current = mine;
    const read = async () => {
      try {
        const { pages, isCut } = await loadAll(mine.signal);
        store.load(pages);
        setState({ loaded: true, isCut, error: null });
        timer.current = setTimeout(load, store.items().length > LARGE ? RELOAD_LARGE_MS : RELOAD_MS);
      } catch (failure) {
        if (mine.signal.aborted) return;
        const error = failure instanceof ApiError ? failure : new ApiError(0, String(failure));
        setState((before) => ({ ...before, error }));
        if (error.passes) timer.current = setTimeout(load, RETRY_MS);
      }
    };
    void read();
  }, [store]);

  useEffect(() => {
    load();
    return () => {
      stop.current?.abort();
      clearTimeout(timer.current);
      store.stop();
    };
  }, [load, store]);

  useEvents((event, data) => {
    if (event === "window") return store.take(data as LiveEvent<"window">);
    if (event === "reset") return load();
    if (event === "position" || isSoon.current || items.length > LARGE) return undefined;
    isSoon.current = true;
    clearTimeout(timer.current);
    timer.current = setTimeout(load, SOON_MS);
    return undefined;
  });
  return { items, ...state };
}

async function loadAll(signal: AbortSignal): Promise<{ pages: Fleet[]; isCut: boolean }> {
  const pages: Fleet[] = [];
  let cursor: string | null = null;
  let count = 0;
  do {
    const from = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const page: Fleet = await get(`/v1/fleet?limit=500${from}`, signal);
    pages.push(page);
    count += page.items.length;
    cursor = page.nextCursor;
  } while (cursor !== null && count < MAX_INSTANCES);
  return { pages, isCut: cursor !== null };
}
