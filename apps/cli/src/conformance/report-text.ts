import type { ConformanceReport } from "./run-conformance.js";

const MARK = { pass: "pass", fail: "FAIL", not_run: "  - " } as const;

/** One line per rule, the reason below a broken one, and the verdict. */
export function reportText({ exec, passed, rules }: ConformanceReport): string {
  const lines = rules.flatMap(({ role, rule, result, why }) => [
    `${MARK[result]}  ${role.padEnd(7)}  ${rule}`,
    ...(result === "fail" ? [`               ${why}`] : []),
  ]);
  const counts = (["pass", "fail", "not_run"] as const).map(
    (result) => rules.filter((rule) => rule.result === result).length,
  );
  const verdict = passed
    ? `${exec} keeps the worker protocol: ${counts[0]} rules.`
    : `${exec} does not keep the worker protocol: ${counts[0]} rules kept, ${counts[1]} broken, ${counts[2]} not run.`;
  return [...lines, "", verdict].join("\n");
}
