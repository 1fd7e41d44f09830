import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import * as layout from "./layout.js";
import { countFree, startWorker } from "./stress/run.js";
import { SideArea } from "./stress/side-area.js";
import { newPool, poolPath } from "./testing/pool-file.js";

const file = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const reader = file("python/fulcrum_kv_pool.py");
const python = ["python3", "python"].find((name) => spawnSync(name, ["--version"]).status === 0);
const compiler = ["cc", "gcc", "clang"].find((name) => spawnSync(name, ["--version"]).status === 0);
const cxx = ["c++", "g++", "clang++"].find((name) => spawnSync(name, ["--version"]).status === 0);
if (cxx === undefined)
  console.log("skipped: no C++ compiler on the PATH, so the header is not tested as C++");
if (python === undefined) console.log("skipped: no python3 on the PATH, so the Python reader is not tested");
if (compiler === undefined) console.log("skipped: no C compiler on the PATH, so the C header is not tested");

const STRICT = ["-O2", "-Wall", "-Wextra", "-pedantic", "-Werror"];

function build(command: string, flags: readonly string[], source: string, program: string): string {
  const built = spawnSync(command, [...flags, ...STRICT, source, "-o", program], { encoding: "utf8" });
  expect(built.stderr).toBe("");
  expect(built.status).toBe(0);
  return program;
}

function compile(path: string): string {
  return build(compiler!, ["-std=c11"], file("c/example.c"), join(dirname(path), "example"));
}

test.each([
  ["C11", compiler, ["-std=c11"]],
  ["C17", compiler, ["-std=gnu17"]],
  ["C++17", cxx, ["-std=c++17", "-x", "c++"]],
  ["C++20", cxx, ["-std=c++20", "-x", "c++"]],
])("the header is good %s without a warning, and an owner that left takes nothing", (_, command, flags) => {
  if (command === undefined) return;
  const path = poolPath();
  const pool = newPool(100, 60, path);
  const program = build(command, flags, file("c/example.c"), join(dirname(path), "example"));
  expect(numbers(spawnSync(program, [path, "left"], { encoding: "utf8" }).stdout)).toEqual([
    1, 1, 1, 1, 1, 0,
  ]);
  const held = spawnSync(program, [path, "hold", "prefill", "60"], { encoding: "utf8", input: "" });
  expect(new Set(numbers(held.stdout)).size).toBe(60);
  expect(pool.usage().prefill.usedBlocks).toBe(0);
  // Whichever headers came first, in strict C too: what they were asked to hide then stays hidden.
  const late = join(dirname(path), "late.c");
  writeFileSync(
    late,
    `#include <stdio.h>\n#include <unistd.h>\n#include "${file("c/fulcrum_kv_pool.h")}"\nint main(void) { return 0; }\n`,
  );
  build(command, flags, late, join(dirname(path), "late"));
});

const numbers = (line: string) => line.trim().split(" ").map(Number);

test.skipIf(python === undefined)("Python reads what TypeScript wrote", async () => {
  const path = poolPath();
  const pool = newPool(101, 60, path);
  const decode = await pool.attach({ role: "decode", turn: 3 });
  pool.takeTurn("decode", 3);
  // In a slot from which blocks were adopted before.
  const before = await pool.attach({ role: "prefill", turn: 0 });
  const blocks = new Uint32Array(20);
  expect(before.allocate(20, blocks)).toBe("ok");
  await decode.adopt(before, blocks);
  decode.free(blocks);
  before.detach();
  const prefill = await pool.attach({ role: "prefill", turn: 0 });
  expect(prefill.allocate(20, blocks)).toBe("ok");
  await decode.adopt(prefill.slot, blocks.subarray(0, 5));
  await pool.setQuota("prefill", 10, 4);
  const run = spawnSync(python!, [reader, path], { encoding: "utf8" });
  expect(run.stderr).toBe("");
  const held = [...blocks].map((block, i) => [String(block), i < 5 ? decode.slot : prefill.slot]);
  const owners = pool.owners().map((owner) => ({
    slot: owner.slot,
    role: owner.role,
    pid: process.pid,
    start: owner.process.start,
    turn: owner.turn,
    blocks: owner.blocks,
  }));
  expect(JSON.parse(run.stdout)).toEqual({
    blocks: 101,
    prefill: { used: 15, quota: 10, revision: 4, turn: 0 },
    decode: { used: 5, quota: 101, revision: 0, turn: 3 },
    owners,
    held: Object.fromEntries(held) as unknown,
  });
});

test.skipIf(python === undefined || compiler === undefined)(
  "Python and C refuse what TypeScript refuses, with the same word and bound",
  () => {
    const path = poolPath();
    newPool(100, 100, path);
    const program = compile(path);
    const good = readFileSync(path);
    const changes: [string, number, RegExp][] = [
      ["bad_magic", 0, /magic is 0x[0-9a-f]+, must be 0x50564b46/],
      ["bad_version", 1, /layout version is \d+; this reads version 1/],
      ["corrupt", 3, /header checksum is 0x/],
    ];
    for (const [code, word, text] of changes) {
      const bytes = Buffer.from(good);
      bytes.writeUInt32LE(bytes.readUInt32LE(word * 4) + 1, word * 4);
      writeFileSync(path, bytes);
      expect(spawnSync(python!, [reader, path], { encoding: "utf8" }).stderr).toMatch(
        new RegExp(`^${code}: .*${text.source}`),
      );
      expect(spawnSync(program, [path, "usage"], { encoding: "utf8" }).stderr).toMatch(text);
    }
    // Larger than any pool: refused by its size, before it is mapped.
    truncateSync(path, 5 * 2 ** 30);
    expect(spawnSync(python!, [reader, path], { encoding: "utf8" }).stderr).toMatch(
      /^wrong_size: .*5368709120 bytes; a pool has 2052 to 8390656/,
    );
    expect(spawnSync(program, [path, "usage"], { encoding: "utf8" }).stderr).toContain(
      "5368709120 bytes; the largest pool has 8390656",
    );
    writeFileSync(path, good.subarray(0, 2_080));
    const text = "2080 bytes, its header says 2100";
    expect(spawnSync(python!, [reader, path], { encoding: "utf8" }).stderr).toContain(text);
    expect(spawnSync(program, [path, "usage"], { encoding: "utf8" }).stderr).toContain(text);
  },
);

