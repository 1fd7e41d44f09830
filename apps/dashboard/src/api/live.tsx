/** One stream of events per page: who shows something says what it wants to hear of. */
import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useState } from "react";
import { authorization, storeKey } from "./client.js";
import { EventParser, retryAfterMs, type ServerEvent } from "./event-stream.js";
import { pause, watchDatabase } from "./readiness.js";

export type Connection = "connecting" | "live" | "lost";
type Hear = (event: string, data: unknown) => void;

/** The controller sends a comment every 15 s; after three of them missing the connection is taken for dead. */
const SILENT_MS = 45_000;

interface Live {
  readonly connection: Connection;
  /** What is shown may be old, and nothing can be changed. */
  readonly isDatabaseAway: boolean;
  readonly subscribe: (hear: Hear) => () => void;
}

const LiveContext = createContext<Live>({
  connection: "connecting",
  isDatabaseAway: false,
  subscribe: () => () => undefined,
});

export function LiveProvider({ instance, children }: { instance: string | null; children: ReactNode }) {
  const [connection, setConnection] = useState<Connection>("connecting");
  const [isDatabaseAway, setDatabaseAway] = useState(false);
  const listeners = useRef(new Set<Hear>());
  useEffect(() => {
    const stop = new AbortController();
    const tell: Hear = (event, data) => listeners.current.forEach((hear) => hear(event, data));
    void follow(instance, tell, setConnection, stop.signal);
    return () => stop.abort();
  }, [instance]);
  useEffect(() => {
    const stop = new AbortController();
    void watchDatabase((away) => {
      setDatabaseAway(away);
      // Whatever a page failed to read meanwhile it reads now.
      if (!away) listeners.current.forEach((hear) => hear("reset", null));
    }, stop.signal);
    return () => stop.abort();
  }, []);
  const live = useMemo<Live>(
    () => ({
      connection,
      isDatabaseAway,
      subscribe: (hear) => {
        listeners.current.add(hear);
        return () => void listeners.current.delete(hear);
      },
    }),
    [connection, isDatabaseAway],
  );
  return <LiveContext value={live}>{children}</LiveContext>;
}

export function useConnection(): Connection {
  return useContext(LiveContext).connection;
}

export function useDatabaseAway(): boolean {
  return useContext(LiveContext).isDatabaseAway;
}

/** Calls `hear` for each event while mounted; `hear` may change freely. */
export function useEvents(hear: Hear): void {
  const { subscribe } = useContext(LiveContext);
  const latest = useRef(hear);
  latest.current = hear;
  useEffect(() => subscribe((event, data) => latest.current(event, data)), [subscribe]);
}

async function follow(
  instance: string | null,
  tell: Hear,
  show: (connection: Connection) => void,
  signal: AbortSignal,
): Promise<void> {
  let lastId: string | null = null;
  let failures = 0;
  while (!signal.aborted) {
    try {
      await readOnce(instance, lastId, signal, (event) => {
        if (failures > 0 || event === null) show("live");
        failures = 0;
        if (event === null) return;
        lastId = event.id ?? lastId;
        if (event.event === "reset") lastId = event.id;
        tell(event.event, event.data === "" ? null : JSON.parse(event.data));
      });
    } catch {
      // Whatever ended it, the answer is to connect again.
    }
    if (signal.aborted) return;
    failures += 1;
    show("lost");
    await pause(retryAfterMs(failures, Math.random()), signal);
  }
}

/** Reads until the connection ends. `on(null)`: it stands. */
async function readOnce(
  instance: string | null,
  lastId: string | null,
  signal: AbortSignal,
  on: (event: ServerEvent | null) => void,
): Promise<void> {
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), SILENT_MS);
  try {
    const query = instance === null ? "" : `?instance=${encodeURIComponent(instance)}`;
    const response = await fetch(`/v1/events${query}`, {
      headers: { ...authorization(), ...(lastId === null ? {} : { "last-event-id": lastId }) },
      signal: AbortSignal.any([signal, silent.signal]),
    });
    if (!response.ok || response.body === null) throw new Error(`events answered ${response.status}`);
    on(null);
    const parser = new EventParser();
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENT_MS);
      for (const event of parser.take(decoder.decode(value, { stream: true }))) on(event);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Ends the session of this tab. */
export function signOut(): void {
  storeKey(null);
  location.assign("/");
}
