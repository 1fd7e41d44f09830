/** Routes of error budgets, alerts, and of those who are told by webhook. Part of adminRoutes. */
import { z } from "zod";
import { alert, alertQuery, budget } from "./budgets.js";
import { pageOf } from "./primitives.js";
import { defineRoutes } from "./route.js";
import { byId, byPool } from "./route-params.js";
import * as webhooks from "./webhooks.js";

export const budgetRoutes = defineRoutes({
  getBudget: {
    method: "GET",
    path: "/v1/pools/:pool/budget",
    summary: "What is left of a pool's error budget, and how fast it is being spent",
    tag: "budgets",
    role: "viewer",
    params: byPool,
    status: 200,
    answer: budget,
  },
  listAlerts: {
    method: "GET",
    path: "/v1/alerts",
    summary: "Alerts that fire and that did, newest first",
    tag: "budgets",
    role: "viewer",
    query: alertQuery,
    status: 200,
    answer: pageOf(alert),
  },
  listWebhooks: {
    method: "GET",
    path: "/v1/webhooks",
    summary: "List webhooks; a URL may be a secret, so this needs an admin key",
    tag: "webhooks",
    role: "admin",
    status: 200,
    answer: z.strictObject({ items: z.array(webhooks.webhook) }),
  },
  createWebhook: {
    method: "POST",
    path: "/v1/webhooks",
    summary: "Add a webhook; its secret is shown once",
    tag: "webhooks",
    role: "admin",
    body: webhooks.webhookInput,
    status: 201,
    answer: webhooks.createdWebhook,
  },
  deleteWebhook: {
    method: "DELETE",
    path: "/v1/webhooks/:id",
    summary: "Remove a webhook and what still waits for it",
    tag: "webhooks",
    role: "admin",
    params: byId,
    status: 204,
    answer: null,
  },
  testWebhook: {
    method: "POST",
    path: "/v1/webhooks/:id/test",
    summary: "Send webhook.test once, and say what came of it",
    tag: "webhooks",
    role: "admin",
    params: byId,
    status: 200,
    answer: webhooks.delivery,
  },
  listDeliveries: {
    method: "GET",
    path: "/v1/deliveries",
    summary: "What was sent, waits or was given up, newest first",
    tag: "webhooks",
    role: "admin",
    query: webhooks.deliveryQuery,
    status: 200,
    answer: pageOf(webhooks.delivery),
  },
  retryDelivery: {
    method: "POST",
    path: "/v1/deliveries/:id/retry",
    summary: "Send a delivery again now, with all its tries",
    tag: "webhooks",
    role: "admin",
    params: byId,
    status: 200,
    answer: webhooks.delivery,
  },
});
