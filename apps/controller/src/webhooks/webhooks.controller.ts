import { routes } from "@fulcrum/contracts/routes.js";
import type { WebhookInput } from "@fulcrum/contracts/webhooks.js";
import { Body, Controller, Inject, Param, Query } from "@nestjs/common";
import type { z } from "zod";
import { type Caller, FromCaller } from "../access/caller.js";
import { Handles } from "../http/handles.js";
import { WebhookService } from "./webhook.service.js";

type ById = { id: string };

@Controller()
export class WebhooksController {
  constructor(@Inject(WebhookService) private readonly webhooks: WebhookService) {}

  @Handles(routes.listWebhooks)
  async list() {
    return { items: await this.webhooks.list() };
  }

  @Handles(routes.createWebhook)
  async create(
    @Body({ schema: routes.createWebhook.body }) body: WebhookInput,
    @FromCaller() caller: Caller,
  ) {
    return this.webhooks.create(body, caller.actor);
  }

  @Handles(routes.deleteWebhook)
  async remove(@Param({ schema: routes.deleteWebhook.params }) params: ById, @FromCaller() caller: Caller) {
    await this.webhooks.remove(params.id, caller.actor);
  }

  @Handles(routes.testWebhook)
  async test(@Param({ schema: routes.testWebhook.params }) params: ById, @FromCaller() caller: Caller) {
    return this.webhooks.test(params.id, caller.actor);
  }

  @Handles(routes.listDeliveries)
  async deliveries(
    @Query({ schema: routes.listDeliveries.query }) query: z.infer<typeof routes.listDeliveries.query>,
  ) {
    return this.webhooks.deliveries(query);
  }

  @Handles(routes.retryDelivery)
  async retry(@Param({ schema: routes.retryDelivery.params }) params: ById, @FromCaller() caller: Caller) {
    return this.webhooks.retry(params.id, caller.actor);
  }
}
