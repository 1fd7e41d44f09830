import { Inject, Module, type OnModuleInit } from "@nestjs/common";
import { Metrics } from "../obs/metrics.js";
import { sharedRead } from "../obs/shared-read.js";
import { ReconfigurationsModule } from "../reconfigurations/reconfigurations.module.js";
import { WebhookSender } from "./webhook.sender.js";
import { WebhookService } from "./webhook.service.js";
import { WebhooksController } from "./webhooks.controller.js";

/** A scrape reads three gauges out of one statement. */
const SHARED_MS = 2_000;

@Module({
  imports: [ReconfigurationsModule],
  controllers: [WebhooksController],
  providers: [WebhookService, WebhookSender],
})
export class WebhooksModule implements OnModuleInit {
  constructor(
    @Inject(Metrics) private readonly metrics: Metrics,
    @Inject(WebhookService) private readonly webhooks: WebhookService,
  ) {}

  onModuleInit(): void {
    const counts = sharedRead(() => this.webhooks.counts(), SHARED_MS);
    this.metrics.gauge(
      "fulcrum_webhook_deliveries_pending",
      "Messages that wait for their target.",
      async () => (await counts()).pending,
    );
    this.metrics.gauge(
      "fulcrum_webhook_deliveries_dead",
      "Messages that were given up after their last try.",
      async () => (await counts()).dead,
    );
    this.metrics.gauge(
      "fulcrum_webhook_oldest_pending_seconds",
      "For how long the oldest waiting message has waited.",
      async () => (await counts()).oldestS,
    );
  }
}
