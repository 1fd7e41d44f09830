/** Webhooks: who is told of what, and what became of each message. https://www.standardwebhooks.com */
import { z } from "zod";
import { name, page, timestamp, uuid } from "./primitives.js";

export const WEBHOOK_EVENTS = [
  "alert.firing",
  "alert.resolved",
  "instance.degraded",
  "proposal.opened",
  "rollout.rolled_back",
  "rollout.failed",
  "pool.changed",
  "slo.changed",
] as const;

export const webhookEvent = z.enum(WEBHOOK_EVENTS).meta({ id: "WebhookEvent" });

/** http or https, and no user or password in it, since it is shown and logged. */
const target = z
  .url({ protocol: /^https?$/, error: "must be an http:// or https:// URL" })
  .max(2_000)
  .regex(/^https?:\/\/[^/?#@]+(?:[/?#]|$)/i, "must not carry a user or a password")
  .meta({ example: "https://hooks.example.com/fulcrum" });

export const webhookInput = z
  .strictObject({
    url: target,
    events: z
      .array(webhookEvent)
      .min(1)
      .max(WEBHOOK_EVENTS.length)
      .default([...WEBHOOK_EVENTS]),
    pool: name.nullable().default(null).meta({ description: "Only of this pool; null: of all." }),
  })
  .meta({ id: "WebhookInput" });

export const webhook = z
  .strictObject({
    id: uuid,
    url: z.string(),
    events: z.array(webhookEvent),
    pool: name.nullable(),
    createdAt: timestamp,
    createdBy: z.string(),
    disabledAt: timestamp.nullable().meta({
      description: "The target answered 410 Gone: nothing is sent any more. Remove it and add it anew.",
    }),
  })
  .meta({ id: "Webhook" });

export const createdWebhook = webhook
  .extend({
    secret: z.string().meta({ description: "whsec_ and the key of the signatures as base64; shown once." }),
  })
  .meta({ id: "CreatedWebhook" });

export const deliveryState = z.enum(["pending", "delivered", "dead"]).meta({
  id: "DeliveryState",
  description: "dead: given up after the last try; only a person sends it again.",
});

export const delivery = z
  .strictObject({
    id: uuid.meta({ description: "The webhook-id header: the same with every try." }),
    webhook: uuid,
    url: z.string(),
    event: z.union([webhookEvent, z.literal("webhook.test")]),
    state: deliveryState,
    tries: z.int(),
    createdAt: timestamp,
    nextTryAt: timestamp.nullable().meta({ description: "null: delivered or dead." }),
    endedAt: timestamp.nullable(),
    lastStatus: z.int().nullable().meta({ description: "HTTP status of the last answer; null: none came." }),
    lastError: z.string().nullable(),
    lastAnswer: z.string().nullable().meta({ description: "The first KiB of it." }),
    body: z.string().meta({ description: "What is sent, byte by byte." }),
  })
  .meta({ id: "Delivery" });

export const deliveryQuery = z.strictObject({
  ...page,
  webhook: uuid.optional(),
  state: deliveryState.optional(),
});

export type WebhookEvent = z.infer<typeof webhookEvent>;
export type WebhookInput = z.infer<typeof webhookInput>;
export type Webhook = z.infer<typeof webhook>;
export type CreatedWebhook = z.infer<typeof createdWebhook>;
export type Delivery = z.infer<typeof delivery>;
export type DeliveryState = z.infer<typeof deliveryState>;
