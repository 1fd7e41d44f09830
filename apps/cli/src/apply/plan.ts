/** What would have to be written so that the controller has what a file says. Pure. */
import type { PoolSettings } from "@fulcrum/contracts/pool-defaults.js";
import { type Pool, type PoolPatch, poolInput } from "@fulcrum/contracts/pools.js";
import { type LeafChange, leafChanges, valueWords } from "../text/changes.js";
import { sloWords } from "../text/words.js";

export type Step =
  | { readonly kind: "create"; readonly pool: PoolSettings }
  | {
      readonly kind: "change";
      readonly before: Pool;
      readonly patch: PoolPatch;
      readonly changes: readonly LeafChange[];
    }
  | { readonly kind: "keep"; readonly before: Pool }
  | { readonly kind: "delete"; readonly before: Pool };

/** Every field that a person writes. */
const FIELDS = Object.keys(poolInput.shape) as (keyof PoolSettings)[];

/**
 * A step for each pool of the file, in its order, and with `prune` for each that is not in it. A field that the file
 * leaves out has its default: the same file makes the same pools, whatever they were.
 */
export function planOf(wanted: readonly PoolSettings[], there: readonly Pool[], prune: boolean): Step[] {
  const known = new Map(there.map((pool) => [pool.name, pool]));
  const steps = wanted.map((pool): Step => {
    const before = known.get(pool.name);
    return before === undefined ? { kind: "create", pool } : changeOf(before, pool);
  });
  if (!prune) return steps;
  return [...steps, ...unnamed(wanted, there).map((before): Step => ({ kind: "delete", before }))];
}

/** Pools that the file does not name. */
export function unnamed(wanted: readonly PoolSettings[], there: readonly Pool[]): Pool[] {
  const names = new Set(wanted.map(({ name }) => name));
  return there.filter(({ name }) => !names.has(name));
}

function changeOf(before: Pool, wanted: PoolSettings): Step {
  const changes = leafChanges(settingsOf(before), settingsOf(wanted));
  if (changes.length === 0) return { kind: "keep", before };
  const changed = new Set(changes.map(({ field }) => field.split(".")[0]));
  const patch = Object.fromEntries(FIELDS.filter((field) => changed.has(field)).map((f) => [f, wanted[f]]));
  return { kind: "change", before, patch, changes };
}

/** What of a pool stands in a file. */
export function settingsOf(pool: PoolSettings): Readonly<Record<string, unknown>> {
  return Object.fromEntries(FIELDS.map((field) => [field, pool[field]]));
}

export function nameOf(step: Step): string {
  return step.kind === "create" ? step.pool.name : step.before.name;
}

export function differs(step: Step): boolean {
  return step.kind !== "keep";
}

/** What a step does, a line, with a line for each field that changes. `done`: it has been written. */
export function stepText(step: Step, done: boolean): string {
  switch (step.kind) {
    case "create": {
      const { name, policy, mode, slo } = step.pool;
      return `+ ${name}: ${done ? "created" : "would be created"}: ${policy.name}, ${mode}, ${sloWords(slo)}`;
    }
    case "change":
      return [
        `~ ${step.before.name}: ${done ? "changed" : "would change"}`,
        ...step.changes.map(
          ({ field, from, to }) => `    ${field}: ${valueWords(from)} -> ${valueWords(to)}`,
        ),
      ].join("\n");
    case "keep":
      return `= ${step.before.name}: unchanged`;
    case "delete": {
      const { name, instances } = step.before;
      const left = instances === 0 ? "" : `; of its ${instances} instances none would be decided on any more`;
      return `- ${name}: ${done ? "deleted" : `would be deleted${left}`}`;
    }
  }
}

/** For programs. */
export function stepJson(step: Step): Record<string, unknown> {
  const pool = nameOf(step);
  if (step.kind !== "change") return { pool, step: step.kind };
  const fields = step.changes.map(({ field, from, to }) => ({ field, from: from ?? null, to: to ?? null }));
  return { pool, step: step.kind, fields };
}
