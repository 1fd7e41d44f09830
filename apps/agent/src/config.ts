import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import { MAX_INSTANCES_PER_REPORT, MAX_LONG_POLL_MS, MAX_RANKS } from "@fulcrum/contracts/agent-api.js";
import { name } from "@fulcrum/contracts/primitives.js";
import { ENGINES } from "@fulcrum/core/signal/bucket-advice.js";
import { parse } from "yaml";
import { z } from "zod";
import { durationMs, httpUrl } from "./config-fields.js";
import { admissionCapDriver } from "./driver/admission-cap/admission-cap-config.js";
import { kvcachedDriver } from "./driver/kvcached/kvcached-config.js";
import { semiPdStaticDriver } from "./driver/semi-pd-static/semi-pd-config.js";
import { sglangPdmuxDriver } from "./driver/sglang-pdmux/pdmux-config.js";
import { mpsRespawnDriver, rocmCuMaskDriver } from "./driver/respawn-config.js";
import { socketPathOf } from "./workers/worker-registry.js";
import { gpuRefs, gpuWatch } from "./gpu/gpu-config.js";

/** sun_path holds 108 bytes with its final zero. */
const MAX_SOCKET_PATH_BYTES = 107;

/** Enough for one endpoint per data-parallel rank of a node; every page may take MAX_BODY_BYTES. */
const MAX_READER_URLS = 8;

/** docs/engine-metrics.md */
const engineReader = z
  .strictObject({
    type: z.enum(ENGINES),
    url: httpUrl.optional(),
    urls: z.array(httpUrl).min(1).max(MAX_READER_URLS).optional(),
    model: z.string().min(1).max(300).optional(),
    timeoutMs: durationMs(10, 60_000, 2_000),
  })
  .refine(({ url, urls }) => (url === undefined) !== (urls === undefined), {
    path: ["url"],
    error: "needs url, or urls where the engine has several metrics pages, and not both",
  })
  .refine(({ urls }) => new Set(urls).size === (urls?.length ?? 0), {
    path: ["urls"],
    error: "must not name a URL twice: its requests would count twice",
  });

const engineSimDriver = z.strictObject({
  type: z.literal("engine-sim"),
  socket: z.string().min(1),
  timeoutMs: durationMs(10, 60_000, 2_000),
});

const instanceConfig = z
  .strictObject({
    instance: name,
    pool: name,
    ranks: z
      .array(
        z
          .int()
          .min(0)
          .max(MAX_RANKS - 1),
      )
      .min(1)
      .max(MAX_RANKS),
    rankCount: z.int().min(1).max(MAX_RANKS),
    gpus: gpuRefs,
    reader: engineReader,
    driver: z.discriminatedUnion("type", [
      engineSimDriver,
      mpsRespawnDriver,
      rocmCuMaskDriver,
      kvcachedDriver,
      admissionCapDriver,
      semiPdStaticDriver,
      sglangPdmuxDriver,
    ]),
  })
  .refine(({ ranks }) => new Set(ranks).size === ranks.length, {
    path: ["ranks"],
    error: "must not repeat a rank",
  })
  .refine(({ ranks, rankCount }) => ranks.every((rank) => rank < rankCount), {
    path: ["ranks"],
    error: "must be below rankCount",
  });

/** docs/security.md */
const controllerTls = z
  .strictObject({
    caFile: z.string().min(1).optional(),
    certFile: z.string().min(1).optional(),
    keyFile: z.string().min(1).optional(),
  })
  .refine(({ certFile, keyFile }) => (certFile === undefined) === (keyFile === undefined), {
    path: ["keyFile"],
    error: "goes with certFile: give both or neither",
  });

const controllerConfig = z
  .strictObject({
    url: httpUrl,
    keyFile: z.string().min(1).optional(),
    tls: controllerTls.optional(),
    requestTimeoutMs: durationMs(50, 60_000, 5_000),
    longPollMs: durationMs(0, MAX_LONG_POLL_MS, 25_000),
    /** Between two tries to register an instance that the controller rejected. */
    reregisterMs: durationMs(50, 600_000, 10_000),
    /** Longest wait between two tries while the controller is away. */
    maxBackoffMs: durationMs(50, 600_000, 15_000),
  })
  .refine(({ url, tls }) => tls === undefined || url.startsWith("https:"), {
    path: ["url"],
    error: "must be https:// where tls is given",
  });

