import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { processBirth } from "./process-table.js";

const LOCK_FILE = "owner.json";
/** A stale lock is cleared and taken again; more rounds than this mean that others keep taking it. */
const MAX_ROUNDS = 5;

/** The right of this process to use a data folder, from before initdb until the server has ended. */
export interface OwnerLock {
  release(): Promise<void>;
}

interface Owner {
  readonly pid: number;
  readonly birth: string;
}

/**
 * Takes the folder for this process. A lock whose process has ended is taken over; kill -9 leaves one.
 * @throws Error naming the folder and the process while another live process (or this one) holds it.
 */
export async function takeOwnerLock(dataDir: string): Promise<OwnerLock> {
  const file = join(dataDir, LOCK_FILE);
  const text = JSON.stringify({ pid: process.pid, birth: (await processBirth(process.pid)) ?? "" });
  const draft = join(dataDir, `${LOCK_FILE}.${process.pid}.tmp`);
  await writeFile(draft, text, { mode: 0o644 });
  try {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      // link() puts the lock there whole or not at all, and fails where one exists.
      if (await linked(draft, file)) return { release: () => releaseOwn(file, text) };
      const held = await readFile(file, "utf8").catch(() => undefined);
      if (held === undefined) continue;
      const owner = await liveOwner(held);
      if (owner !== undefined) throw inUse(dataDir, owner);
      await clearStale(file, held);
    }
  } finally {
    await rm(draft, { force: true });
  }
  throw new Error(
    `The data folder ${dataDir} could not be locked after ${MAX_ROUNDS} tries: other processes are starting in it.`,
  );
}

function inUse(dataDir: string, owner: Owner): Error {
  const who = owner.pid === process.pid ? "this process" : `process ${owner.pid}`;
  return new Error(
    `The data folder ${dataDir} is in use by ${who}. Stop that one first, or choose another data folder.`,
  );
}

async function linked(draft: string, file: string): Promise<boolean> {
  try {
    await link(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function liveOwner(text: string): Promise<Owner | undefined> {
  let owner: Owner;
  try {
    owner = JSON.parse(text) as Owner;
  } catch {
    return undefined;
  }
  if (!Number.isInteger(owner.pid)) return undefined;
  return (await processBirth(owner.pid)) === owner.birth ? owner : undefined;
}

async function clearStale(file: string, stale: string): Promise<void> {
  const aside = `${file}.${process.pid}.stale`;
  try {
    await rename(file, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  // Between our reading and our moving it, another starter may have cleared the stale lock and put its
  // own there: then it is not ours to take, and goes back.
  if ((await readFile(aside, "utf8")) !== stale) await linked(aside, file);
  await rm(aside, { force: true });
}

async function releaseOwn(file: string, text: string): Promise<void> {
  const held = await readFile(file, "utf8").catch(() => undefined);
  if (held === text) await rm(file, { force: true });
}
