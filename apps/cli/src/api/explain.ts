import { failed } from "../failure.js";
import { suggestion } from "../text/near-names.js";
import { Refusal, type ApiClient } from "./client.js";
import { everyItem } from "./pages.js";

/** Names beyond these are not compared. */
const MOST_NAMES = 1_000;

/** Adds the near names to a refusal that says that a pool, an instance or an agent is not there. */
export async function explained(api: ApiClient, error: unknown): Promise<unknown> {
  if (!(error instanceof Refusal) || error.problem?.code !== "not_found") return error;
  const { names, route } = error.request;
  for (const kind of ["pool", "instance", "agent"] as const) {
    const name = names[kind];
    if (name === undefined) continue;
    const known = await knownNames(api, kind).catch(() => null);
    if (known === null || known.includes(name)) continue;
    return new Refusal(error.status, error.problem, { route, names }, `there is no ${kind} "${name}".`, [
      suggestion(kind, name, known),
    ]);
  }
  return error;
}

/**
 * For a list that came out empty under a filter: a name that does not exist is told as such, because the
 * API answers it with an empty list. @throws CliFailure
 */
export async function refuseUnknownFilter(
  api: ApiClient,
  filter: { readonly pool?: string; readonly instance?: string },
): Promise<void> {
  for (const kind of ["pool", "instance"] as const) {
    const name = filter[kind];
    if (name === undefined) continue;
    const known = await knownNames(api, kind);
    if (!known.includes(name))
      throw failed(`there is no ${kind} "${name}".`, [suggestion(kind, name, known)]);
  }
}

async function knownNames(api: ApiClient, kind: "pool" | "instance" | "agent"): Promise<string[]> {
  if (kind === "pool") return (await api.call("listPools", {})).body.items.map(({ name }) => name);
  if (kind === "agent") return (await api.call("listAgents", {})).body.items.map(({ name }) => name);
  const names: string[] = [];
  for await (const { name } of everyItem(api, "listInstances", {}, MOST_NAMES)) names.push(name);
  return names;
}
