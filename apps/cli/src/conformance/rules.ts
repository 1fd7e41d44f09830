/**
 * The rules of the worker protocol (docs/worker-protocol.md) as an agent can check them from outside, in an order in
 * which each builds on what those before it left.
 */
import type { Rule } from "./checks.js";
import { endRules } from "./end-rules.js";
import { faultRules } from "./fault-rules.js";
import { startRules } from "./start-rules.js";
import { turnRules } from "./turn-rules.js";
import { wholeRunRules } from "./whole-run-rules.js";

export function rulesOf(): readonly Rule[] {
  return [...startRules, ...turnRules(), ...faultRules(), ...endRules, ...wholeRunRules];
}
