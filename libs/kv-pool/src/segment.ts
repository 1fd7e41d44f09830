import { closeSync, fstatSync, openSync } from "node:fs";
import { SegmentError } from "./errors.js";
import {
  lastErrorName,
  MAP_ANONYMOUS,
  MAP_FAILED,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  memoryView,
  mmap,
  munmap,
  PROT_READ_WRITE,
} from "./libc.js";

/** Far above anything mapped here. koffi's view of 2 GiB throws a bare RangeError, of 5 GiB it ends the process. */
const MAX_MAP_BYTES = 2 ** 30;

/** A file mapped MAP_SHARED: what any process writes in `buffer`, all see at once. */
export interface Segment {
  readonly path: string;
  /** For flock; open until `close` or `unmap`. */
  readonly fd: number;
  /**
   * An ArrayBuffer over the mapping, no SharedArrayBuffer: Atomics work on it, Atomics.wait throws. Whoever truncates
   * the file kills (SIGBUS) every process that touches what is gone.
   */
  readonly buffer: ArrayBuffer;
  /** Closes the descriptor and keeps the mapping. */
  close(): void;
  /**
   * Closes the descriptor and lets the file go: `buffer` is zeros of this process's own from here on. Node has no way to
   * take such a buffer away from who still holds it, and a touch of unmapped memory would end the process; so the
   * addresses stay taken, without memory behind them, until the buffer itself is collected.
   */
  unmap(): void;
}

const collected = new FinalizationRegistry<{ address: bigint; bytes: number }>(({ address, bytes }) => {
  munmap(address, bytes);
});

/** Maps a whole file for reading and writing. @throws SegmentError not_found, wrong_size (empty, above 1 GiB), io. */
export function mapSegment(path: string): Segment {
  return mapChecked(path, () => undefined).segment;
}

/**
 * Maps a file that is what it should be.
 * @param check looks at the open file and its size before anything is mapped; what it throws is thrown.
 * @throws SegmentError as mapSegment.
 */
export function mapChecked<T>(
  path: string,
  check: (fd: number, bytes: number) => T,
): { segment: Segment; checked: T } {
  const fd = openFile(path);
  try {
    const { size } = fstatSync(fd);
    if (size === 0) throw new SegmentError("wrong_size", `${path}: the file is empty`);
    const checked = check(fd, size);
    if (size > MAX_MAP_BYTES)
      throw new SegmentError("wrong_size", `${path}: ${size} bytes; at most ${MAX_MAP_BYTES} are mapped`);
    return { segment: map(path, fd, size), checked };
  } catch (error) {
    closeSync(fd);
    throw error instanceof SegmentError ? error : unreadable(path, error);
  }
}

function map(path: string, fd: number, bytes: number): Segment {
  const address = mmap(null, bytes, PROT_READ_WRITE, MAP_SHARED, fd, 0);
  if (address === null || address === MAP_FAILED)
    throw new SegmentError("io", `${path}: mmap of ${bytes} bytes failed: ${lastErrorName()}`);
  const buffer = memoryView(address, bytes);
  let open = true;
  let mapped = true;
  const close = () => {
    if (open) closeSync(fd);
    open = false;
  };
  const unmap = () => {
    close();
    if (!mapped) return;
    mapped = false;
    // In one step in place of the file: no other thread's mapping can come in between.
    const over = mmap(address, bytes, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    // Refused (no memory at all): the file stays mapped, as it was.
    if (over === address) collected.register(buffer, { address, bytes });
  };
  return { path, fd, buffer, close, unmap };
}

function openFile(path: string): number {
  try {
    return openSync(path, "r+");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new SegmentError("not_found", `${path}: there is no such file`);
    throw new SegmentError("io", `${path}: cannot be opened for reading and writing: ${code ?? "?"}`);
  }
}

function unreadable(path: string, error: unknown): SegmentError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new SegmentError("io", `${path}: cannot be read: ${code ?? message}`);
}
