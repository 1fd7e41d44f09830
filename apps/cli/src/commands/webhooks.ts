import {
  type CreatedWebhook,
  type Delivery,
  type DeliveryState,
  type Webhook,
  WEBHOOK_EVENTS,
  type WebhookEvent,
} from "@fulcrum/contracts/webhooks.js";
import { Option, type Command } from "commander";
import { failed } from "../failure.js";
import { terminalWidth, type Io } from "../io.js";
import { tableText } from "../text/table.js";
import { agoOf } from "../text/words.js";
import { apiCommand, given, groupCommand } from "./command.js";
import { cursorOption, limitOption, listFooter } from "./list-options.js";

const STATES: readonly DeliveryState[] = ["pending", "delivered", "dead"];

export function addWebhooks(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "webhooks",
    "Webhooks: who is told of alerts, proposals and degraded instances (needs an admin key)",
    "fulcrum webhooks add https://hooks.example.com/fulcrum --event alert.firing",
  );
  addHooks(group, io);
  addDeliveries(group, io);
}

function addHooks(group: Command, io: Io): void {
  apiCommand(
    group,
    io,
    { usage: "list", summary: "List webhooks", examples: ["fulcrum webhooks list"] },
    async ({ api, io, show }) => {
      const { body, raw } = await api.call("listWebhooks", {});
      show(raw, () => hookTable(body.items, io));
    },
  );
  apiCommand<{ event?: WebhookEvent[]; pool?: string }>(
    group,
    io,
    {
      usage: "add <url>",
      summary: "Add a webhook; its secret is shown once",
      examples: [
        "fulcrum webhooks add https://hooks.example.com/fulcrum",
        "fulcrum webhooks add http://10.0.0.7:8080/ --event alert.firing alert.resolved --pool chat-8b",
      ],
      options: [
        new Option("--event <event...>", `of what (all): ${WEBHOOK_EVENTS.join(", ")}`).choices(
          WEBHOOK_EVENTS,
        ),
        new Option("--pool <pool>", "only of this pool"),
      ],
    },
    async ({ api, show }, [url], { event, pool }) => {
      const { body, raw } = await api.call("createWebhook", {
        body: { url: given(url), ...(event ? { events: event } : {}), pool: pool ?? null },
      });
      show(raw, () => addedText(body));
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "remove <id>",
      summary: "Remove a webhook and what still waits for it",
      examples: ["fulcrum webhooks remove 0199f0c2-…"],
    },
    async ({ api, show }, [id]) => {
      await api.call("deleteWebhook", { params: { id: given(id) } });
      show(null, () => `removed webhook ${given(id)}`);
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "test <id>",
      summary: "Send webhook.test once, and say what came of it",
      examples: ["fulcrum webhooks test 0199f0c2-…"],
    },
    async ({ api, show }, [id]) => {
      const { body, raw } = await api.call("testWebhook", { params: { id: given(id) } });
      if (body.state !== "delivered")
        throw failed(`${body.url} did not take it: ${body.lastError ?? "no answer"}.`);
      show(raw, () => `delivered: ${body.url} answered ${body.lastStatus}`);
    },
  );
}

function addDeliveries(group: Command, io: Io): void {
  apiCommand<{ webhook?: string; state?: DeliveryState; limit?: number; cursor?: string }>(
    group,
    io,
    {
      usage: "deliveries",
      summary: "What was sent, waits or was given up, newest first",
      examples: ["fulcrum webhooks deliveries --state dead"],
      options: [
        new Option("--webhook <id>", "only of this webhook"),
        new Option("--state <state>", STATES.join(", ")).choices(STATES),
        limitOption(),
        cursorOption(),
      ],
    },
    async ({ api, io, show }, _args, query) => {
      const { body, raw } = await api.call("listDeliveries", { query: { ...query } });
      show(raw, () => deliveryTable(body.items, io) + listFooter(body.nextCursor));
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "retry <delivery>",
      summary: "Send a delivery again now, with all its tries",
      examples: ["fulcrum webhooks retry 0199f0c2-…"],
    },
    async ({ api, show }, [id]) => {
      const { body, raw } = await api.call("retryDelivery", { params: { id: given(id) } });
      show(raw, () => `${body.event} will be sent to ${body.url} again`);
    },
  );
}

function addedText(hook: CreatedWebhook): string {
  const scope = hook.pool === null ? "" : ` of pool ${hook.pool}`;
  return [
    `webhook ${hook.id} tells ${hook.url} of ${hook.events.join(", ")}${scope}`,
    `its messages are signed with this secret, which is shown this once:`,
    hook.secret,
  ].join("\n");
}

function hookTable(hooks: readonly Webhook[], io: Io): string {
  if (hooks.length === 0) return "there are no webhooks";
  return tableText(
    [
      { title: "url", cut: true },
      { title: "events", cut: true },
      { title: "pool" },
      { title: "state" },
      { title: "created" },
      { title: "by", cut: true },
      { title: "id" },
    ],
    hooks.map((hook) => [
      hook.url,
      hook.events.length === WEBHOOK_EVENTS.length ? "all" : hook.events.join(", "),
      hook.pool ?? "all",
      hook.disabledAt === null ? "enabled" : `disabled ${agoOf(hook.disabledAt, io.now())}`,
      agoOf(hook.createdAt, io.now()),
      hook.createdBy,
      hook.id,
    ]),
    terminalWidth(io),
  );
}

function deliveryTable(deliveries: readonly Delivery[], io: Io): string {
  if (deliveries.length === 0) return "no deliveries match";
  return tableText(
    [
      { title: "made" },
      { title: "event" },
      { title: "state" },
      { title: "tries" },
      { title: "next try" },
      { title: "last", cut: true },
      { title: "url", cut: true },
      { title: "id" },
    ],
    deliveries.map((each) => [
      agoOf(each.createdAt, io.now()),
      each.event,
      each.state,
      String(each.tries),
      each.nextTryAt === null ? "-" : agoOf(each.nextTryAt, io.now()),
      each.lastError ?? (each.lastStatus === null ? "-" : `answered ${each.lastStatus}`),
      each.url,
      each.id,
    ]),
    terminalWidth(io),
  );
}
