/**
 * kvcached's segment: `/dev/shm/<name>`, 24 bytes, three int64 in the machine's byte order: limit (at start the total),
 * used, preallocated; no header. All its readers and writers hold flock on the file
 * (kvcached @e8e6406 csrc/inc/mem_info_tracker.hpp, kvcached/cli/utils.py). The engine writes all three under the
 * exclusive lock, so 8 bytes at offset 0 under that lock are all that may be written from outside.
 */
import { closeSync, constants, fstatSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import { FileLockError, withFileLock } from "@fulcrum/kv-pool/file-lock.js";
import { DriverError } from "../../partition-driver.js";
import { fileError } from "../../files/replace-file.js";

export const SEGMENT_BYTES = 24;
export const SEGMENT_FOLDER = "/dev/shm";
/** 1 PiB: more is garbage, and less is an exact number. */
export const MAX_SEGMENT_BYTES = 2 ** 50;

export interface SegmentReading {
  /** Of this file: an engine that ended well takes it away, and the next one makes a new one. */
  readonly identity: string;
  readonly limitBytes: number;
  readonly usedBytes: number;
  readonly preallocBytes: number;
}

export interface SegmentPlace {
  readonly path: string;
  readonly lockTimeoutMs: number;
}

/** @throws DriverError `unreachable`, `timeout`, `bad_answer`, `permission_denied` */
export function readSegment(place: SegmentPlace): Promise<SegmentReading> {
  return locked(place, (fd) => readLocked(place.path, fd));
}

/**
 * Reads, lets `choose` name the new limit in bytes (null: leave it), and writes it, all under one lock.
 * @throws DriverError as readSegment
 */
export function changeLimit(
  place: SegmentPlace,
  choose: (reading: SegmentReading) => number | null,
): Promise<SegmentReading> {
  return locked(place, (fd) => {
    const reading = readLocked(place.path, fd);
    const limitBytes = choose(reading);
    if (limitBytes === null || limitBytes === reading.limitBytes) return reading;
    // The engine ignores a limit of 0, and one above what it reserved at start cannot be mapped.
    if (!Number.isSafeInteger(limitBytes) || limitBytes <= 0) {
      throw new DriverError(
        "out_of_bounds",
        `a kvcached limit must be 1 byte or more, got ${limitBytes}`,
        false,
      );
    }
    const bytes = Buffer.alloc(8);
    if (endianness() === "LE") bytes.writeBigInt64LE(BigInt(limitBytes));
    else bytes.writeBigInt64BE(BigInt(limitBytes));
    writeSync(fd, bytes, 0, 8, 0);
    return { ...reading, limitBytes };
  });
}

export interface FoundSegment {
  readonly name: string;
  /** Why it is not a segment; null when it is one. */
  readonly fault: string | null;
  readonly reading: SegmentReading | null;
}

/** All segments with kvcached's own names, and those whose name begins with `prefix`. @throws DriverError */
export async function findSegments(
  folder: string,
  prefix: string,
  lockTimeoutMs: number,
): Promise<readonly FoundSegment[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw fileError(folder, error);
  });
  const found: FoundSegment[] = [];
  for (const name of names.filter((each) => each.startsWith(prefix)).toSorted()) {
    try {
      const reading = await readSegment({ path: join(folder, name), lockTimeoutMs });
      found.push({ name, fault: null, reading });
    } catch (error) {
      if (!(error instanceof DriverError)) throw error;
      found.push({ name, fault: error.message, reading: null });
    }
  }
  return found;
}

async function locked<T>(place: SegmentPlace, work: (fd: number) => T): Promise<T> {
  const { path, lockTimeoutMs } = place;
  const fd = openSegment(path);
  try {
    return await withFileLock(fd, lockTimeoutMs, () => work(fd));
  } catch (error) {
    if (error instanceof DriverError) throw error;
    if (error instanceof FileLockError && error.code === "timeout") {
      throw new DriverError("timeout", `${path} stayed locked for ${lockTimeoutMs} ms`, true);
    }
    throw fileError(path, error as NodeJS.ErrnoException);
  } finally {
    closeSync(fd);
  }
}

function openSegment(path: string): number {
  try {
    // Never created here, and no link followed: the folder is open to every user of the node.
    return openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const failed = error as NodeJS.ErrnoException;
    if (failed.code !== "ENOENT") throw fileError(path, failed);
    throw new DriverError(
      "unreachable",
      `there is no kvcached segment ${path}: the engine does not run, or its KVCACHED_IPC_NAME is another`,
      true,
    );
  }
}

function readLocked(path: string, fd: number): SegmentReading {
  const stat = fstatSync(fd, { bigint: true });
  if (!stat.isFile() || stat.size !== BigInt(SEGMENT_BYTES)) {
    throw new DriverError(
      "bad_answer",
      `${path} has ${stat.size} bytes, a kvcached segment ${SEGMENT_BYTES}`,
      true,
    );
  }
  // The engine may have ended, or started again, while we waited for the lock.
  if (inodeAt(path) !== stat.ino) {
    throw new DriverError("unreachable", `the kvcached segment ${path} was replaced or removed`, true);
  }
  const bytes = Buffer.alloc(SEGMENT_BYTES);
  readSync(fd, bytes, 0, SEGMENT_BYTES, 0);
  const [limitBytes, usedBytes, preallocBytes] = [0, 8, 16].map((offset) => int64(bytes, offset)) as [
    number,
    number,
    number,
  ];
  for (const [field, value, least] of [
    ["total", limitBytes, 1],
    ["used", usedBytes, 0],
    ["prealloc", preallocBytes, 0],
  ] as const) {
    if (value < least || value > MAX_SEGMENT_BYTES) {
      const message = `${path}: ${field} must be ${least}..${MAX_SEGMENT_BYTES} bytes, got ${value}`;
      throw new DriverError("bad_answer", message, true);
    }
  }
  return { identity: `${stat.dev}:${stat.ino}:${stat.birthtimeNs}`, limitBytes, usedBytes, preallocBytes };
}

function inodeAt(path: string): bigint | null {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino ?? null;
}

function int64(bytes: Buffer, offset: number): number {
  return Number(endianness() === "LE" ? bytes.readBigInt64LE(offset) : bytes.readBigInt64BE(offset));
}
