/**
 * Where an engine has no live KV quota: a cap at the gateway on the prompt tokens that are admitted and not finished
 * (docs/engines.md "The admission cap"). It reaches new requests only. The split stays.
 */
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { z } from "zod";
import { DriverError, type DriverCapabilities, type Plan, type Verdict } from "../../partition-driver.js";
import { quantise } from "../quantise.js";
import { fixedSplitLimits } from "../staged/fixed-split.js";
import { askJson } from "../staged/json-request.js";
import { type Applied, type Knob, type Move, type Reading, toldGeneration } from "../staged/knob.js";
import type { AdmissionCapConfig } from "./admission-cap-config.js";

const tokens = z
  .int()
  .min(0)
  .max(2 ** 50);

const capState = z.object({
  /** Of the cap in force; 0 before any was set. */
  revision: toldGeneration,
  /** null: no cap. */
  maxAdmittedPromptTokens: tokens.nullable(),
  /** The ledger: prompt tokens of the requests admitted and not finished. */
  inFlightPromptTokens: tokens,
  kvTokens: tokens.min(1).nullable().optional(),
  bootId: z.string().min(1).max(150),
});

type CapState = z.infer<typeof capState>;

/** A KV quota of 100 % is no cap: the engine's own admission decides. */
const OPEN_PCT = 100;

export class AdmissionCapKnob implements Knob {
  readonly appliesSlowly = false;

  constructor(private readonly config: AdmissionCapConfig) {}

  async probe(): Promise<DriverCapabilities> {
    this.kvTokensOf(await this.get());
    const { smPct, minKvQuotaPct } = this.config;
    return {
      driver: "admission-cap",
      live: true,
      limits: fixedSplitLimits(smPct, { minKvQuotaPct, maxKvQuotaPct: OPEN_PCT }),
      prepareMs: 0,
      smCount: null,
      roundingPct: 0,
    };
  }

  async read(applied: Applied | null): Promise<Reading> {
    const state = await this.get();
    const { bootId, revision: generation, maxAdmittedPromptTokens } = state;
    const reading = { bootId, generation, delivered: this.deliveredBy(state) };
    if (applied === null) return reading;
    const runs =
      generation === applied.generation && maxAdmittedPromptTokens === this.capOf(applied.asked, state);
    return { ...reading, runs };
  }

  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
    return quantise(target, capabilities);
  }

  accept(): Promise<void> {
    return Promise.resolve();
  }

  waitsFor(): Promise<null> {
    return Promise.resolve(null);
  }

  async apply({ generation, asked }: Move): Promise<void> {
    const now = await this.get();
    // Told before, by an agent that died before it could note it.
    if (now.revision === generation && now.maxAdmittedPromptTokens === this.capOf(asked, now)) return;
    const body = { revision: generation, maxAdmittedPromptTokens: this.capOf(asked, now) };
    const state = await this.ask("PUT", body);
    if (state.revision === generation && state.maxAdmittedPromptTokens === body.maxAdmittedPromptTokens)
      return;
    const message = `${this.config.url} was given ${JSON.stringify(body)} and answered revision ${state.revision}, cap ${state.maxAdmittedPromptTokens}`;
    throw new DriverError("not_taken", message, true);
  }

  async verify(plan: Plan): Promise<Verdict> {
    const state = await this.get();
    const cap = this.capOf(plan.asked, state);
    if (state.revision !== plan.generation || state.maxAdmittedPromptTokens !== cap) {
      const message = `the gateway holds revision ${state.revision} with cap ${state.maxAdmittedPromptTokens}, asked ${plan.generation} with ${cap}`;
      return { kind: "not_delivered", message };
    }
    if (cap !== null && state.inFlightPromptTokens > cap) {
      return {
        kind: "pending",
        why: `deferred: ${state.inFlightPromptTokens} prompt tokens in flight, cap ${cap}`,
      };
    }
    return { kind: "delivered", delivered: this.deliveredBy(state) };
  }

  close(): void {}

  private capOf({ kvQuotaPct }: Allocation, state: CapState): number | null {
    return kvQuotaPct >= OPEN_PCT
      ? null
      : Math.max(1, Math.floor((kvQuotaPct / 100) * this.kvTokensOf(state)));
  }

  private deliveredBy(state: CapState): Allocation {
    const { smPct } = this.config;
    const cap = state.maxAdmittedPromptTokens;
    const pct = cap === null ? OPEN_PCT : (100 * cap) / this.kvTokensOf(state);
    const kvQuotaPct = Math.min(OPEN_PCT, Math.max(1, Math.round(pct * 100) / 100));
    return { split: { prefillSmPct: smPct, decodeSmPct: smPct }, kvQuotaPct };
  }

  private kvTokensOf(state: CapState): number {
    const kvTokens = this.config.kvTokens ?? state.kvTokens ?? null;
    if (kvTokens !== null) return kvTokens;
    const message = `${this.config.url} does not say kvTokens: set driver.kvTokens to the engine's KV pool in tokens`;
    throw new DriverError("kv_tokens_unknown", message, false);
  }

  private get(): Promise<CapState> {
    return this.ask("GET");
  }

  private ask(method: "GET" | "PUT", body?: Readonly<Record<string, unknown>>): Promise<CapState> {
    const { url, timeoutMs } = this.config;
    return askJson({ method, url, timeoutMs, ...(body && { body }) }, capState);
  }
}
