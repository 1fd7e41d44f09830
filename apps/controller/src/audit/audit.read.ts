import type { AuditCheckpoint, AuditEntry } from "@fulcrum/contracts/resources.js";
import type { auditQuery } from "@fulcrum/contracts/resources.js";
import { GENESIS } from "@fulcrum/contracts/audit-chain.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import type { z } from "zod";
import { parseCursor } from "../db/page.js";

interface AuditView extends Omit<AuditEntry, "seq"> {
  /** pg gives bigint as text. */
  seq: string;
}

/** To the microsecond: what somebody put there by hand must not read as the millisecond that was hashed. */
const COLUMNS = `
  seq, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at, actor, key_id AS "keyId", address, action,
  subject, before, after, prev_hash AS "prevHash", hash`;

@Injectable()
export class AuditRead {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** One page. The cursor is the last row's number, so that pages neither repeat nor skip rows while new ones come. */
  async list(query: z.infer<typeof auditQuery>): Promise<{ items: AuditEntry[]; nextCursor: string | null }> {
    const { limit, cursor, order, action, subject, actor } = query;
    const [after, direction] = order === "asc" ? [">", "ASC"] : ["<", "DESC"];
    const rows = await this.source.query<AuditView[]>(
      `SELECT ${COLUMNS} FROM audit
       WHERE ($1::bigint IS NULL OR seq ${after} $1) AND ($2::text IS NULL OR action = $2)
         AND ($3::text IS NULL OR subject = $3) AND ($4::text IS NULL OR actor = $4)
       ORDER BY seq ${direction} LIMIT $5`,
      [
        cursor === undefined ? null : parseCursor(cursor, "number"),
        action ?? null,
        subject ?? null,
        actor ?? null,
        limit + 1,
      ],
    );
    const items = rows.slice(0, limit).map(toEntry);
    return { items, nextCursor: rows.length > limit ? String(items.at(-1)!.seq) : null };
  }

  async checkpoint(): Promise<AuditCheckpoint> {
    const { items } = await this.list({ limit: 1, order: "desc" });
    const { seq, hash } = items[0] ?? { seq: 0, hash: GENESIS };
    return { seq, hash, at: new Date().toISOString() };
  }
}

function toEntry({ seq, at, ...row }: AuditView): AuditEntry {
  return { ...row, seq: Number(seq), at: at.replace(/000Z$/, "Z") };
}
