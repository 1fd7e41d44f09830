import type { Bounds } from "./bounds.js";
import type { JobResult, Setting } from "./run-job.js";
import type { LaneSummary } from "./summary.js";

/** What a row belongs to: which question of an evaluation it helps to answer. */
export type Section = "grid" | "highest" | "long" | "sensitivity" | "ablation" | "shares";

/** One result with what it is of. Plain JSON. */
export interface Row {
  readonly section: Section;
  /** What was changed against the grid; "" for nothing. */
  readonly variant: string;
  /** Of a lane or a highest rate; "" for bounds. */
  readonly contender: string;
  readonly setting: Setting;
  readonly result: JobResult;
}

export interface Place {
  readonly section: Section;
  readonly variant?: string;
  readonly scenario: string;
  readonly fraction: number;
  readonly seed: number;
}

/** Rows by what they are of. */
export class Results {
  readonly #byKey = new Map<string, Row>();

  constructor(readonly rows: readonly Row[]) {
    for (const row of rows) {
      const { scenario, fraction, seed } = row.setting;
      const place = { section: row.section, variant: row.variant, scenario, fraction, seed };
      this.#byKey.set(keyOf(place, row.result.type, row.contender), row);
    }
  }

  /** Null when it was not run. */
  lane(place: Place, contender: string): LaneSummary | null {
    const result = this.#byKey.get(keyOf(place, "lane", contender))?.result;
    return result?.type === "lane" ? result.lane : null;
  }

  bounds(place: Place): Bounds | null {
    const result = this.#byKey.get(keyOf(place, "bounds", ""))?.result;
    return result?.type === "bounds" ? result.bounds : null;
  }

  /** Scenarios, fractions, seeds, contenders and variants of a section, each once, in the order they were run. */
  scenarios(section: Section): readonly string[] {
    return unique(this.#of(section).map((row) => row.setting.scenario));
  }

  fractions(section: Section, scenario: string): readonly number[] {
    const rows = this.#of(section).filter((row) => row.setting.scenario === scenario);
    return unique(rows.map((row) => row.setting.fraction));
  }

  seeds(section: Section, scenario: string): readonly number[] {
    const rows = this.#of(section).filter((row) => row.setting.scenario === scenario);
    return unique(rows.map((row) => row.setting.seed));
  }

  variants(section: Section): readonly string[] {
    return unique(this.#of(section).map((row) => row.variant));
  }

  contenders(section: Section): readonly string[] {
    return unique(this.#of(section).map((row) => row.contender)).filter((name) => name !== "");
  }

  /** Highest fractions of a contender, by seed, in the order they were run. */
  highest(scenario: string, contender: string): ReadonlyMap<number, number> {
    const rows = this.#of("highest").filter(
      (row) => row.setting.scenario === scenario && row.contender === contender,
    );
    return new Map(
      rows.flatMap(({ setting, result }) =>
        result.type === "highest" ? [[setting.seed, result.fraction] as const] : [],
      ),
    );
  }

  /** One contender's highest fraction over another's, for each seed that both have. */
  highestRatios(scenario: string, contender: string, other: string): readonly number[] {
    const others = this.highest(scenario, other);
    return [...this.highest(scenario, contender)].flatMap(([seed, fraction]) => {
      const under = others.get(seed);
      return under === undefined ? [] : [fraction / under];
    });
  }

  /** The places of a section, in the order they were run. */
  places(section: Section): readonly Required<Place>[] {
    const seen = new Map<string, Required<Place>>();
    for (const { variant, setting } of this.#of(section)) {
      const { scenario, fraction, seed } = setting;
      const place = { section, variant, scenario, fraction, seed };
      seen.set(keyOf(place, "", ""), place);
    }
    return [...seen.values()];
  }

  #of(section: Section): readonly Row[] {
    return this.rows.filter((row) => row.section === section);
  }
}

function keyOf(place: Place, type: string, contender: string): string {
  const { section, variant = "", scenario, fraction, seed } = place;
  return [section, variant, scenario, fraction, seed, type, contender].join("|");
}

function unique<T>(values: readonly T[]): readonly T[] {
  return [...new Set(values)];
}
