/**
 * NVIDIA's management library through koffi. Every call runs on a thread of its own, one at a time and bounded in time:
 * a driver in trouble can hold a call for ever, and the agent must go on. A missing library is an ordinary answer.
 */
import type { KoffiFunc, LibraryHandle } from "koffi";

/**
 * `missing_koffi`, `missing_library`: NVML cannot be had here. `timeout`: a call did not come back. `failed`: NVML
 * refused; `status` says how (nvml.h, nvmlReturn_t).
 */
export class NvmlError extends Error {
  override readonly name = "NvmlError";
  constructor(
    readonly code: "missing_koffi" | "missing_library" | "timeout" | "failed",
    message: string,
    readonly status: number | null = null,
  ) {
    super(message);
  }
}

export interface NvmlOptions {
  /** Left out: what the driver installs. */
  readonly library?: string | undefined;
  readonly timeoutMs: number;
}

/** An argument: a number, a device or set handle, or a buffer that the library fills. */
export type NvmlArgument = number | bigint | Buffer;

type Koffi = typeof import("koffi");
type NativeFunction = KoffiFunc<(...args: NvmlArgument[]) => number>;

/** Libraries in a call that has not come back: while there is one, a process ends by `process.exit` only. */
const hanging = new Set<NvmlLibrary>();

export function hasHungCall(): boolean {
  return hanging.size > 0;
}

const LIBRARIES = ["libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1"];

export const NVML = {
  ok: 0,
  notSupported: 3,
  noPermission: 4,
  insufficientSize: 7,
  timeout: 10,
  functionNotFound: 13,
} as const;

export class NvmlLibrary {
  /** Node waits at its end for threads that are inside a call, for ever if need be: measured on Node 20. */
  private readonly leave: (exitCode: number) => void;
  private readonly functions = new Map<string, NativeFunction | null>();
  private last: Promise<unknown> = Promise.resolve();
  /** The call that did not come back in time; until it does no other is made. */
  private hung: string | null = null;

  private constructor(
    koffi: Koffi,
    private readonly library: LibraryHandle,
    private readonly timeoutMs: number,
  ) {
    const exitAtOnce = koffi.load(null).func("_exit", "void", ["int"]) as KoffiFunc<(code: number) => void>;
    this.leave = (exitCode) => exitAtOnce(exitCode);
  }

  /** Loads the library and starts it (nvmlInit_v2). @throws NvmlError */
  static async open({ library, timeoutMs }: NvmlOptions): Promise<NvmlLibrary> {
    const koffi = await loadKoffi();
    const native = loadFirst(koffi, library === undefined ? LIBRARIES : [library]);
    const opened = new NvmlLibrary(koffi, native, timeoutMs);
    await opened.must("nvmlInit_v2");
    return opened;
  }

  /** Returns NVML's status; a function that this driver does not have is `functionNotFound`. @throws NvmlError timeout */
  call(name: string, ...args: readonly NvmlArgument[]): Promise<number> {
    const result = this.last.then(() => this.callNow(name, args));
    this.last = result.catch(() => undefined);
    return result;
  }

  /** @throws NvmlError `timeout`, or `failed` unless the status is 0 */
  async must(name: string, ...args: readonly NvmlArgument[]): Promise<void> {
    const status = await this.call(name, ...args);
    if (status !== NVML.ok) throw new NvmlError("failed", `${name} answered ${status}`, status);
  }

  /** Whether the call gave an answer; what a GPU does not support has none. @throws NvmlError timeout */
  async can(name: string, ...args: readonly NvmlArgument[]): Promise<boolean> {
    return (await this.call(name, ...args)) === NVML.ok;
  }

  /** Best effort; a hung library is left alone. */
  async close(): Promise<void> {
    if (this.hung === null) await this.call("nvmlShutdown").catch(() => undefined);
  }

  private callNow(name: string, args: readonly NvmlArgument[]): Promise<number> {
    if (this.hung !== null) {
      return Promise.reject(new NvmlError("timeout", `NVML has not come back from ${this.hung}`));
    }
    const native = this.functionOf(name, args);
    if (native === null) return Promise.resolve(NVML.functionNotFound);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.hung = name;
        hanging.add(this);
        process.on("exit", this.leave);
        reject(new NvmlError("timeout", `${name} did not come back within ${this.timeoutMs} ms`));
      }, this.timeoutMs);
      native.async(...args, (error: Error | null, status: number) => {
        clearTimeout(timer);
        process.off("exit", this.leave);
        this.hung = null;
        hanging.delete(this);
        if (error) reject(error);
        else resolve(status);
      });
    });
  }

  private functionOf(name: string, args: readonly NvmlArgument[]): NativeFunction | null {
    const known = this.functions.get(name);
    if (known !== undefined) return known;
    let native: NativeFunction | null = null;
    try {
      native = this.library.func(name, "int", args.map(typeOf)) as NativeFunction;
    } catch {
      // An older driver does not export it.
    }
    this.functions.set(name, native);
    return native;
  }
}

/** Buffers are given to the library as they are, handles as their address. */
function typeOf(argument: NvmlArgument): string {
  if (typeof argument === "number") return "unsigned int";
  return typeof argument === "bigint" ? "uint64_t" : "void *";
}

async function loadKoffi(): Promise<Koffi> {
  try {
    return await import("koffi");
  } catch (error) {
    throw new NvmlError("missing_koffi", `koffi does not load on this platform: ${(error as Error).message}`);
  }
}

function loadFirst(koffi: Koffi, candidates: readonly string[]): LibraryHandle {
  const reasons: string[] = [];
  for (const path of candidates) {
    try {
      return koffi.load(path);
    } catch (error) {
      reasons.push(`${path}: ${(error as Error).message}`);
    }
  }
  throw new NvmlError("missing_library", reasons[0] ?? "no NVML library");
}
