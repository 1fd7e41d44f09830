import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UNCONTROLLED } from "@fulcrum/core/nouns.js";
import { createInstance } from "@fulcrum/simulator/instance.js";
import { workloadArrivals, type Workload } from "@fulcrum/simulator/workload.js";
import { loadProfile, loadWorkload, openArrivals } from "./input-files.js";
import { parseOptions, type EngineOptions } from "./options.js";

const folder = mkdtempSync(join(tmpdir(), "engine-sim-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function options(...args: string[]): EngineOptions {
  const parsed = parseOptions(["--socket", "s", ...args], 0);
  if (parsed === "help") throw new Error("not reached");
  return parsed;
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function onePhase(workload: Workload, ratePerS: Record<string, number>): Workload {
  return { ...workload, phases: [{ name: "only", durationMs: 1e6, rampMs: 0, ratePerS }] };
}

const atPercentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;

describe("the bundled data", () => {
  const profile = loadProfile("llama3-8b-a100");
  const workload = loadWorkload("chat-and-documents");

  it("draws chat lengths with ShareGPT's means, and documents with LongBench's", () => {
    const meansOf = (kind: string): [number, number] => {
      const options = { seed: 1, rateScale: 1, startMs: 0, repeat: true };
      const source = workloadArrivals(onePhase(workload, { [kind]: 10 }), options);
      let [prompt, output] = [0, 0];
      for (let i = 0; i < 20_000; i += 1) {
        const request = source.next().value;
        prompt += request.promptTokens;
        output += request.outputTokens;
      }
      return [prompt / 20_000, output / 20_000];
    };
    const [chatPrompt, chatOutput] = meansOf("chat");
    expect(Math.abs(chatPrompt / 252 - 1)).toBeLessThan(0.1);
    expect(Math.abs(chatOutput / 330 - 1)).toBeLessThan(0.1);
    const [documentPrompt, documentOutput] = meansOf("document");
    expect(Math.abs(documentPrompt / 3030 - 1)).toBeLessThan(0.05);
    expect(Math.abs(documentOutput / 92 - 1)).toBeLessThan(0.1);
  });

  it("moves through its phases in 300 s", () => {
    expect(workload.phases.reduce((sum, phase) => sum + phase.durationMs, 0)).toBe(300_000);
  });

  it("gives latencies near the semi-PD paper's at 10.5 chats per second with both caps at 100", () => {
    const instance = createInstance({ profile, initial: { ...UNCONTROLLED, generation: 0 } });
    const chats = workloadArrivals(onePhase(workload, { chat: 10.5 }), {
      seed: 1,
      rateScale: 1,
      startMs: 0,
      repeat: true,
    });
    for (let request = chats.next().value; request.arrivalMs < 300_000; request = chats.next().value) {
      instance.submit(request);
    }
    const finished = instance.advanceTo(300_000).filter((event) => event.type === "finished");
    const ttft = finished.map((event) => event.ttftMs);
    const tpot = finished.flatMap((event) => event.tpotMs ?? []);
    // Fig 12: P90 TTFT 155 ms, P90 TPOT 82 ms, read off the plot; within a factor of two.
    expect(atPercentile(ttft, 0.9)).toBeGreaterThan(78);
    expect(atPercentile(ttft, 0.9)).toBeLessThan(310);
    expect(atPercentile(tpot, 0.9)).toBeGreaterThan(41);
    expect(atPercentile(tpot, 0.9)).toBeLessThan(164);
  });
});

describe("openArrivals", () => {
  it("fits a trace to the model's window and says what was dropped", () => {
    const path = file(
      "t.jsonl",
      [
        '{"timestamp": 0, "input_length": 9000, "output_length": 6}',
        '{"timestamp": 100, "input_length": 40, "output_length": 6}',
      ].join("\n"),
    );
    const { requests, about } = openArrivals(
      options("--trace", path, "--trace-format", "mooncake", "--once"),
    );
    expect(about).toMatchObject({ requests: 1, droppedTooLong: 1, atItsEnd: "stops" });
    expect(requests.next().value).toMatchObject({ arrivalMs: 100, promptTokens: 40 });
    expect(requests.next().done).toBe(true);
  });

  it("draws lengths at the given rate times the scale", () => {
    const path = file("l.csv", "prompt_tokens,output_tokens\n10,20\n");
    const args = ["--trace", path, "--trace-format", "lengths", "--rate", "5", "--rate-scale", "2"];
    const { requests, about } = openArrivals(options(...args));
    expect(about).toMatchObject({ ratePerS: 10 });
    expect(requests.next().value).toMatchObject({ promptTokens: 10, outputTokens: 20 });
  });

  it("names the file that is missing, no JSON, or holds nothing that fits", () => {
    const absent = join(folder, "absent.csv");
    expect(() => openArrivals(options("--trace", absent, "--trace-format", "azure"))).toThrow(
      `${absent}: cannot be read`,
    );
    expect(() => loadProfile("nowhere")).toThrow(
      "nowhere: no such file; bundled: chat-and-documents, llama3",
    );
    const broken = file("broken.json", "{");
    expect(() => loadWorkload(broken)).toThrow(`${broken}: is no JSON`);
    const long = file("long.csv", "prompt_tokens,output_tokens\n9000,20\n");
    expect(() => openArrivals(options("--trace", long, "--trace-format", "lengths", "--rate", "1"))).toThrow(
      "long.csv: no request fits --max-context 8192",
    );
  });
});
