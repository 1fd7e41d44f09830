import { checkWindow } from "@fulcrum/core/signal/window.js";
import { window as windowSchema } from "@fulcrum/contracts/windows.js";
import { describe, expect, test } from "vitest";
import { closeWindow } from "../window/close-window.js";
import { expositionOf } from "../testing/exposition-text.js";
import { snapshotOf } from "./engine-metrics.js";
import { SGLANG } from "./sglang-metrics.js";

const SERVING = expositionOf({ arrivals: 30, finished: 20 });
/** Bucket bounds of the page above. */
const boundsOf = (name: string) =>
  [...SERVING.matchAll(new RegExp(`^${name}_bucket\\{.*le="([^"]+)"`, "gm"))].map((match) => match[1]!);

function histogram(name: string, own: string, kind: string, count: number, bounds = boundsOf(own)): string[] {
  return [
    ...bounds.map((le) => `${name}_bucket{class="${kind}",le="${le}"} ${count}`),
    `${name}_sum{class="${kind}"} ${count / 10}`,
    `${name}_count{class="${kind}"} ${count}`,
  ];
}

const TTFT = "sglang:time_to_first_token_seconds";
const TPOT = [...SERVING.matchAll(/^(\S+)_bucket\{/gm)]
  .map((match) => match[1]!)
  .find((name) => name !== TTFT)!;

const linesOf = (kind: string, count: number, bounds?: string[]) => [
  `fulcrum:class_requests_arrived_total{class="${kind}"} ${count}`,
  `fulcrum:class_prompt_tokens_total{class="${kind}"} ${100 * count}`,
  `fulcrum:class_prompt_tokens_squared_total{class="${kind}"} ${10_000 * count}`,
  ...histogram("fulcrum:class_time_to_first_token_seconds", TTFT, kind, count, bounds),
  ...histogram("fulcrum:class_time_per_output_token_seconds", TPOT, kind, count),
];

const read = (atMs: number, ...lines: string[]) =>
  snapshotOf(SGLANG, [{ text: [SERVING, ...lines, ""].join("\n") }], { atMs, monotonicMs: atMs });
const MARK = { generation: 1, bootId: "a" };

function windowBetween(before: string[], after: string[]) {
  const closed = closeWindow(
    { snapshot: read(1_000, ...before), mark: MARK },
    { snapshot: read(2_000, ...after), mark: MARK },
  );
  if (closed.kind !== "window") throw new Error(`got ${closed.kind}`);
  const window = { ...closed.window, seq: 1 };
  expect(windowSchema.safeParse(window).success).toBe(true);
  expect(checkWindow(window, 2_000)).toBeNull();
  return window;
}

describe("classes of requests", () => {
  test("are what each has grown by, one that is new from nothing", () => {
    const { classes } = windowBetween(linesOf("chat", 5), [...linesOf("chat", 9), ...linesOf("document", 2)]);
    expect(classes).toMatchObject([
      { name: "chat", arrivals: 4, promptTokens: 400, promptTokensSq: 40_000 },
      { name: "document", arrivals: 2, promptTokens: 200, promptTokensSq: 20_000 },
    ]);
    for (const [i, count] of [4, 2].entries()) {
      expect(classes?.[i]?.ttft.counts.reduce((a, b) => a + b)).toBe(count);
      expect(classes?.[i]?.tpot.counts.reduce((a, b) => a + b)).toBe(count);
    }
  });

  test("an engine that tells none has none", () => {
    expect(windowBetween([], [])).not.toHaveProperty("classes");
  });

  test("with buckets of their own cannot be held against the others, and are left out", () => {
    const odd = (count: number) => linesOf("chat", count, ["0.5", "+Inf"]);
    expect(windowBetween(odd(1), odd(3)).classes).toEqual([]);
  });

  test("a label that is no name is no class, and no more than eight are read", () => {
    const names = ["Not A Name", ...Array.from({ length: 12 }, (_, i) => `c${String.fromCharCode(97 + i)}`)];
    const { classes } = windowBetween(
      [],
      names.flatMap((name) => linesOf(name, 1)),
    );
    expect(classes?.map(({ name }) => name)).toEqual(["ca", "cb", "cc", "cd", "ce", "cf", "cg", "ch"]);
  });

  test("one that fell is a restart: no window across it", () => {
    const closed = closeWindow(
      { snapshot: read(1_000, ...linesOf("chat", 9)), mark: MARK },
      { snapshot: read(2_000, ...linesOf("chat", 3)), mark: MARK },
    );
    expect(closed.kind).toBe("reset");
  });
});
