import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { afterAll, describe, expect, it } from "vitest";
import { parseProfile } from "@fulcrum/simulator/profile.js";
import { decodeStepMs } from "@fulcrum/simulator/step-time.js";
import { EXIT } from "../failure.js";
import { runCli } from "../program.js";

const folder = mkdtempSync(join(tmpdir(), "fulcrum-profile-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(...args: string[]) {
  const texts = { stdout: "", stderr: "" };
  const sink = (name: keyof typeof texts) =>
    new Writable({
      write(chunk, _encoding, done) {
        texts[name] += String(chunk);
        done();
      },
    });
  const io = {
    stdin: Readable.from([]),
    stdout: sink("stdout"),
    stderr: sink("stderr"),
    env: {},
    now: () => 0,
  };
  return { code: await runCli(args, io), ...texts };
}

function file(name: string, lines: readonly string[]): string {
  const path = join(folder, name);
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
}

const STEPS = [
  "phase,batch_size,len_or_ctx_per_seq,ms",
  ...[64, 256, 1024, 4096].flatMap((length) =>
    [1, 2].map((batch) => `prefill,${batch},${length},${10 + 0.05 * batch * length}`),
  ),
  ...[1, 8, 64].flatMap((batch) =>
    [128, 2048].map((context) => `decode,${batch},${context},${9 + 0.1 * batch + 2e-4 * batch * context}`),
  ),
];

const SHARES = [
  "sm_pct,batch_size,seq_len,prefill_ms,decode_step_ms",
  ...[40, 60, 80, 100].flatMap((smPct) =>
    [1, 16, 64].map((batch) => {
      const slowdown = (50 / smPct + 0.5).toFixed(6);
      return `${smPct},${batch},128,${Number(slowdown) * batch},${Number(slowdown) * (10 + batch)}`;
    }),
  ),
];

describe("fulcrum profile fit", () => {
  it("writes a profile that the simulator reads, and says how well it fits and where it extrapolates", async () => {
    const out = join(folder, "mine.json");
    const steps = file("steps.csv", STEPS);
    const shares = file("shares.csv", SHARES);
    const files = ["--steps", steps, "--sm-shares", shares, "--out", out];
    const settings = ["--name", "mine", "--engine-ms", "3,2", "--kv-tokens", "100003", "--max-batch", "64"];
    const result = await run("profile", "fit", ...files, ...settings);
    expect(result).toMatchObject({ code: EXIT.ok, stderr: "" });
    expect(result.stdout).toContain("R2 1.0000, mean error 0.0 %");
    expect(result.stdout).toContain(
      "Engine constants, prefill and decode: 3 and 2 ms (as given with the fit)",
    );
    expect(result.stdout).toContain("Limits: 64 sequences in a decode batch, 4096 tokens in a prefill batch");
    expect(result.stdout).toContain("SM shares below 40 %");
    expect(result.stdout).not.toContain("Decode above");
    const profile = parseProfile(JSON.parse(readFileSync(out, "utf8")), out);
    expect(profile.kvTotalTokens).toBe(100_000);
    // 9 + 0.1 x 64 + 2e-4 x 64 x 2048 at half the SMs, a = b: 1.5 times as long; 2 ms of engine.
    const want = 1.5 * (9 + 6.4 + 2e-4 * 64 * 2048) + 2;
    expect(decodeStepMs(profile, { sequences: 64, contextTokens: 64 * 2048 }, 0.5, false)).toBeCloseTo(
      want,
      2,
    );
  });

  it("refuses what it cannot use, by name, and writes nothing", async () => {
    const few = file("few.csv", STEPS.slice(0, 6));
    const out = join(folder, "none.json");
    const short = await run("profile", "fit", "--steps", few, "--out", out);
    expect(short.code).toBe(EXIT.failed);
    expect(short.stderr).toContain("decode: too few measurements to fit: needs at least 5 step times, has 0");
    const garbage = file("garbage.csv", [...STEPS, "prefill,1,oops,3"]);
    const bad = await run("profile", "fit", "--steps", garbage, "--out", out);
    expect(bad.stderr).toContain("garbage.csv:16: batch_size, len_or_ctx_per_seq and ms must be above 0");
    const absent = await run("profile", "fit", "--steps", join(folder, "absent.csv"), "--out", out);
    expect(absent).toMatchObject({ code: EXIT.usage });
    expect(absent.stderr).toContain("absent.csv cannot be read: there is no such file");
    expect(() => readFileSync(out)).toThrow("ENOENT");
  });
});
