/**
 * Sums over the open label sets of one or several metrics pages. Engines add labels from release to release, so
 * nothing here knows the whole set: what names a rank of a group is taken once, everything else adds up.
 */
import { MAX_BUCKETS } from "@fulcrum/contracts/windows.js";
import type { Histogram } from "@fulcrum/core/nouns.js";
import { ReadError, type Series } from "./engine-reader.js";
import type { Exposition, Sample } from "./exposition.js";

export type Labels = Sample["labels"];

/**
 * Ranks that work on the same requests. With attention split over data-parallel ranks SGLang numbers tp_rank and
 * moe_ep_rank through all of them (dp_rank 1 has tp_rank 2 of 4), so it is the lowest of each group that counts and
 * not number 0.
 */
const GROUP_RANKS = ["pp_rank", "tp_rank", "moe_ep_rank", "ep_rank"] as const;

export interface MetricSetOptions {
  /** Only this model, of a server that serves several; what carries no such label is the server's own and stays. */
  readonly model?: string | undefined;
  readonly modelLabel: string;
  /** Label sets that break another one down, as SGLang's per-priority counts do; they would count twice. */
  readonly isBreakdown?: (labels: Labels) => boolean;
}

interface Found {
  readonly page: number;
  readonly key: string;
  readonly labels: Labels;
  readonly value: number;
}

type Names = string | readonly string[];
const all = (): boolean => true;

export class MetricSet {
  /** Every counter and histogram count that was read. */
  readonly series = new Map<string, Series>();
  /** By gauge, why it was left out. */
  private readonly leftOut = new Map<string, string>();

  constructor(
    private readonly pages: readonly Exposition[],
    private readonly options: MetricSetOptions,
  ) {}

  /**
   * The sum of a counter; null when the engine does not expose it. Of several names the first that is exposed is
   * taken: a metric that was renamed stands on the page under both for some releases.
   * @throws ReadError `malformed`
   */
  counter(
    names: Names,
    only: (labels: Labels) => boolean = all,
    most: number = Number.MAX_SAFE_INTEGER,
  ): number | null {
    const name = this.exposed(names);
    const found = name === null ? [] : this.found(name, only);
    if (name === null || found.length === 0) return null;
    const created = this.created(name.replace(/_total$/, ""));
    let sum = 0;
    for (const { page, key, value } of found) {
      const series = checked(name, value, most);
      this.series.set(`${page} ${name}${key}`, { value: series, createdS: created(page, key) });
      sum += series;
    }
    return sum;
  }

  /** What was left out and why; a page that is right has none. */
  get notes(): readonly string[] {
    return [...this.leftOut.values()];
  }

  /**
   * The sum of a gauge; null when the engine does not expose it, or not as a number of 0 or more: one gauge that is
   * wrong must not cost the others, and `notes` says so. A sum without one of its parts would be wrong too.
   */
  gauge(names: Names): number | null {
    const values = this.gauges(names);
    return values.length === 0 ? null : values.reduce((sum, { value }) => sum + value, 0);
  }

  /** As `gauge`, for what nothing can be measured without. @throws ReadError `malformed` */
  neededGauge(names: Names): number | null {
    const value = this.gauge(names);
    const why = this.leftOut.get(this.exposed(names) ?? "");
    if (why !== undefined) throw new ReadError("malformed", why);
    return value;
  }

  /** The label sets of a gauge one by one, for what is a share of something or says it in its labels; none as `gauge`. */
  gauges(
    names: Names,
  ): readonly { readonly page: number; readonly labels: Labels; readonly value: number }[] {
    const name = this.exposed(names);
    if (name === null) return [];
    const found = this.found(name, all);
    const wrong = found.find(({ value }) => !isWithin(value));
    if (!wrong) return found;
    this.leftOut.set(name, outOfBounds(name, wrong.value));
    return [];
  }

  /**
   * A histogram in seconds, as counts per bucket in milliseconds; null when the engine does not expose it.
   * @throws ReadError `malformed`: bounds that differ between label sets, counts that fall, no +Inf bucket,
   * MAX_BUCKETS bounds or more; `missing_metric`: no sum
   */
  histogram(names: Names, only: (labels: Labels) => boolean = all): Histogram | null {
    const name = this.exposed(names, "_bucket");
    const buckets = name === null ? [] : this.found(`${name}_bucket`, only);
    if (name === null || buckets.length === 0) return null;
    const { cumulative, labelSets } = this.cumulativeByBound(name, buckets);
    const bounds = [...cumulative.keys()].sort((a, b) => a - b);
    if (bounds.at(-1) !== Infinity) throw new ReadError("malformed", `${name} has no +Inf bucket`);
    if (buckets.length !== labelSets * bounds.length) {
      throw new ReadError("malformed", `${name} has different buckets in its label sets`);
    }
    const counts: number[] = [];
    let below = 0;
    for (const bound of bounds) {
      const upTo = cumulative.get(bound) ?? 0;
      if (upTo < below) throw new ReadError("malformed", `${name} counts fall at le="${bound}"`);
      counts.push(upTo - below);
      below = upTo;
    }
    const finite = bounds.slice(0, -1).map(secondsToMs);
    if (finite[0] === 0) {
      // A bound of 0 cannot be told from the next one in a latency: both mean "at once".
      finite.shift();
      counts.splice(0, 2, (counts[0] ?? 0) + (counts[1] ?? 0));
    }
    if (finite.length < 1 || finite.length >= MAX_BUCKETS) {
      throw new ReadError(
        "malformed",
        `${name} must have 1..${MAX_BUCKETS - 1} bounds above 0, got ${finite.length}`,
      );
    }
    const sums = this.found(`${name}_sum`, only);
    if (sums.length === 0) throw new ReadError("missing_metric", `${name}_sum is not exposed`);
    const sumS = sums.reduce((sum, { value }) => sum + checked(`${name}_sum`, value), 0);
    return { boundsMs: finite, counts, sumMs: sumS * 1_000 };
  }

