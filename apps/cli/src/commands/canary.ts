import type { Canary } from "@fulcrum/contracts/canary.js";
import type { Command } from "commander";
import type { Io } from "../io.js";
import { pairsText } from "../text/table.js";
import { agoOf, durationWords, trimmed } from "../text/words.js";
import { apiCommand, given } from "./command.js";

export function addCanary(program: Command, io: Io): void {
  apiCommand(
    program,
    io,
    {
      usage: "canary <pool>",
      summary: "How the instances that a canary moves do beside the rest",
      examples: [
        "fulcrum canary chat-8b",
        "fulcrum pools set chat-8b --mode enforce    # when it has shown enough",
      ],
    },
    async ({ api, io, show }, [pool]) => {
      const { body, raw } = await api.call("getCanary", { params: { pool: given(pool) } });
      show(raw, () => canaryText(body, io.now()));
    },
  );
}

/** Names that are listed; a pool may have a thousand. */
const MOST_NAMED = 8;

function canaryText(canary: Canary, nowMs: number): string {
  const { since, blocks, minBlocks, blockMs, before, lowShare, highShare } = canary;
  if (since === null) return `${canary.message} Start one: fulcrum pools set ${canary.pool} --mode canary`;
  const { diffShare, confidence, silentBlocks, heldBlocks } = canary;
  const interval =
    lowShare === null || highShare === null
      ? ""
      : ` (${trimmed(confidence * 100, 1)} %: ${pointsOf(lowShare)} to ${pointsOf(highShare)})`;
  return pairsText([
    ["pool", canary.pool],
    ["since", agoOf(since, nowMs)],
    ["moved", named(canary.instances)],
    ["rest", named(canary.rest)],
    ["moves", `${canary.moves} made by the policy`],
    [
      "blocks",
      `${blocks} of ${durationWords(blockMs)} (at least ${minBlocks}); ${silentBlocks} silent, ${heldBlocks} held`,
    ],
    [
      "before",
      before === null ? "not known" : `${pointsOf(before.diff)} points over ${before.blocks} blocks`,
    ],
    ["difference", diffShare === null ? "-" : `${pointsOf(diffShare)} points${interval}`],
    ["verdict", canary.message],
  ]);
}

function named(names: readonly string[]): string {
  const more = names.length > MOST_NAMED ? ` and ${names.length - MOST_NAMED} more` : "";
  return names.length === 0 ? "none" : `${names.length}: ${names.slice(0, MOST_NAMED).join(", ")}${more}`;
}

function pointsOf(share: number): string {
  return `${share > 0 ? "+" : ""}${trimmed(share * 100, 1)}`;
}