test.skipIf(compiler === undefined)(
  "C takes blocks that TypeScript sees, and the other way round",
  async () => {
    const path = poolPath();
    const pool = newPool(100, 60, path);
    const program = compile(path);
    const mine = await pool.attach({ role: "prefill", turn: 0 });
    // C joins a slot from which blocks were adopted before.
    const before = await pool.attach({ role: "decode", turn: 0 });
    const passed = new Uint32Array(30);
    expect(before.allocate(30, passed)).toBe("ok");
    await mine.adopt(before, passed);
    mine.free(passed);
    before.detach();
    const blocks = new Uint32Array(50);
    expect(mine.allocate(50, blocks)).toBe("ok");
    const usage = () => numbers(spawnSync(program, [path, "usage"], { encoding: "utf8" }).stdout);
    expect(usage()).toEqual([100, 50, 60, 0, 0, 100, 0]);

    const holder = spawn(program, [path, "hold", "decode", "40"], { stdio: ["pipe", "pipe", "inherit"] });
    const [line] = (await once(holder.stdout, "data")) as [Buffer];
    const theirs = numbers(line.toString());
    expect(new Set([...theirs, ...blocks]).size).toBe(90);
    expect(pool.owners()[1]).toMatchObject({
      role: "decode",
      state: "alive",
      blocks: 40,
      process: { pid: holder.pid },
    });
    expect(pool.usage().decode.usedBlocks).toBe(40);
    expect(mine.allocate(10, new Uint32Array(10))).toBe("ok");
    expect(mine.allocate(1, new Uint32Array(1))).toBe("over_quota");
    expect(() => mine.free(Uint32Array.from(theirs.slice(0, 1)))).toThrow("is held by slot 1, not by slot 0");
    expect(spawnSync(program, [path, "hold", "decode", "1"], { encoding: "utf8" }).stderr).toBe(
      "allocate: 1\n",
    );
    holder.stdin.end();
    expect(await once(holder, "exit")).toEqual([0, null]);
    expect(pool.usage().decode.usedBlocks).toBe(0);

    // The one that was refused above, and one that ends with 30 blocks in its hands, left without a word.
    const crashed = spawnSync(program, [path, "crash", "decode", "30"], { encoding: "utf8" });
    expect(numbers(crashed.stdout)).toHaveLength(30);
    expect(await pool.reclaimDead()).toMatchObject([
      { slot: 1, blocks: 30 },
      { slot: 2, blocks: 0 },
    ]);
    expect(countFree(path)).toBe(40);
  },
);

test.skipIf(compiler === undefined)(
  "a C process and a TypeScript process share one pool at speed",
  async () => {
    const path = poolPath();
    const pool = newPool(700, 350, path);
    const side = SideArea.create(`${path}.side`, 700);
    const program = compile(path);
    const child = spawn(program, [path, "stamp", "prefill", "300000", `${path}.side`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    const closed = once(child, "close");
    const worker = startWorker({
      pool: path,
      side: `${path}.side`,
      mode: "pairs",
      role: "decode",
      token: 1,
      pairs: 200_000,
      maxBlocks: 48,
      seed: 5,
      quotaBlocks: null,
      respawnEvery: 0,
      reclaimEvery: 0,
    });
    const answer = await worker.answer;
    await closed;
    expect(numbers(output)).toEqual([0, 0]);
    expect(answer.heldAtEnd).toBe(0);
    expect(side.doubleAllocations).toBe(0);
    expect(countFree(path)).toBe(700);
    expect(pool.usage()).toMatchObject({ prefill: { usedBlocks: 0 }, decode: { usedBlocks: 0 } });
    side.close();
  },
);

test("the C header and the Python reader carry the layout's numbers", () => {
  const header = readFileSync(file("c/fulcrum_kv_pool.h"), "utf8");
  const source = readFileSync(reader, "utf8");
  const inC = (name: string) => Number(new RegExp(`\\b${name} (?:= )?(0x[0-9a-f]+|\\d+)`).exec(header)?.[1]);
  expect([inC("FKV_MAGIC"), inC("FKV_VERSION"), inC("FKV_SLOTS")]).toEqual([
    layout.MAGIC,
    layout.LAYOUT_VERSION,
    layout.OWNER_SLOTS,
  ]);
  expect(inC("FKV_W_JOURNAL")).toBe(layout.JOURNAL.valid);
  expect([inC("FKV_W_PREFILL"), inC("FKV_W_DECODE"), inC("FKV_W_SLOTS")]).toEqual([
    layout.roleWord("prefill"),
    layout.roleWord("decode"),
    layout.slotWord(0),
  ]);
  expect(source).toContain(
    `MAGIC, VERSION, SLOTS, MAX_BLOCKS = 0x${layout.MAGIC.toString(16).toUpperCase()}, ${layout.LAYOUT_VERSION}, ${layout.OWNER_SLOTS}, 1 << 24`,
  );
});
