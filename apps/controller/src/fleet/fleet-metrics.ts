import { Inject, Injectable, type OnModuleInit } from "@nestjs/common";
import { DataSource } from "typeorm";
import { Metrics } from "../obs/metrics.js";
import { SILENT_AFTER_MS } from "./fleet.read.js";

/** What is wrong in the fleet, as numbers. Read from Postgres: every replica tells the same. */
@Injectable()
export class FleetMetrics implements OnModuleInit {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Metrics) private readonly metrics: Metrics,
  ) {}

  onModuleInit(): void {
    this.metrics.gauge("fulcrum_agents", "Agents that were ever registered.", () =>
      this.count("SELECT count(*)::int AS count FROM agents"),
    );
    this.metrics.gauge(
      "fulcrum_agents_silent",
      "Agents that look after an instance and are not heard of.",
      () =>
        this.count(
          `SELECT count(*)::int AS count FROM agents a
         WHERE a.last_seen_at < now() - interval '${SILENT_AFTER_MS} ms'
           AND EXISTS (SELECT 1 FROM instance_ranks r WHERE r.agent_id = a.id)`,
        ),
    );
    this.metrics.series(
      "gauge",
      "fulcrum_instances_degraded",
      "Instances that hold still until a person has looked.",
      ["pool"],
      () => this.byPool("i.degraded"),
    );
    this.metrics.series(
      "gauge",
      "fulcrum_instances_stale",
      "Instances without a new window for longer than guards.staleAfterMs.",
      ["pool"],
      () => this.byPool("s.last_end_at < now() - (p.guards ->> 'staleAfterMs')::float8 * interval '1 ms'"),
    );
  }

  private async count(sql: string): Promise<number> {
    const [row] = await this.source.query<{ count: number }[]>(sql);
    return row?.count ?? 0;
  }

  private async byPool(condition: string) {
    const rows = await this.source.query<{ pool: string; count: number }[]>(
      `SELECT p.name AS pool, count(*) FILTER (WHERE ${condition})::int AS count
       FROM instances i JOIN pools p ON p.id = i.pool_id JOIN instance_signals s ON s.instance_id = i.id
       WHERE i.deleted_at IS NULL GROUP BY 1`,
    );
    return rows.map(({ pool, count }) => ({ labels: { pool }, value: count }));
  }
}
