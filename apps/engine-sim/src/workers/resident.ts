/** `engine-sim resident`: one rank's requests, batch state and KV block pool, which outlive its workers. */
import { createWriteStream, existsSync, rmSync } from "node:fs";
import type { Phase } from "@fulcrum/core/nouns.js";
import { KvPool } from "@fulcrum/kv-pool/pool.js";
import type { InstanceState } from "@fulcrum/simulator/instance.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import { deliveredSmPct, type Profile } from "@fulcrum/simulator/profile.js";
import { pino } from "pino";
import { removeStaleSocket } from "../control-server.js";
import { listenHttp } from "../http-server.js";
import { loadProfile, openArrivals } from "../input-files.js";
import { EngineMetrics } from "../metrics.js";
import { coreWaitedMs } from "./core-wait.js";
import { EngineState } from "./engine-state.js";
import { GapMeter } from "./gap-meter.js";
import { ResidentMetrics } from "./resident-metrics.js";
import type { ResidentOptions } from "./resident-options.js";
import type { Measure } from "./resident-protocol.js";
import { ResidentServer } from "./resident-server.js";
import { TokenLog } from "./token-log.js";

/** Longest sleep until the next arrival: setTimeout takes no more than 2^31 - 1 ms. */
const MAX_SLEEP_MS = 3_600_000;
const LOOK_MS = 1_000;

export async function runResident(options: ResidentOptions): Promise<void> {
  const log = pino({ name: options.name }, pino.destination({ dest: 2, sync: true }));
  const profile = loadProfile(options.profile);
  const { requests, about } = openArrivals(options);
  const tokens = new TokenLog(options.tokenLog === null ? null : createWriteStream(options.tokenLog));
  const pool = await createPool(options, profile);
  const startedAt = performance.now();
  const nowMs = (): number => (performance.now() - startedAt) * options.speed;
  const meter = new GapMeter();
  const coreWaitMs = (): number | null => {
    const waitedMs = coreWaitedMs();
    return waitedMs === null ? null : waitedMs * options.speed;
  };
  const state = new EngineState({ profile, pool, tokens, meter, nowMs, coreWaitMs });
  const load = new Load(requests, nowMs, options.speed, (request) => {
    state.arrive(request);
    server.wake();
  });
  const measure = (anew: boolean): Measure => {
    const gaps = meter.read(nowMs());
    if (anew) meter.begin(nowMs());
    return {
      ok: true,
      ...gaps,
      ...state.counts,
      inside: state.inside,
      repeatedTokens: tokens.repeated,
      lostTokens: tokens.lost,
      refusedResults: server.refusedResults,
    };
  };
  const metrics = new EngineMetrics(profile, options.fineBuckets);
  const own = new ResidentMetrics();
  const http = await listenHttp(options.host, options.port, {
    contentType: metrics.contentType,
    render: async () => {
      metrics.record(state.takeEvents());
      const { repeated: repeatedTokens, lost: lostTokens } = tokens;
      const page = await metrics.expose(gauges({ state, pool, profile, server, nowMs: nowMs() }));
      const more = await own.render({
        repeatedTokens,
        lostTokens,
        refusedResults: server.refusedResults,
        largestGapMs: meter.largestGapEverMs,
        iterations: ofBoth((phase) => state.progress(phase).iteration),
        turns: ofBoth((phase) => pool.turn(phase)),
      });
      return page + more;
    },
  });
  const server = await ResidentServer.listen({
    path: options.socket,
    state,
    pool,
    about: { pool: options.pool, profile: options.profile, speed: options.speed },
    measure,
    stopLoad: () => load.stop(),
    log,
  });
  load.next();
  const end = (why: string): void => {
    log.info({ why, engineTimeMs: Math.round(nowMs()) }, "stopping");
    clearInterval(looking);
    load.stop();
    server.close();
    http.server.close();
    rmSync(options.pool, { force: true });
    setImmediate(() => process.exit(0));
  };
  const looking = setInterval(() => {
    // Events are kept as counts: without a scrape they would be kept one by one.
    metrics.record(state.takeEvents());
    if (!existsSync(options.socket)) end("its socket is gone: nobody can reach it any more");
  }, LOOK_MS);
  endOnSignals(options, end);
  log.info({ ...about, profile: profile.name, seed: options.seed, speed: options.speed }, "ready");
  const { name, socket } = options;
  process.stdout.write(
    `${JSON.stringify({ event: "ready", port: http.port, socket, pool: options.pool, name })}\n`,
  );
}