  /** The values of a label of a metric, each once, in order. */
  valuesOf(name: string, label: string): string[] {
    const values = this.found(name, all).map(({ labels }) => labels[label]);
    return [...new Set(values.filter((value) => value !== undefined))].sort();
  }

  /** What the model label says on any page, for a message. */
  modelsOf(name: string): string[] {
    const { modelLabel } = this.options;
    const models = this.pages.flatMap((page) =>
      (page.get(name) ?? []).map(({ labels }) => labels[modelLabel]),
    );
    return [...new Set(models.filter((model) => model !== undefined))];
  }

  /** The missing gauge that every engine of a kind exposes: another program, or a model that is not served. */
  absent(name: string, engine: string): ReadError {
    const { model } = this.options;
    const why = this.leftOut.get(name);
    if (why !== undefined) return new ReadError("malformed", why);
    const others = this.modelsOf(name);
    return new ReadError(
      "missing_metric",
      model !== undefined && others.length > 0
        ? `${name} is not exposed for model ${model}, only for ${others.slice(0, 5).join(", ")}`
        : `${name} is not exposed: is this ${engine}?`,
    );
  }

  private exposed(names: Names, suffix = ""): string | null {
    const list = typeof names === "string" ? [names] : names;
    return list.find((name) => this.pages.some((page) => page.has(name + suffix))) ?? null;
  }

  private found(name: string, only: (labels: Labels) => boolean): Found[] {
    const { model, modelLabel, isBreakdown } = this.options;
    const wanted = (labels: Labels): boolean =>
      (model === undefined || (labels[modelLabel] ?? model) === model) &&
      isBreakdown?.(labels) !== true &&
      only(labels);
    return this.pages.flatMap((samples, page) =>
      firstRanks(name, page, samples.get(name)?.filter(({ labels }) => wanted(labels)) ?? []),
    );
  }

  private created(base: string): (page: number, key: string) => number | null {
    const created = new Map(
      this.found(`${base}_created`, all).map(({ page, key, value }) => [`${page} ${key}`, value]),
    );
    return (page, key) => created.get(`${page} ${key}`) ?? null;
  }

  private cumulativeByBound(
    name: string,
    buckets: readonly Found[],
  ): { cumulative: Map<number, number>; labelSets: number } {
    const cumulative = new Map<number, number>();
    const created = this.created(name);
    let infinities = 0;
    for (const { page, labels, value } of buckets) {
      const bound = boundOf(name, labels["le"] ?? "");
      if (!Number.isInteger(checked(`${name}_bucket`, value))) {
        throw new ReadError("malformed", `${name}_bucket must be whole, got ${value}`);
      }
      if (bound === Infinity) {
        infinities += 1;
        const key = keyOf(labels, "le");
        this.series.set(`${page} ${name}${key}`, { value, createdS: created(page, key) });
      }
      cumulative.set(bound, (cumulative.get(bound) ?? 0) + value);
    }
    return { cumulative, labelSets: infinities };
  }
}

/** Of each group of ranks the lowest. @throws ReadError `malformed` when a label set stands there twice */
function firstRanks(name: string, page: number, samples: readonly Sample[]): Found[] {
  const lowest = new Map<string, Found & { readonly rank: readonly number[] }>();
  for (const { labels, value } of samples) {
    const group = keyOf(labels, ...GROUP_RANKS);
    const rank = GROUP_RANKS.map((label) => Number(labels[label] ?? 0) || 0);
    const other = lowest.get(group);
    const order = other ? compareRanks(rank, other.rank) : -1;
    if (order === 0) throw new ReadError("malformed", `${name} has the labels ${group} twice`);
    if (order < 0) lowest.set(group, { page, key: keyOf(labels), labels, value, rank });
  }
  return [...lowest.values()];
}

function compareRanks(left: readonly number[], right: readonly number[]): number {
  for (const [i, rank] of left.entries()) {
    if (rank !== right[i]) return rank - (right[i] ?? 0);
  }
  return 0;
}

/** Client libraries write the labels of a metric in the same order every time. */
function keyOf(labels: Labels, ...without: readonly string[]): string {
  const kept = Object.entries(labels).filter(([label]) => !without.includes(label));
  return `{${kept.map(([label, value]) => `${label}=${JSON.stringify(value)}`).join(",")}}`;
}

function boundOf(name: string, le: string): number {
  const bound = /^\+?inf$/i.test(le) ? Infinity : le.trim() === "" ? Number.NaN : Number(le);
  if (!(bound >= 0)) throw new ReadError("malformed", `${name} has a bucket with le="${le}"`);
  return bound;
}

function checked(name: string, value: number, most: number = Number.MAX_SAFE_INTEGER): number {
  if (isWithin(value, most)) return value;
  throw new ReadError("malformed", outOfBounds(name, value, most));
}

function isWithin(value: number, most: number = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isFinite(value) && value >= 0 && value <= most;
}

function outOfBounds(name: string, value: number, most: number = Number.MAX_SAFE_INTEGER): string {
  const bound = most === Number.MAX_SAFE_INTEGER ? "2^53" : String(most);
  return `${name} must be 0..${bound}, got ${value}`;
}

export function inMs(seconds: number | null): number | null {
  return seconds === null ? null : seconds * 1_000;
}

/** To the nanosecond, so that 0.035 s is 35 ms and not 35.00000000000001. */
function secondsToMs(seconds: number): number {
  return Math.round(seconds * 1e9) / 1e6;
}
