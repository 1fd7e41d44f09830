import { DEFAULT_POLICY, POLICY_NAMES } from "@fulcrum/contracts/pools.js";
import { Option, type Command } from "commander";
import type { PolicyName } from "@fulcrum/core/nouns.js";
import { usageError } from "../failure.js";
import type { Io } from "../io.js";
import { localCommand } from "./command.js";

export function addDecide(program: Command, io: Io): void {
  localCommand<{ policy: PolicyName; params?: Json; guards?: Json }>(
    program,
    {
      usage: "decide",
      summary: "Run a policy as a filter: one JSON observation per line in, one JSON answer per line out",
      examples: [
        "fulcrum decide < observations.ndjson",
        `fulcrum decide --policy feedback --params '{"stepPct":3}' < observations.ndjson`,
      ],
      options: [
        new Option("--policy <name>", "the policy to run").choices(POLICY_NAMES).default(DEFAULT_POLICY),
        new Option("--params <json>", "parameters of the policy, over its defaults").argParser(jsonObject),
        new Option("--guards <json>", "guards, over their defaults").argParser(jsonObject),
      ],
    },
    async (_args, { policy, params, guards }) => {
      const { runDecide } = await import("../decide/run-decide.js");
      const { PolicyParamsError } = await import("../decide/policy-config.js");
      const note = (text: string) => void io.stderr.write(`fulcrum decide: ${text}\n`);
      try {
        await runDecide(io.stdin, io.stdout, { policy, params, guards, note });
      } catch (error) {
        throw error instanceof PolicyParamsError ? usageError(error.message) : error;
      }
    },
  );
}

type Json = Record<string, unknown>;

function jsonObject(text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw usageError(`--params and --guards take JSON: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw usageError('--params and --guards take a JSON object such as {"stepPct":3}');
  }
  return value as Json;
}
