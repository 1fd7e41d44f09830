/** `fulcrum instances override` and `rollback`: what a person sets by hand. */
import type { Hold } from "@fulcrum/contracts/holds.js";
import { Option, type Command } from "commander";
import { usageError } from "../failure.js";
import type { Io } from "../io.js";
import { agoOf, allocationWords } from "../text/words.js";
import { apiCommand, durationMsOf, given, numberIn, wholeIn } from "./command.js";
import { splitOf } from "./pool-options.js";

interface ManualOptions {
  readonly reason: string;
  readonly ttl: number;
}

const MOST_GENERATIONS = 2_147_483_647;

export function addManualControl(group: Command, io: Io): void {
  apiCommand<ManualOptions & { split?: readonly [number, number]; kvQuota?: number }>(
    group,
    io,
    {
      usage: "override <instance>",
      summary: "Set an instance by hand at once, and hold it there for a while",
      examples: [
        'fulcrum instances override chat-8b-0 --split 60,40 --ttl 30min --reason "long prompts until noon"',
      ],
      options: [
        new Option("--split <x,y>", "the caps of prefill and decode, percent of the SMs").argParser(splitOf),
        new Option("--kv-quota <pct>", "share of the KV blocks prefill may fill").argParser(numberIn(1, 100)),
        ...manualOptions(),
      ],
    },
    async ({ api, io, show }, [instance], { split, kvQuota, reason, ttl }) => {
      if (split === undefined && kvQuota === undefined)
        throw usageError("say what to set: --split, --kv-quota or both");
      const params = { instance: given(instance) };
      // What is not named stays as it is asked for now.
      const { desired } = (await api.call("getInstance", { params })).body;
      const allocation = {
        split: split ? { prefillSmPct: split[0], decodeSmPct: split[1] } : desired.split,
        kvQuotaPct: kvQuota ?? desired.kvQuotaPct,
      };
      const { body, raw } = await api.call("overrideInstance", {
        params,
        body: { allocation, ttlMs: ttl, reason },
      });
      show(raw, () => heldWords(body, io));
    },
  );
  apiCommand<ManualOptions & { to: number }>(
    group,
    io,
    {
      usage: "rollback <instance>",
      summary: "Give an instance the allocation of an earlier generation, and hold it there for a while",
      examples: ['fulcrum instances rollback chat-8b-0 --to 12 --ttl 1h --reason "TPOT got worse since"'],
      options: [
        new Option("--to <generation>", "an earlier generation that was verified")
          .argParser(wholeIn(0, MOST_GENERATIONS))
          .makeOptionMandatory(),
        ...manualOptions(),
      ],
    },
    async ({ api, io, show }, [instance], { to, reason, ttl }) => {
      const { body, raw } = await api.call("rollbackInstance", {
        params: { instance: given(instance) },
        body: { generation: to, ttlMs: ttl, reason },
      });
      show(raw, () => heldWords(body, io));
    },
  );
}

function manualOptions(): Option[] {
  return [
    new Option("--ttl <duration>", "how long it is held, 1s to 30d, such as 30min")
      .argParser(durationMsOf)
      .makeOptionMandatory(),
    new Option("--reason <text>", "why; it goes into the audit log").makeOptionMandatory(),
  ];
}

function heldWords({ instance, allocation, generation, until, id }: Hold, io: Io): string {
  return `set ${instance} to ${allocationWords(allocation)} as generation ${generation}; held, ends ${agoOf(until, io.now())} (hold ${id})`;
}
