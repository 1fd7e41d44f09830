import type {
  CreatedWebhook,
  Delivery,
  deliveryQuery,
  Webhook,
  WebhookInput,
} from "@fulcrum/contracts/webhooks.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager } from "typeorm";
import type { z } from "zod";
import { type Actor, appendAudit } from "../audit/append-audit.js";
import { pageBefore } from "../db/page.js";
import { uuidV7 } from "../db/uuid-v7.js";
import { ProblemError } from "../http/problem-error.js";
import { bodyOf } from "../outbox/outbox.js";
import { findPool } from "../pools/pool.service.js";
import { isRefused, literalAddress } from "./addresses.js";
import { newSecret } from "./signature.js";
import { DeliveryRow, WebhookRow } from "./webhook.rows.js";
import { CLAIM_MS, MAX_WEBHOOKS, WebhookSender } from "./webhook.sender.js";

/** A person waits for it. */
const TEST_WITHIN_MS = 5_000;

type Named = DeliveryRow & { readonly webhook: WebhookRow };

@Injectable()
export class WebhookService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(WebhookSender) private readonly sender: WebhookSender,
  ) {}

  async list(): Promise<Webhook[]> {
    const rows = await this.source.manager.find(WebhookRow, { order: { id: "DESC" }, take: MAX_WEBHOOKS });
    return rows.map(toWebhook);
  }

  /** @throws ProblemError invalid_request, not_found (the pool), conflict (too many) */
  async create(input: WebhookInput, actor: Actor): Promise<CreatedWebhook> {
    const literal = literalAddress(new URL(input.url).hostname);
    if (literal !== null && isRefused(literal)) {
      const message = `${literal} is link-local or no address of a host: nothing is sent there`;
      throw new ProblemError("invalid_request", `url: ${message}`, [{ field: "url", message }]);
    }
    const row: WebhookRow = {
      id: uuidV7(),
      ...input,
      events: [...new Set(input.events)],
      secret: newSecret(),
      createdAt: new Date(),
      createdBy: actor.name,
      disabledAt: null,
    };
    await this.source.transaction(async (manager) => {
      if (input.pool !== null) await findPool(manager, input.pool);
      // Two that come at once: the second one counts the first.
      await manager.query("LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE");
      if ((await manager.count(WebhookRow)) >= MAX_WEBHOOKS)
        throw new ProblemError("conflict", `There are ${MAX_WEBHOOKS} webhooks already; remove one first.`);
      await manager.insert(WebhookRow, row);
      await appendAudit(manager, actor, {
        action: "webhook.create",
        subject: `webhook/${row.id}`,
        before: null,
        after: recordOf(row),
      });
    });
    return { ...toWebhook(row), secret: row.secret };
  }

  /** @throws ProblemError not_found */
  async remove(id: string, actor: Actor): Promise<void> {
    await this.source.transaction(async (manager) => {
      const row = await findWebhook(manager, id);
      await manager.delete(WebhookRow, { id });
      await appendAudit(manager, actor, {
        action: "webhook.delete",
        subject: `webhook/${id}`,
        before: recordOf(row),
        after: null,
      });
    });
  }

  /** Sends `webhook.test` once and waits for what comes of it. @throws ProblemError not_found, conflict */
  async test(id: string, actor: Actor): Promise<Delivery> {
    const now = new Date();
    const claimed = await this.source.transaction(async (manager) => {
      const hook = await findWebhook(manager, id);
      mustBeEnabled(hook);
      const row = testRow(hook, actor, now);
      await manager.insert(DeliveryRow, row);
      await appendAudit(manager, actor, {
        action: "webhook.test",
        subject: `webhook/${id}`,
        before: null,
        after: { delivery: row.id },
      });
      const { body, tries } = row;
      return { id: row.id, webhook_id: id, body, tries, url: hook.url, secret: hook.secret };
    });
    await this.sender.attempt(claimed, { maxTries: 1, withinMs: TEST_WITHIN_MS });
    return this.delivery(claimed.id);
  }

  async deliveries(query: z.infer<typeof deliveryQuery>) {
    const builder = this.named();
    if (query.webhook) builder.andWhere("row.webhookId = :webhook", { webhook: query.webhook });
    if (query.state) builder.andWhere("row.state = :state", { state: query.state });
    return pageBefore(builder, { limit: query.limit, cursor: query.cursor }, (row) =>
      toDelivery(row as Named),
    );
  }

  /** With all its tries, from now on. @throws ProblemError not_found, conflict */
  async retry(id: string, actor: Actor): Promise<Delivery> {
    await this.source.transaction(async (manager) => {
      const row = await manager.findOne(DeliveryRow, { where: { id }, lock: { mode: "pessimistic_write" } });
      if (!row) throw new ProblemError("not_found", `There is no delivery ${id}.`);
      mustBeEnabled(await findWebhook(manager, row.webhookId));
      if (row.state === "delivered")
        throw new ProblemError("conflict", `Delivery ${id} has arrived already; it is not sent twice.`);
      mustNotBeClaimed(row, new Date());
      const { state, tries } = row;
      await manager.update(
        DeliveryRow,
        { id },
        { state: "pending", tries: 0, nextTryAt: new Date(), claimedUntil: null, endedAt: null },
      );
      await appendAudit(manager, actor, {
        action: "delivery.retry",
        subject: `webhook/${row.webhookId}`,
        before: { delivery: id, state, tries },
        after: { delivery: id, state: "pending", tries: 0 },
      });
    });
    return this.delivery(id);
  }

  /** What waits and what was given up, but for tests, of which somebody was told at once; and for how long the oldest has waited. */
  async counts(): Promise<{ pending: number; dead: number; oldestS: number }> {
    const [row] = await this.source.query<{ pending: number; dead: number; oldest: number | null }[]>(
      `SELECT count(*) FILTER (WHERE state = 'pending')::int AS pending, count(*) FILTER (WHERE state = 'dead' AND event <> 'webhook.test')::int AS dead,
              extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 'pending'))::float8 AS oldest
       FROM webhook_deliveries WHERE state <> 'delivered'`,
    );
    return { pending: row?.pending ?? 0, dead: row?.dead ?? 0, oldestS: Math.max(0, row?.oldest ?? 0) };
  }

  private async delivery(id: string): Promise<Delivery> {
    const row = await this.named().andWhere("row.id = :id", { id }).getOne();
    if (!row) throw new ProblemError("not_found", `There is no delivery ${id}.`);
    return toDelivery(row as Named);
  }

  private named() {
    return this.source.manager
      .createQueryBuilder(DeliveryRow, "row")
      .innerJoinAndMapOne("row.webhook", WebhookRow, "webhook", "webhook.id = row.webhookId");
  }
}