const agentConfig = z
  .strictObject({
    agent: name,
    node: z.string().min(1).max(253).default(hostname),
    controller: controllerConfig,
    stateDir: z.string().min(1),
    windowMs: durationMs(50, 60_000, 1_000),
    /** Between two looks at an engine that is preparing or switching. */
    pollMs: durationMs(5, 10_000, 100),
    deadlines: z
      .strictObject({
        prepareMs: durationMs(10, 3_600_000, 120_000),
        switchMs: durationMs(10, 3_600_000, 30_000),
        verifyMs: durationMs(10, 3_600_000, 10_000),
      })
      .prefault({}),
    /** Requests run and no token comes for so long: a deadlock. */
    noProgressMs: durationMs(1_000, 3_600_000, 30_000),
    gpuWatch,
    statusPort: z.int().min(0).max(65_535).nullable().default(null),
    instances: z.array(instanceConfig).min(1).max(MAX_INSTANCES_PER_REPORT),
  })
  .refine(({ instances }) => new Set(instances.map(({ instance }) => instance)).size === instances.length, {
    path: ["instances"],
    error: "must not name an instance twice",
  });

export type AgentConfig = z.infer<typeof agentConfig>;
export type InstanceConfig = AgentConfig["instances"][number];

export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/**
 * Reads and checks the file; relative paths in it are relative to its folder.
 * @throws ConfigError naming every bad field and its bound
 */
export function loadConfig(path: string): AgentConfig {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new ConfigError(`cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  return parseConfig(text, path);
}

/** @throws ConfigError */
export function parseConfig(text: string, path: string): AgentConfig {
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    throw new ConfigError(`${path} is not YAML: ${(error as Error).message}`, { cause: error });
  }
  const parsed = agentConfig.safeParse(raw);
  if (!parsed.success) {
    const issues = parsed.error.issues.map(
      (issue) => `${issue.path.join(".") || "the file"}: ${issue.message}`,
    );
    throw new ConfigError(`${path} is not valid:\n  ${issues.join("\n  ")}`);
  }
  return withAbsolutePaths(parsed.data, path);
}

function withAbsolutePaths(config: AgentConfig, path: string): AgentConfig {
  const folder = dirname(resolve(path));
  const { keyFile, tls } = config.controller;
  const beside = (file: string | undefined) => file && resolve(folder, file);
  return {
    ...config,
    stateDir: resolve(folder, config.stateDir),
    controller: {
      ...config.controller,
      keyFile: beside(keyFile),
      tls: tls && {
        caFile: beside(tls.caFile),
        certFile: beside(tls.certFile),
        keyFile: beside(tls.keyFile),
      },
    },
    instances: config.instances.map((instance, index) => {
      const { driver, ranks } = instance;
      if (driver.type === "engine-sim") {
        const socket = resolve(folder, driver.socket);
        refuseLongSocket(socket, `${path} is not valid:\n  instances.${index}.driver.socket`);
        return { ...instance, driver: { ...driver, socket } };
      }
      if (driver.type === "mps-respawn" || driver.type === "rocm-cu-mask") {
        const workersDir = driver.workersDir ?? resolve(folder, config.stateDir, "workers");
        const longest = socketPathOf(workersDir, instance.instance, Math.max(...ranks));
        refuseLongSocket(
          longest,
          `${path} is not valid:\n  instances.${index}.driver.workersDir (or stateDir)`,
        );
        return { ...instance, driver: { ...driver, workersDir } };
      }
      return instance;
    }),
  };
}

function refuseLongSocket(socket: string, where: string): void {
  const bytes = Buffer.byteLength(socket);
  if (bytes <= MAX_SOCKET_PATH_BYTES) return;
  throw new ConfigError(
    `${where}: a socket must be at most ${MAX_SOCKET_PATH_BYTES} bytes with its folder, got ${bytes}`,
  );
}

/**
 * The API key: FULCRUM_AGENT_KEY, else the key file, read at every call so that a key can be replaced in place.
 * @throws ConfigError
 */
export function readKey(keyFile: string | undefined, fromEnvironment: string | undefined): string {
  const key = fromEnvironment?.trim() || (keyFile ? readKeyFile(keyFile) : "");
  if (key === "") throw new ConfigError("no API key: set controller.keyFile or FULCRUM_AGENT_KEY");
  if (!/^[\x21-\x7e]{1,500}$/.test(key)) {
    throw new ConfigError("the API key must be 1..500 printable ASCII characters without spaces");
  }
  return key;
}

function readKeyFile(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new ConfigError(`controller.keyFile: ${(error as Error).message}`, { cause: error });
  }
}
