import { readFileSync } from "node:fs";
import type { SloPromise } from "@fulcrum/core/nouns.js";
import { parseProfile } from "@fulcrum/simulator/profile.js";
import { parseWorkload, workloadArrivals } from "@fulcrum/simulator/workload.js";
import { describe, expect, test } from "vitest";
import { classesStudy } from "./classes-study.js";
import { replicasStudy } from "./replicas-study.js";

const bundled = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../apps/engine-sim/data/${name}.json`, import.meta.url), "utf8"));
const profile = parseProfile(bundled("llama3-8b-a100"), "llama3-8b-a100");
const workload = parseWorkload(bundled("chat-and-documents"), "chat-and-documents");

function mixed(chat: number, document: number, durationMs: number) {
  const phases = [{ name: "steady", durationMs, rampMs: 0, ratePerS: { chat, document } }];
  return [...workloadArrivals({ ...workload, phases }, { seed: 1, rateScale: 1, startMs: 0, repeat: false })];
}

const promise = (ttftMs: number, tpotMs: number, attainmentShare: number): SloPromise => ({
  ttft: { percentile: attainmentShare, boundMs: ttftMs },
  tpot: { percentile: attainmentShare, boundMs: tpotMs },
  attainmentShare,
});

describe("chats and documents that cannot both be kept on one instance", () => {
  const rows = classesStudy({
    profile,
    requests: mixed(7, 1.4, 480_000),
    promises: [
      { kind: "chat", promise: promise(4_000, 45, 0.9) },
      { kind: "document", promise: promise(1_500, 200, 0.8) },
    ],
  });
  const sharesOf = (slo: string) => rows.find((row) => row.slo === slo)!.shares;

  test("the order decides who is kept", () => {
    const [chatFirst, documentsBelow] = sharesOf("chat, then document");
    const [chatBelow, documentsFirst] = sharesOf("document, then chat");
    expect(chatFirst).toBeGreaterThan(chatBelow! + 0.05);
    expect(documentsFirst).toBeGreaterThan(documentsBelow! + 0.1);
    expect(documentsFirst).toBeGreaterThan(0.75);
  });

  test("who goes second still gets what the first does not ask for", () => {
    const [alone] = sharesOf("document alone");
    const [below] = sharesOf("document, then chat");
    expect(below).toBeGreaterThan(alone! + 0.2);
  });
});

test("as many instances as are said to be needed keep the promise, and those that carry less than comes do not", () => {
  const slo = promise(2_000, 80, 0.9);
  const rows = replicasStudy({ profile, requests: mixed(24, 2.4, 300_000), slo, instances: [1, 2, 3] });
  const needed = new Set(rows.map((row) => row.needed));
  expect([...needed]).toEqual([3]);
  for (const { headroom, keptShare } of rows) {
    if (headroom! < 0.95) expect(keptShare).toBeLessThan(0.9);
  }
  expect(rows.at(-1)).toMatchObject({ instances: 3, known: 3 });
  expect(rows.at(-1)!.keptShare).toBeGreaterThan(0.9);
});