async function findWebhook(manager: EntityManager, id: string): Promise<WebhookRow> {
  const row = await manager.findOneBy(WebhookRow, { id });
  if (!row) throw new ProblemError("not_found", `There is no webhook ${id}.`);
  return row;
}

function mustBeEnabled({ id, disabledAt }: WebhookRow): void {
  if (disabledAt === null) return;
  const since = disabledAt.toISOString();
  throw new ProblemError(
    "conflict",
    `Webhook ${id} is disabled since ${since}: its target answered 410. Remove it and add it anew.`,
  );
}

/** Of a try that is under way it is not known yet whether it arrives. */
function mustNotBeClaimed({ id, state, claimedUntil }: DeliveryRow, now: Date): void {
  if (state !== "pending" || claimedUntil === null || claimedUntil <= now) return;
  throw new ProblemError(
    "conflict",
    `Delivery ${id} is being sent at this moment; retry it once that try has ended, at the latest at ${claimedUntil.toISOString()}.`,
  );
}

/** Claimed from the start: it is sent by whoever makes it, and not by a sweep. */
function testRow(hook: WebhookRow, actor: Actor, now: Date): DeliveryRow {
  const claimedUntil = new Date(now.getTime() + CLAIM_MS);
  const data = { pool: hook.pool, instance: null, actor: actor.name, before: null, after: null };
  return {
    id: uuidV7(),
    webhookId: hook.id,
    event: "webhook.test",
    body: bodyOf("webhook.test", now.toISOString(), data),
    state: "pending",
    tries: 1,
    createdAt: now,
    nextTryAt: claimedUntil,
    claimedUntil,
    endedAt: null,
    lastStatus: null,
    lastError: null,
    lastAnswer: null,
  };
}

function toWebhook(row: WebhookRow): Webhook {
  return {
    id: row.id,
    url: row.url,
    events: row.events,
    pool: row.pool,
    createdAt: row.createdAt.toISOString(),
    createdBy: row.createdBy,
    disabledAt: row.disabledAt?.toISOString() ?? null,
  };
}

/** For the audit log, which viewers read: of the URL the host alone, since the path is often what lets one in. */
function recordOf(row: WebhookRow) {
  const { url, ...record } = toWebhook(row);
  return { ...record, host: new URL(url).host };
}

function toDelivery(row: Named): Delivery {
  return {
    id: row.id,
    webhook: row.webhookId,
    url: row.webhook.url,
    event: row.event,
    state: row.state,
    tries: row.tries,
    createdAt: row.createdAt.toISOString(),
    nextTryAt: row.nextTryAt?.toISOString() ?? null,
    endedAt: row.endedAt?.toISOString() ?? null,
    lastStatus: row.lastStatus,
    lastError: row.lastError,
    lastAnswer: row.lastAnswer,
    body: row.body,
  };
}
