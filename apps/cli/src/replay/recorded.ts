/** What the controller stored of a pool's time: windows and allocations. */
import type { Allocation, Window } from "@fulcrum/core/nouns.js";
import type { ApiClient } from "../api/client.js";
import { everyItem } from "../api/pages.js";
import { failed } from "../failure.js";

/** Two and a half hours of an instance at one window per second and ten of its engines' time; more is refused. */
export const MOST_WINDOWS = 100_000;
export const MOST_INSTANCES = 50;
const MOST_ROLLOUTS = 10_000;
/** Where no rollout was recorded, as the demo's engines take. */
const USUAL_ROLLOUT_MS = 2_000;

export interface TimeSpan {
  readonly from: string;
  readonly to: string;
}

export interface RecordedInstance {
  readonly instance: string;
  readonly windows: readonly Window[];
  readonly allocations: ReadonlyMap<number, Allocation>;
  readonly rolloutMs: number;
}

/** Names of the instances to replay. @throws CliFailure when there are too many */
export async function instancesOf(api: ApiClient, pool: string, only: string | undefined): Promise<string[]> {
  if (only !== undefined) return [only];
  const names: string[] = [];
  for await (const { name } of everyItem(api, "listInstances", { pool }, MOST_INSTANCES + 1))
    names.push(name);
  if (names.length > MOST_INSTANCES)
    throw failed(`pool ${pool} has more than ${MOST_INSTANCES} instances; name one with --instance`);
  return names;
}

/** @throws CliFailure when there are more windows than are read */
export async function recorded(api: ApiClient, instance: string, span: TimeSpan): Promise<RecordedInstance> {
  const windows: Window[] = [];
  const params = { instance };
  for await (const { window } of everyItem(api, "listWindows", span, MOST_WINDOWS + 1, params)) {
    windows.push(window);
  }
  if (windows.length > MOST_WINDOWS)
    throw failed(
      `${instance} has more than ${MOST_WINDOWS} windows from ${span.from} to ${span.to}; ask for less`,
    );
  const allocations = new Map<number, Allocation>();
  const durationsMs: number[] = [];
  for await (const one of everyItem(api, "listReconfigurations", { instance }, MOST_ROLLOUTS)) {
    allocations.set(one.generation, one.to);
    if (!allocations.has(one.from.generation)) allocations.set(one.from.generation, one.from);
    if (one.state === "verified" && one.durationMs !== null) durationsMs.push(one.durationMs);
  }
  if (allocations.size === 0) {
    const { body } = await api.call("getInstance", { params });
    allocations.set(body.desired.generation, body.desired);
  }
  const rolloutMs = durationsMs.sort((a, b) => a - b)[durationsMs.length >> 1] ?? USUAL_ROLLOUT_MS;
  return { instance, windows, allocations, rolloutMs };
}
