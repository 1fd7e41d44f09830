import type { GuardConfig, PolicyConfig, Snapshot } from "@fulcrum/core/decision.js";
import { decide } from "@fulcrum/core/decide.js";
import type { ApiClient } from "../api/client.js";
import { everyItem } from "../api/pages.js";
import { differences } from "../text/json-difference.js";

/** More decisions than this are not read in one go: at one per 5 s it is 57 days of an instance. */
const MOST_DECISIONS = 1_000_000;
/** Rows fetched at the same time. */
const PARALLEL = 8;
/** Differing decisions that are kept for the report. */
const MOST_KEPT = 1_000;

export interface VerifyReport {
  readonly checked: number;
  readonly different: readonly {
    readonly id: string;
    readonly instance: string;
    readonly at: string;
    /** "message: stored … , again …", at most 10. */
    readonly differences: readonly string[];
  }[];
}

/** Runs decide() again on the inputs of every stored decision and compares what it answers with the row. */
export async function verifyDecisions(
  api: ApiClient,
  filter: { readonly pool?: string; readonly instance?: string },
): Promise<VerifyReport> {
  const different: VerifyReport["different"][number][] = [];
  let checked = 0;
  let batch: string[] = [];
  const flush = async () => {
    const results = await Promise.all(batch.map((id) => verifyOne(api, id)));
    checked += results.length;
    for (const result of results) {
      if (result.differences.length > 0 && different.length < MOST_KEPT) different.push(result);
    }
    batch = [];
  };
  for await (const { id } of everyItem(api, "listDecisions", filter, MOST_DECISIONS)) {
    batch.push(id);
    if (batch.length >= PARALLEL) await flush();
  }
  await flush();
  return { checked, different };
}

async function verifyOne(api: ApiClient, id: string) {
  const { body: row } = await api.call("getDecision", { params: { id } });
  return { id, instance: row.instance, at: row.at, differences: redecided(row) };
}

/** Where decide() now differs from what the row says; empty when it answers the same. */
export function redecided(row: {
  readonly snapshot: unknown;
  readonly policyConfig: unknown;
  readonly guardConfig: unknown;
  readonly decidedAtMs: number;
  readonly decision: unknown;
}): string[] {
  let again: unknown;
  try {
    again = decide(
      row.snapshot as Snapshot,
      row.policyConfig as PolicyConfig,
      row.guardConfig as GuardConfig,
      row.decidedAtMs,
    );
  } catch (error) {
    return [`decide() failed: ${error instanceof Error ? error.message : String(error)}`];
  }
  // The row went through JSON, which knows no undefined and no -0.
  return differences(row.decision, JSON.parse(JSON.stringify(again)));
}
