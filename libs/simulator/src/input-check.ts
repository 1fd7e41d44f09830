/** A value that came from outside (a file, a flag) and cannot be used. The message names the field and the bound. */
export class SimulatorInputError extends Error {
  override readonly name = "SimulatorInputError";
}

/** Refuses input: `where` names the file, `path` the field inside it. */
export function refuse(where: string, path: string, problem: string): never {
  throw new SimulatorInputError(path === "" ? `${where}: ${problem}` : `${where}: ${path} ${problem}`);
}

/** Reads the fields of one JSON object; every error names the field and what it may be. */
export class Fields {
  readonly #object: Readonly<Record<string, unknown>>;

  /** Throws SimulatorInputError when `value` is no JSON object. */
  constructor(
    value: unknown,
    readonly where: string,
    readonly path = "",
  ) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      refuse(where, path, `must be an object, got ${describe(value)}`);
    }
    this.#object = value as Record<string, unknown>;
  }

  /** Refuses fields outside `known`: a misspelt name must not be ignored silently. */
  only(known: readonly string[]): void {
    for (const name of Object.keys(this.#object)) {
      if (!known.includes(name)) refuse(this.where, this.#at(name), `is unknown; known: ${known.join(", ")}`);
    }
  }

  names(): readonly string[] {
    return Object.keys(this.#object);
  }

  number(name: string, min: number, max: number): number {
    const value = this.#object[name];
    if (typeof value !== "number" || !Number.isFinite(value) || value < min || value > max) {
      refuse(this.where, this.#at(name), `must be a number ${min}..${max}, got ${describe(value)}`);
    }
    return value;
  }

  integer(name: string, min: number, max: number): number {
    const value = this.number(name, min, max);
    if (!Number.isInteger(value)) {
      refuse(this.where, this.#at(name), `must be a whole number ${min}..${max}, got ${value}`);
    }
    return value;
  }

  text(name: string): string {
    const value = this.#object[name];
    if (typeof value !== "string" || value === "") {
      refuse(this.where, this.#at(name), `must be a text that is not empty, got ${describe(value)}`);
    }
    return value;
  }

  choice<T extends string>(name: string, known: readonly T[]): T {
    const value = this.#object[name];
    const found = known.find((item) => item === value);
    if (found === undefined) {
      refuse(this.where, this.#at(name), `must be one of ${known.join(", ")}, got ${describe(value)}`);
    }
    return found;
  }

  object(name: string): Fields {
    return new Fields(this.#object[name], this.where, this.#at(name));
  }

  list(name: string, minLength: number, maxLength: number): readonly unknown[] {
    const value = this.#object[name];
    if (!Array.isArray(value) || value.length < minLength || value.length > maxLength) {
      refuse(
        this.where,
        this.#at(name),
        `must be a list of ${minLength}..${maxLength}, got ${describe(value)}`,
      );
    }
    return value as unknown[];
  }

  objects(name: string, minLength: number, maxLength: number): readonly Fields[] {
    return this.list(name, minLength, maxLength).map(
      (item, index) => new Fields(item, this.where, `${this.#at(name)}[${index}]`),
    );
  }

  has(name: string): boolean {
    return this.#object[name] !== undefined;
  }

  #at(name: string): string {
    return this.path === "" ? name : `${this.path}.${name}`;
  }
}

function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  return JSON.stringify(value).slice(0, 60);
}
