import type { DecisionResource } from "@fulcrum/contracts/resources.js";
import type { Decision, GuardConfig, PolicyConfig, Snapshot } from "@fulcrum/core/decision.js";
import { decide } from "@fulcrum/core/decide.js";
import { POLICY_VERSIONS } from "@fulcrum/core/defaults.js";
import { asToldBy } from "@fulcrum/core/same-decision.js";
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
  /**
   * Rows that another version of their policy made: it may answer otherwise, and so is not asked. They stand as they
   * are; the release that has that version checks them.
   */
  readonly otherVersions: readonly (OtherVersion & { readonly decisions: number })[];
  readonly different: readonly {
    readonly id: string;
    readonly instance: string;
    readonly at: string;
    /** "message: stored … , again …", at most 10. */
    readonly differences: readonly string[];
  }[];
}

export interface OtherVersion {
  readonly policy: string;
  readonly version: number;
  /** The version that this build has. */
  readonly here: number;
}

/**
 * Runs decide() again on the inputs of every stored decision and compares what it answers with the row. `onRow` is given
 * each row, newest first.
 */
export async function verifyDecisions(
  api: ApiClient,
  filter: {
    readonly pool?: string;
    readonly instance?: string;
    readonly from?: string;
    readonly to?: string;
  },
  onRow?: (row: DecisionResource) => void,
): Promise<VerifyReport> {
  const different: VerifyReport["different"][number][] = [];
  const others = new Map<string, VerifyReport["otherVersions"][number]>();
  let checked = 0;
  let batch: string[] = [];
  const flush = async () => {
    const results = await Promise.all(batch.map((id) => verifyOne(api, id)));
    for (const { whole, ...result } of results) {
      onRow?.(whole);
      if (result.madeBy !== null) {
        const key = `${result.madeBy.policy} ${result.madeBy.version}`;
        others.set(key, { ...result.madeBy, decisions: (others.get(key)?.decisions ?? 0) + 1 });
        continue;
      }
      checked += 1;
      if (result.differences.length > 0 && different.length < MOST_KEPT) different.push(result.row);
    }
    batch = [];
  };
  for await (const { id } of everyItem(api, "listDecisions", filter, MOST_DECISIONS)) {
    batch.push(id);
    if (batch.length >= PARALLEL) await flush();
  }
  await flush();
  return { checked, otherVersions: [...others.values()], different };
}

async function verifyOne(api: ApiClient, id: string) {
  const { body: row } = await api.call("getDecision", { params: { id } });
  const madeBy = otherVersionOf(row.decision);
  const differences = madeBy === null ? redecided(row) : [];
  return { whole: row, madeBy, differences, row: { id, instance: row.instance, at: row.at, differences } };
}

/** The policy and version that made a decision, when this build has another version of it; else null. */
export function otherVersionOf(decision: unknown): OtherVersion | null {
  const { policy } = decision as Partial<Decision>;
  if (policy === undefined) return null;
  const { name, version } = policy;
  const known: Readonly<Record<string, number>> = POLICY_VERSIONS;
  const here = known[name];
  return here === undefined || here === version ? null : { policy: name, version, here };
}

/** Where decide() now differs from what the row says; empty when it answers the same. */
export function redecided(row: {
  readonly snapshot: unknown;
  readonly policyConfig: unknown;
  readonly guardConfig: unknown;
  readonly decidedAtMs: number;
  readonly decision: unknown;
}): string[] {
  let again: Decision;
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
  const told = asToldBy(again, row.decision as Decision);
  return differences(row.decision, JSON.parse(JSON.stringify(told)));
}
