/** What good-worker.mjs becomes with one thing wrong, and the rule that must find it. */
export interface WrongWorker {
  readonly what: string;
  /** Text of good-worker.mjs, and what stands there instead. */
  readonly change: readonly (readonly [from: string, to: string])[];
  /** Of the one rule that it breaks. */
  readonly rule: RegExp;
  /** What the report says was seen. */
  readonly why: RegExp;
}

export function wrong(what: string, from: string, to: string, rule: RegExp, why: RegExp): WrongWorker {
  return { what, change: [[from, to]], rule, why };
}
