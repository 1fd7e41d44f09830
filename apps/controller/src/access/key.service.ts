import { createHash, randomBytes } from "node:crypto";
import type { ApiKey, CreatedKey, Role } from "@fulcrum/contracts/resources.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import { type Actor, appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { uuidV7 } from "../db/uuid-v7.js";
import { ProblemError } from "../http/problem-error.js";
import { ApiKeyRow } from "./api-key.row.js";

/** Whose key a request carried. */
export interface KeyHolder {
  readonly keyId: string;
  readonly name: string;
  readonly role: Role;
  /** The one agent that an agent key may speak for; null: any. */
  readonly agent: string | null;
}

/** A revoked key works for at most this long on a replica that has just seen it. */
const CACHE_MS = 3_000;
/** Wrong keys are cached too; past this many entries the cache starts anew. */
const MAX_CACHED = 10_000;
const TOUCH_EVERY_MS = 60_000;

@Injectable()
export class KeyService {
  private readonly cache = new Map<string, { holder: KeyHolder | null; untilMs: number }>();
  private readonly touchedAtMs = new Map<string, number>();

  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** The holder of a key; null when it is unknown or revoked. */
  async holderOf(key: string): Promise<KeyHolder | null> {
    const hash = hashOf(key);
    const nowMs = Date.now();
    const cached = this.cache.get(hash);
    if (cached && cached.untilMs > nowMs) return cached.holder;
    const row = await this.source.manager.findOneBy(ApiKeyRow, { hash });
    const holder =
      row && !row.revokedAt ? { keyId: row.id, name: row.name, role: row.role, agent: row.agent } : null;
    if (this.cache.size >= MAX_CACHED) this.cache.clear();
    this.cache.set(hash, { holder, untilMs: nowMs + CACHE_MS });
    if (holder) await this.touch(holder.keyId, nowMs);
    return holder;
  }

  async list(): Promise<ApiKey[]> {
    const rows = await this.source.manager.find(ApiKeyRow, { order: { id: "DESC" }, take: 1_000 });
    return rows.map(toApiKey);
  }

  async create(
    input: { name: string; role: Role; agent?: string | undefined },
    actor: Actor,
  ): Promise<CreatedKey> {
    if (input.agent !== undefined && input.role !== "agent") {
      const message = "can be given for role agent only";
      throw new ProblemError("invalid_request", `agent: ${message}`, [{ field: "agent", message }]);
    }
    const key = `fk_${randomBytes(32).toString("base64url")}`;
    const row = newRow({ ...input, agent: input.agent ?? null, key, createdBy: actor.name });
    await this.source.transaction(async (manager) => {
      await manager.insert(ApiKeyRow, row);
      await appendAudit(manager, actor, {
        action: "key.create",
        subject: `key/${row.id}`,
        before: null,
        after: toApiKey(row),
      });
    });
    return { ...toApiKey(row), key };
  }

  async revoke(id: string, actor: Actor): Promise<void> {
    await this.source.transaction(async (manager) => {
      const row = await manager.findOneBy(ApiKeyRow, { id });
      if (!row) throw new ProblemError("not_found", `There is no key ${id}.`);
      if (row.revokedAt) return;
      const revokedAt = new Date();
      await manager.update(ApiKeyRow, { id }, { revokedAt });
      await appendAudit(manager, actor, {
        action: "key.revoke",
        subject: `key/${id}`,
        before: toApiKey(row),
        after: toApiKey({ ...row, revokedAt }),
      });
    });
    this.cache.clear();
  }

  /** Makes sure that the admin key given at start-up works. */
  async ensureBootstrapKey(key: string): Promise<void> {
    const row = newRow({ name: "bootstrap", role: "admin", agent: null, key, createdBy: CONTROLLER.name });
    await this.source.transaction(async (manager) => {
      const { raw } = await manager
        .createQueryBuilder()
        .insert()
        .into(ApiKeyRow)
        .values(row)
        .orIgnore()
        .returning("id")
        .execute();
      if ((raw as unknown[]).length === 0) return;
      await appendAudit(manager, CONTROLLER, {
        action: "key.create",
        subject: `key/${row.id}`,
        before: null,
        after: toApiKey(row),
      });
    });
  }

  private async touch(id: string, nowMs: number): Promise<void> {
    if ((this.touchedAtMs.get(id) ?? 0) > nowMs - TOUCH_EVERY_MS) return;
    if (this.touchedAtMs.size >= MAX_CACHED) this.touchedAtMs.clear();
    this.touchedAtMs.set(id, nowMs);
    await this.source.manager.update(ApiKeyRow, { id }, { lastUsedAt: new Date(nowMs) });
  }
}

function hashOf(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}

function newRow(input: {
  name: string;
  role: Role;
  agent: string | null;
  key: string;
  createdBy: string;
}): ApiKeyRow {
  const { key, ...rest } = input;
  return {
    id: uuidV7(),
    ...rest,
    hash: hashOf(key),
    createdAt: new Date(),
    lastUsedAt: null,
    revokedAt: null,
  };
}

function toApiKey(row: ApiKeyRow): ApiKey {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    agent: row.agent,
    createdAt: row.createdAt.toISOString(),
    createdBy: row.createdBy,
    lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
    revokedAt: row.revokedAt?.toISOString() ?? null,
  };
}
