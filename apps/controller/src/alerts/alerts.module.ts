import { Inject, Module, type OnModuleInit } from "@nestjs/common";
import { spanWords } from "@fulcrum/core/budget/burn.js";
import { BudgetRead } from "../budgets/budget.read.js";
import { BudgetsModule } from "../budgets/budgets.module.js";
import { Metrics } from "../obs/metrics.js";
import { sharedRead } from "../obs/shared-read.js";
import { ReconfigurationsModule } from "../reconfigurations/reconfigurations.module.js";
import { AlertService } from "./alert.service.js";
import { AlertsController } from "./alerts.controller.js";

/** A scrape reads several gauges out of one statement. */
const SHARED_MS = 2_000;
/** Weeks of buckets are added up for what changes slowly. */
const REMAINING_MS = 60_000;

@Module({
  imports: [BudgetsModule, ReconfigurationsModule],
  controllers: [AlertsController],
  providers: [AlertService],
})
export class AlertsModule implements OnModuleInit {
  constructor(
    @Inject(Metrics) private readonly metrics: Metrics,
    @Inject(BudgetRead) private readonly budgets: BudgetRead,
    @Inject(AlertService) private readonly alerts: AlertService,
  ) {}

  /** All of them are read from Postgres, so that every replica tells the same: take max, not sum, over replicas. */
  onModuleInit(): void {
    const burning = sharedRead(() => this.budgets.burning(Date.now()), SHARED_MS);
    const totals = sharedRead(() => this.budgets.totals(), SHARED_MS);
    const remaining = sharedRead(() => this.budgets.remaining(), REMAINING_MS);
    this.metrics.series(
      "counter",
      "fulcrum_slo_requests_total",
      "Requests that finished.",
      ["pool"],
      async () => (await totals()).map(({ pool, requests }) => ({ labels: { pool }, value: requests })),
    );
    this.metrics.series(
      "counter",
      "fulcrum_slo_requests_within_total",
      "Requests within both bounds of the SLO of their time.",
      ["pool"],
      async () => (await totals()).map(({ pool, within }) => ({ labels: { pool }, value: within })),
    );
    this.metrics.series(
      "gauge",
      "fulcrum_slo_target_share",
      "The share that is promised.",
      ["pool"],
      async () =>
        (await burning()).map(({ name, target }) => ({
          labels: { pool: name },
          value: target,
        })),
    );
    this.metrics.series(
      "gauge",
      "fulcrum_slo_budget_remaining_share",
      "Share of the error budget that is left; negative: overspent.",
      ["pool"],
      async () =>
        (await remaining()).map(({ pool, remainingShare }) => ({
          labels: { pool },
          value: remainingShare,
        })),
    );
    this.metrics.series(
      "gauge",
      "fulcrum_slo_burn_rate",
      "How many times too fast the error budget is spent, over a window.",
      ["pool", "window"],
      async () => burnRates(await burning()),
    );
    this.metrics.series(
      "gauge",
      "fulcrum_slo_burn_threshold",
      "The burn rate at which an alert fires, in both of its windows.",
      ["pool", "alert"],
      async () =>
        (await burning()).flatMap(({ name: pool, burn }) =>
          burn.map(({ name: alert, threshold }) => ({ labels: { pool, alert }, value: threshold })),
        ),
    );
    this.metrics.series(
      "gauge",
      "fulcrum_alerts_firing",
      "1 for each alert that fires.",
      ["pool", "alert", "severity"],
      async () =>
        (await this.alerts.firing()).map(({ pool, name: alert, severity }) => ({
          labels: { pool, alert, severity },
          value: 1,
        })),
    );
  }
}

function burnRates(pools: Awaited<ReturnType<BudgetRead["burning"]>>) {
  return pools.flatMap(({ name: pool, burn }) => {
    // 6 h is the long window of one pair and the short one of another.
    const rates = new Map(
      burn.flatMap(({ longMs, longRate, shortMs, shortRate }) => [
        [longMs, longRate] as const,
        [shortMs, shortRate] as const,
      ]),
    );
    return [...rates]
      .filter((entry): entry is [number, number] => entry[1] !== null)
      .map(([ms, value]) => ({
        labels: { pool, window: spanWords(ms).replace(" min", "m").replace(" ", "") },
        value,
      }));
  });
}
