/** Events as they go over the wire (WHATWG HTML, server-sent events). Pure. */
import { type LiveEvent, type LiveEventName } from "@fulcrum/contracts/live.js";
import { foldWindow, perS, sightOf } from "./fold.js";
import { type Position, positionId } from "./position.js";
import type { Changes, NewWindow } from "./read-changes.js";

/** An event's text, and whom it concerns; null: whoever listens. */
export interface EventText {
  readonly instance: string | null;
  readonly text: string;
}

export const KEEP_ALIVE = ": keep-alive\n\n";

function eventText<N extends LiveEventName>(name: N, data: LiveEvent<N>, id?: string): string {
  return `event: ${name}\n${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
}

/** Says where one is: what came before it need not come again. */
export function positionText(position: Position): string {
  return eventText("position", { atMs: position.atMs }, positionId(position));
}

export function resetText(position: Position, reason: string): string {
  return eventText("reset", { reason }, positionId(position));
}

export function textsOf({ windows, facts }: Changes): EventText[] {
  return [
    ...windows.map((one) => ({ instance: one.instance, text: eventText("window", windowEvent(one)) })),
    ...facts.map(({ kind, instance, data }) => ({
      instance,
      text: eventText(kind, data as LiveEvent<typeof kind>),
    })),
  ];
}

function windowEvent({ instance, slo, observed, window }: NewWindow): LiveEvent<"window"> {
  const { ttft, tpot, durationMs, arrivals, kvUsedShare } = foldWindow(null, window);
  return {
    instance,
    atMs: window.endAtMs,
    ...sightOf(ttft, tpot, slo),
    arrivalPerS: perS(arrivals, durationMs),
    kvUsedShare,
    split: observed?.split ?? null,
    kvQuotaPct: observed?.kvQuotaPct ?? null,
    generation: window.generation,
  };
}
