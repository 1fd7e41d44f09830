import { setMaxListeners } from "node:events";
import type { Logger } from "pino";
import { AgentMetrics } from "./agent-metrics.js";
import { type Clock, systemClock } from "./clock.js";
import { type AgentConfig, readKey } from "./config.js";
import { ControllerClient } from "./controller-client.js";
import { ControllerLink } from "./controller-link.js";
import { ControllerSession } from "./controller-session.js";
import { createDriver } from "./driver/create-driver.js";
import { NodeHealth } from "./health/node-health.js";
import { InstanceLoop } from "./instance-loop.js";
import { Journal } from "./journal.js";
import { createReader } from "./reader/create-reader.js";
import { tlsFetch } from "./tls-fetch.js";

export const AGENT_VERSION = "0.1.0";

/** A report waits this long for slow scrapes; what comes later goes with the next one. */
const MAX_SCRAPE_WAIT_MS = 250;
/** The first one waits longer, so that an agent does not register before it has heard its engines. */
const MAX_FIRST_WAIT_MS = 2_000;

/** Everything that runs on one node: a loop per instance, and one session with the controller. */
export class Agent {
  readonly metrics: AgentMetrics;
  private readonly stopping = new AbortController();
  private running: Promise<unknown> | null = null;

  private constructor(
    private readonly config: AgentConfig,
    private readonly instances: readonly InstanceLoop[],
    private readonly session: ControllerSession,
    private readonly link: ControllerLink,
    private readonly health: NodeHealth,
    private readonly clock: Clock,
    private readonly log: Logger,
    metrics: AgentMetrics,
  ) {
    this.metrics = metrics;
    // One listener per instance and wait hangs on this signal.
    setMaxListeners(0, this.stopping.signal);
  }

  static async create(config: AgentConfig, log: Logger, clock: Clock = systemClock): Promise<Agent> {
    const metrics = new AgentMetrics();
    const { url, keyFile, tls, requestTimeoutMs, maxBackoffMs, reregisterMs, longPollMs } = config.controller;
    const link = new ControllerLink(clock, log, maxBackoffMs);
    const key = (): string => readKey(keyFile, process.env["FULCRUM_AGENT_KEY"]);
    const client = new ControllerClient({ url, requestTimeoutMs, key, fetch: tlsFetch(tls) });
    const health = await NodeHealth.create(config, clock, log);
    const instances: InstanceLoop[] = [];
    const session = new ControllerSession({
      agent: config.agent,
      node: config.node,
      agentVersion: AGENT_VERSION,
      reregisterMs,
      longPollMs,
      instances,
      client,
      link,
      clock,
      log,
      metrics,
    });
    for (const instance of config.instances) {
      const instanceLog = log.child({ instance: instance.instance });
      const journal = await Journal.open(config.stateDir, instance.instance, instanceLog);
      instances.push(
        new InstanceLoop({
          config: instance,
          reader: createReader(instance, clock),
          driver: health.inTurn(
            instance,
            createDriver(instance, { stateDir: config.stateDir, clock, log: instanceLog }),
          ),
          journal,
          clock,
          log: instanceLog,
          metrics,
          deadlines: config.deadlines,
          pollMs: config.pollMs,
          windowMs: config.windowMs,
          noProgressMs: config.noProgressMs,
          nodeConditions: () => health.conditionsOf(instance.instance),
          emit: (acks) => session.emit(acks),
        }),
      );
    }
    return new Agent(config, instances, session, link, health, clock, log, metrics);
  }

  start(): void {
    const { signal } = this.stopping;
    this.running = Promise.all([
      ...this.instances.map((instance) => instance.run(signal)),
      this.session.poll(signal),
      this.health.run(signal),
      this.tick(signal),
    ]);
  }

  /** Finishes what is under way and leaves the engines as they are. Bounded by the request timeouts. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
    await this.session.finish();
    await Promise.all(this.instances.map((instance) => instance.close()));
  }

  status(): Record<string, unknown> {
    const { awaySinceMs, refusal } = this.link;
    return {
      agent: this.config.agent,
      version: AGENT_VERSION,
      controller: {
        url: this.config.controller.url,
        unreachableSince: awaySinceMs === null ? null : new Date(awaySinceMs).toISOString(),
        refusal,
        registered: this.session.registeredInstances,
        pendingAcks: this.session.pendingAcks,
      },
      conditions: [
        ...(awaySinceMs === null ? [] : ["ControllerUnreachable"]),
        ...(refusal === null ? [] : ["ControllerRefuses"]),
      ],
      instances: this.instances.map((instance) => instance.status()),
    };
  }

  renderMetrics(): string {
    this.metrics.set("controller_reachable", {}, this.link.awaySinceMs === null ? 1 : 0);
    for (const instance of this.instances) {
      this.metrics.set("buffered_windows", { instance: instance.name }, instance.buffered);
    }
    return this.metrics.render();
  }

  /** Measures every instance once per window and reports. A slow engine delays nobody else's report. */
  private async tick(signal: AbortSignal): Promise<void> {
    const { clock, config, log } = this;
    const { windowMs } = config;
    let dueAtMs = clock.monotonicMs();
    let waitMs = MAX_FIRST_WAIT_MS;
    while (!signal.aborted) {
      const measured = Promise.all(
        this.instances.map((instance) =>
          instance.measure(signal).catch((error: unknown) => {
            log.error({ event: "measure_bug", instance: instance.name, error: String(error) });
          }),
        ),
      );
      await Promise.race([measured, clock.sleep(waitMs, signal)]);
      waitMs = Math.min(windowMs / 2, MAX_SCRAPE_WAIT_MS);
      if (!signal.aborted) void this.session.exchange();
      // Ticks that were missed are not made up for: the next window is longer instead.
      const now = clock.monotonicMs();
      dueAtMs += windowMs * Math.max(1, Math.ceil((now - dueAtMs) / windowMs));
      await clock.sleep(dueAtMs - now, signal);
    }
  }
}
