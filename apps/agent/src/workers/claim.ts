/**
 * A Unix socket that only one process on the machine listens on: who listens owns what its path stands for, and the
 * claim ends with the process, however it ends.
 */
import { createHash } from "node:crypto";
import { mkdir, rm, rmdir, stat } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A lock is held for milliseconds: one this old is of an agent that was killed meanwhile. */
const STALE_LOCK_MS = 5_000;
/** Well above it: a lock that was left just before we began must have turned stale by then. */
const GIVE_UP_MS = 10_000;

export class RankClaimedError extends Error {
  override readonly name = "RankClaimedError";
  readonly code = "rank_claimed";
}

export interface ResidentClaim {
  /** At once: another agent may claim it then. */
  release(): void;
}

/** All of them or none. `address`: as configured, `{rank}` is filled in. @throws RankClaimedError */
export async function claimResidents(address: string, ranks: readonly number[]): Promise<ResidentClaim> {
  const claims: ResidentClaim[] = [];
  const release = (): void => {
    for (const one of claims.splice(0)) one.release();
  };
  try {
    for (const rank of ranks) {
      claims.push(await claimResident({ address: address.replaceAll("{rank}", String(rank)), rank }));
    }
  } catch (error) {
    release();
    throw error;
  }
  return { release };
}

/**
 * Claims one rank's resident by its address, whatever folder an agent keeps its sockets in: two that steer one resident
 * take the turn from each other. Agents in different network namespaces do not see each other's claims on Linux, nor
 * do those of users with temporary folders of their own elsewhere. @throws RankClaimedError
 */
export async function claimResident(
  of: { readonly address: string; readonly rank: number },
  platform: NodeJS.Platform = process.platform,
): Promise<ResidentClaim> {
  const server = createServer((socket) => socket.destroy());
  // Its listening alone keeps no agent alive.
  server.unref();
  const taken = `another agent or instance on this machine has the resident ${of.address} (rank ${of.rank})`;
  const hash = createHash("sha256").update(`${of.rank} ${of.address}`).digest("hex").slice(0, 32);
  if (platform === "linux") {
    // An abstract name: no file, nothing to clean up.
    await listenOn(server, `\0fulcrum-resident-${hash}`).catch((error: unknown) => {
      throw (error as NodeJS.ErrnoException).code === "EADDRINUSE" ? new RankClaimedError(taken) : error;
    });
  } else await claim(server, join(tmpdir(), `fulcrum-${hash}.sock`), taken);
  return { release: () => void server.close() };
}

/**
 * Listens on a path in the file system; only one agent at a time looks whether the socket there is stale and replaces
 * it: making a folder is atomic. @throws RankClaimedError
 */
export async function claim(
  server: Server,
  path: string,
  taken = `another agent listens on ${path}: two agents must not own one rank`,
): Promise<void> {
  const lock = `${path}.lock`;
  const giveUpAt = performance.now() + GIVE_UP_MS;
  for (;;) {
    if (await answers(path)) throw new RankClaimedError(taken);
    if (await takeLock(lock)) break;
    if (performance.now() > giveUpAt) {
      throw new RankClaimedError(`${lock} is held by another agent; remove it if none is starting`);
    }
    await sleep(50);
  }
  try {
    if (await answers(path)) throw new RankClaimedError(taken);
    await rm(path, { force: true });
    await listenOn(server, path);
  } finally {
    await rmdir(lock).catch(() => undefined);
  }
}

async function takeLock(lock: string): Promise<boolean> {
  try {
    await mkdir(lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const made = await stat(lock).catch(() => null);
  if (made !== null && Date.now() - made.mtimeMs > STALE_LOCK_MS) await rmdir(lock).catch(() => undefined);
  return false;
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.setTimeout(1_000, () => finish(true));
    const finish = (is: boolean): void => {
      socket.destroy();
      resolve(is);
    };
    socket.once("connect", () => finish(true));
    socket.once("error", () => finish(false));
  });
}

function listenOn(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ path }, () => {
      server.removeListener("error", reject);
      server.on("error", () => undefined);
      resolve();
    });
  });
}
