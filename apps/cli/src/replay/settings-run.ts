/** Since when an instance was decided on by the settings of its newest decision, and what they were before. */
import type { DecisionResource } from "@fulcrum/contracts/resources.js";
import type { GuardConfig, PolicyConfig, Snapshot } from "@fulcrum/core/decision.js";
import type { Limits, Mode, SloTarget } from "@fulcrum/core/nouns.js";
import { leafChanges, valueWords } from "../text/changes.js";

/** What a decision went by, as its row holds it. */
export interface Settings {
  readonly mode: Mode;
  readonly policy: PolicyConfig;
  readonly guards: GuardConfig;
  readonly limits: Limits;
  readonly slo: SloTarget;
}

export interface SettingsRun {
  readonly settings: Settings;
  /** The first decision by them. */
  readonly since: string;
  /** "policy.name "search" -> "static""; null: no decision of the time went by others. */
  readonly change: string | null;
}

/** Of each instance, from decisions that are given newest first. */
export class NewestSettings {
  private readonly runs = new Map<string, SettingsRun>();

  take(row: DecisionResource): void {
    const settings = settingsOf(row);
    const run = this.runs.get(row.instance);
    if (run === undefined) this.runs.set(row.instance, { settings, since: row.at, change: null });
    else if (run.change === null) {
      const change = changeWords(settings, run.settings);
      this.runs.set(row.instance, change === "" ? { ...run, since: row.at } : { ...run, change });
    }
  }

  /** Null: no decision of it was given. */
  of(instance: string): SettingsRun | null {
    return this.runs.get(instance) ?? null;
  }
}

function settingsOf({ mode, policyConfig, guardConfig, snapshot }: DecisionResource): Settings {
  const { limits, slo } = snapshot as unknown as Snapshot;
  return {
    mode,
    policy: policyConfig as unknown as PolicyConfig,
    guards: guardConfig as unknown as GuardConfig,
    limits,
    slo,
  };
}

const MOST_NAMED = 6;

function changeWords(before: Settings, after: Settings): string {
  const changes = leafChanges({ ...before }, { ...after });
  const named = changes
    .slice(0, MOST_NAMED)
    .map(({ field, from, to }) => `${field} ${valueWords(from)} -> ${valueWords(to)}`);
  return [...named, ...(changes.length > MOST_NAMED ? [`${changes.length - MOST_NAMED} more`] : [])].join(
    ", ",
  );
}
