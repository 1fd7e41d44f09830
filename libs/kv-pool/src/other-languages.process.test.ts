import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
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
if (python === undefined) console.log("skipped: no python3 on the PATH, so the Python reader is not tested");
if (compiler === undefined) console.log("skipped: no C compiler on the PATH, so the C header is not tested");

function compile(path: string): string {
  const program = join(dirname(path), "example");
  const flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"];
  const built = spawnSync(compiler!, [...flags, "-o", program, file("c/example.c")], { encoding: "utf8" });
  expect(built.stderr).toBe("");
  return program;
}

const numbers = (line: string) => line.trim().split(" ").map(Number);

test.skipIf(python === undefined)("Python reads what TypeScript wrote", async () => {
  const path = poolPath();
  const pool = newPool(101, 60, path);
  const prefill = await pool.attach({ role: "prefill", turn: 0 });
  const decode = await pool.attach({ role: "decode", turn: 3 });
  pool.takeTurn("decode", 3);
  const blocks = new Uint32Array(20);
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
  expect([inC("FKV_W_MOVES"), inC("FKV_W_JOURNAL")]).toEqual([layout.MOVES, layout.JOURNAL.valid]);
  expect([inC("FKV_W_PREFILL"), inC("FKV_W_DECODE"), inC("FKV_W_SLOTS")]).toEqual([
    layout.roleWord("prefill"),
    layout.roleWord("decode"),
    layout.slotWord(0),
  ]);
  expect(source).toContain(
    `MAGIC, VERSION, SLOTS, MAX_BLOCKS = 0x${layout.MAGIC.toString(16).toUpperCase()}, ${layout.LAYOUT_VERSION}, ${layout.OWNER_SLOTS}, 1 << 24`,
  );
});
