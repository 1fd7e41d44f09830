/**
 * `fulcrum decide`: a policy as a filter, one JSON line in, one JSON line out. Anyone can drive it from a
 * simulator or a recorded log. A line that cannot be used is answered with `{}` (hold) and named on stderr.
 */
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import type { GuardConfig, PolicyConfig } from "@fulcrum/core/decision.js";
import type { PolicyName } from "@fulcrum/core/nouns.js";
import { UNCONTROLLED } from "@fulcrum/core/nouns.js";
import { priorOf } from "@fulcrum/evaluation/prior-of.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { BUNDLED_PROFILE, loadProfile } from "../simulator-check/input-files.js";
import { readLines } from "./lines.js";
import type { Line } from "./lines.js";
import { guardConfig, policyConfig } from "./policy-config.js";
import type { PolicyParams } from "./policy-config.js";
import { LineError, parseLine, readHello, readObservation } from "./protocol.js";
import type { Hello } from "./protocol.js";
import { DecideSession } from "./session.js";
import type { Answer } from "./session.js";

export interface DecideOptions {
  readonly policy: PolicyName;
  readonly params?: PolicyParams;
  /** Guards that differ from the defaults. */
  readonly guards?: Partial<GuardConfig>;
  /** Where notes about unusable lines and about the prior go; process.stderr unless given. */
  readonly note?: (text: string) => void;
  /** Reads a bundled profile by its name; from its file unless given. */
  readonly profileNamed?: (name: string) => Profile;
}

/**
 * Runs until `{"type":"end"}` or the end of the input. Rejects with PolicyParamsError before the first line when
 * the options are unusable, and with the stream's error when input or output breaks; no line makes it fail.
 */
export async function runDecide(input: Readable, output: Writable, options: DecideOptions): Promise<void> {
  const note = options.note ?? ((text: string) => void process.stderr.write(`fulcrum decide: ${text}\n`));
  const guards = guardConfig(options.guards ?? {});
  policyConfig(options.policy, options.params ?? {}, UNCONTROLLED);

  const filter = new DecideFilter(options, guards, note);
  let number = 0;
  for await (const line of readLines(input)) {
    number += 1;
    const answer = filter.answer(line, number);
    if (answer === "end") return;
    if (!output.write(`${JSON.stringify(answer)}\n`)) await once(output, "drain");
  }
}

class DecideFilter {
  private hello: Hello | null = null;
  private session: DecideSession | null = null;
  /** Notes on the prior: a hello that comes again tells nothing new. */
  private readonly noted = new Set<string>();

  constructor(
    private readonly options: DecideOptions,
    private readonly guards: GuardConfig,
    private readonly note: (text: string) => void,
  ) {}

  answer(line: Line, number: number): Answer | "end" {
    try {
      if ("tooLong" in line) throw new LineError("longer than a line may be");
      const message = parseLine(line.text);
      if (message.type === "end") return "end";
      if (message.type === "hello") return this.begin(message);
      if (message.type !== "observation") throw new LineError("type is not hello, observation or end");
      if (this.hello === null || this.session === null)
        throw new LineError("an observation before any hello");
      return this.session.observe(readObservation(message, this.hello));
    } catch (error) {
      this.note(`line ${number}: ${error instanceof Error ? error.message : "unusable"}; holding`);
      return {};
    }
  }

  private begin(message: Record<string, unknown>): Answer {
    const hello = readHello(message);
    const config = this.toldConfig(hello) ?? this.givenConfig(hello);
    this.hello = hello;
    this.session = new DecideSession(hello, config, this.guards, this.note);
    return this.session.start();
  }

  private givenConfig({ initial }: Hello): PolicyConfig {
    return policyConfig(this.options.policy, this.options.params ?? {}, initial);
  }

  /** With the profile that the hello names as the prior; null: it is not bundled, or a prior (or null) was given. */
  private toldConfig({ profile, initial }: Hello): PolicyConfig | null {
    const { policy, params = {}, profileNamed = loadProfile } = this.options;
    if (policy !== "search" || params.prior !== undefined || profile !== BUNDLED_PROFILE) return null;
    try {
      const config = policyConfig(policy, { ...params, prior: priorOf(profileNamed(profile)) }, initial);
      this.noteOnce(`the bundled profile ${profile} is the prior; --params '{"prior":null}' leaves it out`);
      return config;
    } catch (error) {
      const why = error instanceof Error ? error.message : "unusable";
      this.noteOnce(`the bundled profile ${profile} is no prior: ${why}; going on without`);
      return null;
    }
  }

  private noteOnce(text: string): void {
    if (this.noted.has(text)) return;
    this.noted.add(text);
    this.note(text);
  }
}
