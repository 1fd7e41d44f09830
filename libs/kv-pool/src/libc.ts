import koffi from "koffi";

/**
 * The calls of the C library that Node lacks. `koffi.load(null)` looks names up in the running program: Node
 * is linked to the C library, so no file name (libc.so.6, ld-musl, libSystem.B.dylib) has to be guessed.
 */
const program = koffi.load(null);

// off_t is 64 bit on every 64-bit Linux and on macOS.
export const mmap = program.func(
  "void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)",
) as (
  address: bigint | null,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => bigint | null;

export const munmap = program.func("int munmap(void *address, size_t length)") as (
  address: bigint,
  length: number,
) => number;

export const flock = program.func("int flock(int fd, int operation)") as (
  fd: number,
  operation: number,
) => number;

// The same numbers on Linux and macOS.
export const PROT_READ_WRITE = 1 | 2;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MAP_FIXED = 0x10;
/** The one number of these that differs. */
export const MAP_ANONYMOUS = process.platform === "darwin" ? 0x1000 : 0x20;
export const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;

/** The name of the last call's errno, "EBADF" for instance, or its number where koffi has no name for it. */
export function lastErrorName(): string {
  const number = koffi.errno();
  const named = Object.entries(koffi.os.errno).find(([, value]) => value === number);
  return named?.[0] ?? `errno ${number}`;
}

export function memoryView(address: bigint, bytes: number): ArrayBuffer {
  return koffi.view(address, bytes);
}