/** A segment that a killed resident left behind belongs to no one: its requests are gone. */
async function createPool(options: ResidentOptions, profile: Profile): Promise<KvPool> {
  await removeStaleSocket(options.socket);
  rmSync(options.pool, { force: true });
  const blocks = profile.kvTotalTokens / profile.kvBlockTokens;
  return KvPool.create(options.pool, {
    blocks,
    tokensPerBlock: profile.kvBlockTokens,
    bytesPerBlock: 0,
    prefillQuotaBlocks: Math.floor((options.prefillQuotaPct / 100) * blocks),
  });
}

/** Lets requests arrive when it is their time. */
class Load {
  private timer: NodeJS.Timeout | null = null;
  private pending: SimRequest | null = null;
  private stopped = false;

  constructor(
    private readonly requests: Iterator<SimRequest>,
    private readonly nowMs: () => number,
    private readonly speed: number,
    private readonly arrive: (request: SimRequest) => void,
  ) {}

  next(): void {
    for (;;) {
      if (this.stopped) return;
      if (this.pending === null) {
        const step = this.requests.next();
        if (step.done === true) return;
        this.pending = step.value;
      }
      const waitMs = (this.pending.arrivalMs - this.nowMs()) / this.speed;
      if (waitMs > 0) {
        this.timer = setTimeout(() => this.next(), Math.min(waitMs, MAX_SLEEP_MS));
        return;
      }
      const request = this.pending;
      this.pending = null;
      this.arrive(request);
    }
  }

  stop(): void {
    this.stopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
  }
}

function gauges(now: {
  readonly state: EngineState;
  readonly pool: KvPool;
  readonly profile: Profile;
  readonly server: ResidentServer;
  readonly nowMs: number;
}): InstanceState {
  const { state, pool, profile, server, nowMs } = now;
  const usage = pool.usage();
  const { prefill, decode } = server.holders;
  const kvQuotaPct = (100 * usage.prefill.quotaBlocks) / usage.blocks;
  const split = { prefillSmPct: prefill?.smPct ?? 0, decodeSmPct: decode?.smPct ?? 0 };
  const delivered = {
    prefillSmPct: prefill === null ? 0 : deliveredSmPct(profile, prefill.smPct),
    decodeSmPct: decode === null ? 0 : deliveredSmPct(profile, decode.smPct),
  };
  const tokensOf = (blocks: number): number => blocks * profile.kvBlockTokens;
  const { head } = state.prefill;
  const heldByPrefill = state.decode.prefilled.length + (state.prefill.chunked === null ? 0 : 1);
  return {
    nowMs,
    generation: Math.min(prefill?.generation ?? 0, decode?.generation ?? 0),
    phase: "steady",
    asked: { split, kvQuotaPct },
    delivered: { split: delivered, kvQuotaPct },
    prepared: null,
    armed: null,
    turns: ofBoth((phase) => state.progress(phase).iteration),
    switchedAt: null,
    prefillWaiting: state.prefill.waiting,
    prefillRunning: state.prefill.running,
    decodeWaiting: state.decode.waitingCount,
    decodeRunning: state.decode.runningCount,
    preemptedWaiting: [...state.prefill.all()].filter(({ job }) => job.firstTokenAtMs !== null).length,
    kvTotalTokens: tokensOf(usage.blocks),
    kvOwedTokens: 0,
    kvUsedTokens: tokensOf(usage.prefill.usedBlocks + usage.decode.usedBlocks),
    kvPrefillTokens: tokensOf(usage.prefill.usedBlocks),
    kvPrefillRequests: heldByPrefill,
    prefillWaitingTokens: state.prefill.waitingTokens(),
    oldestWaitMs: head === undefined ? 0 : nowMs - head.job.request.arrivalMs,
    work: state.readWork(),
  };
}

function ofBoth<T>(of: (phase: Phase) => T): Readonly<Record<Phase, T>> {
  return { prefill: of("prefill"), decode: of("decode") };
}

function endOnSignals({ exitWithParent }: ResidentOptions, end: (why: string) => void): void {
  let ending = false;
  const once = (why: string) => () => {
    if (!ending) end(why);
    ending = true;
  };
  process.once("SIGTERM", once("SIGTERM"));
  process.once("SIGINT", once("SIGINT"));
  if (!exitWithParent) return;
  process.stdin.once("end", once("standard input ended"));
  process.stdin.once("error", once("standard input failed"));
  process.stdin.resume();
}
