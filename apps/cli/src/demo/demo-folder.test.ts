import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processBirth } from "@fulcrum/embedded/process-table.js";
import { afterEach, beforeEach, expect, it } from "vitest";
import { removeDeadDemos } from "./demo-folder.js";

let parent: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "dead-demos-"));
});
afterEach(() => rmSync(parent, { recursive: true }));

function left(name: string, mark: string | null): string {
  const folder = join(parent, name);
  mkdirSync(join(folder, "logs"), { recursive: true });
  writeFileSync(join(folder, "logs", "agent.log"), "a line\n");
  if (mark !== null) writeFileSync(join(folder, "demo.json"), mark);
  return folder;
}

it("removes the folder of a demo whose process has ended, also when its number lives again", async () => {
  const own = JSON.stringify({ pid: process.pid, birth: "before the last boot" });
  const folders = [left("fulcrum-aaaaaa", own), left("fulcrum-bbbbbb", own)];
  expect(await removeDeadDemos(parent)).toBe(2);
  for (const folder of folders) expect(existsSync(folder)).toBe(false);
});

it("leaves alone what runs, what is no demo's, what lies behind a link, and what it cannot read", async () => {
  const birth = await processBirth(process.pid);
  const dead = JSON.stringify({ pid: process.pid, birth: "before the last boot" });
  const elsewhere = left("elsewhere", dead);
  symlinkSync(elsewhere, join(parent, "fulcrum-link"));
  const stay = [
    left("fulcrum-runs", JSON.stringify({ pid: process.pid, birth })),
    left("fulcrum-up", null),
    left("fulcrum-broken", "{"),
    elsewhere,
  ];
  expect(await removeDeadDemos(parent)).toBe(0);
  for (const folder of stay) expect(existsSync(join(folder, "logs", "agent.log"))).toBe(true);
});
