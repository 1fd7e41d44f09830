import { closeSync, fstatSync, openSync } from "node:fs";
import { SegmentError } from "./errors.js";
import { lastErrorName, MAP_FAILED, MAP_SHARED, memoryView, mmap, PROT_READ_WRITE } from "./libc.js";

/** A file mapped MAP_SHARED: what any process writes in `buffer`, all see at once. */
export interface Segment {
  readonly path: string;
  /** For flock; open until `close`. */
  readonly fd: number;
  /**
   * An ArrayBuffer over the mapping, no SharedArrayBuffer: Atomics work on it, Atomics.wait throws. Whoever truncates
   * the file kills (SIGBUS) every process that touches what is gone.
   */
  readonly buffer: ArrayBuffer;
  /**
   * Closes the descriptor. The mapping stays until the process ends: V8 cannot detach foreign memory, and a view onto
   * unmapped memory would end the process at its next use.
   */
  close(): void;
}

/**
 * Maps a whole file for reading and writing.
 * @throws SegmentError not_found, wrong_size (empty), io.
 */
export function mapSegment(path: string): Segment {
  const fd = openFile(path);
  try {
    const { size } = fstatSync(fd);
    if (size === 0) throw new SegmentError("wrong_size", `${path}: the file is empty`);
    const address = mmap(null, size, PROT_READ_WRITE, MAP_SHARED, fd, 0);
    if (address === null || address === MAP_FAILED)
      throw new SegmentError("io", `${path}: mmap of ${size} bytes failed: ${lastErrorName()}`);
    let open = true;
    return {
      path,
      fd,
      buffer: memoryView(address, size),
      close: () => {
        if (open) closeSync(fd);
        open = false;
      },
    };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
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
