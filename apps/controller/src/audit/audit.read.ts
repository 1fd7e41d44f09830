import type { AuditCheckpoint, AuditEntry } from "@fulcrum/contracts/resources.js";
import type { auditQuery } from "@fulcrum/contracts/resources.js";
import { GENESIS } from "@fulcrum/contracts/audit-chain.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import type { z } from "zod";
import { ProblemError } from "../http/problem-error.js";
import { asEntry, MAX_JSON_CHARS, type StoredAudit } from "./as-entry.js";

/** Of `before` and `after` together; a page ends early where they come to more, so that an answer has a bound. */
const MAX_PAGE_CHARS = 4_000_000;
/** A name of a key or of a token's owner with its issuer is far below. */
const MAX_TEXT_CHARS = 4_000;

interface PageRow extends StoredAudit {
  /** Where the row lies: numbers may stand twice, in two months, where somebody put them there. */
  readonly place: number;
  readonly found: number;
}

/**
 * Every column as text, so that nothing that can be put there by hand is lost or stops the reading. The time is to the
 * microsecond (what is there must not read as the millisecond that was hashed), and to_char() knows no era and no infinity.
 */
const COLUMNS = `
  seq, month, extract(epoch FROM month)::float8 AS place,
  CASE WHEN isfinite(at) AND at >= '0001-01-01T00:00:00Z'
       THEN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
       ELSE (at AT TIME ZONE 'UTC')::text END AS at,
  key_id::text AS "keyId",
  ${["actor", "address", "action", "subject"].map((name) => `left(${name}, ${MAX_TEXT_CHARS}) AS ${name}`).join(", ")},
  left(before::text, ${MAX_JSON_CHARS + 1}) AS before, left(after::text, ${MAX_JSON_CHARS + 1}) AS after,
  left(prev_hash, 200) AS "prevHash", left(hash, 200) AS hash`;

@Injectable()
export class AuditRead {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** One page. The cursor is the last row's place, so that pages neither repeat nor skip rows while new ones come. */
  async list(query: z.infer<typeof auditQuery>): Promise<{ items: AuditEntry[]; nextCursor: string | null }> {
    const { limit, cursor, order, action, subject, actor } = query;
    const [after, direction] = order === "asc" ? [">", "ASC"] : ["<", "DESC"];
    const [seq, place] = cursor === undefined ? [null, null] : parsePlace(cursor);
    const rows = await this.source.query<PageRow[]>(
      `WITH page AS (
         SELECT ${COLUMNS} FROM audit
         WHERE ($1::bigint IS NULL OR
                seq ${after}= $1 AND (seq <> $1 OR extract(epoch FROM month)::float8 ${after} $2::float8))
           AND ($3::text IS NULL OR action = $3)
           AND ($4::text IS NULL OR subject = $4) AND ($5::text IS NULL OR actor = $5)
         ORDER BY seq ${direction}, month ${direction} LIMIT $6::int + 1
       ), counted AS (
         SELECT *, row_number() OVER line AS number, (count(*) OVER ())::int AS found,
                sum(coalesce(length(before), 0) + coalesce(length(after), 0)) OVER line AS chars
         FROM page WINDOW line AS (ORDER BY seq ${direction}, month ${direction})
       )
       SELECT * FROM counted
       WHERE number <= $6::int AND (number = 1 OR chars <= ${MAX_PAGE_CHARS}) ORDER BY number`,
      [seq, place, action ?? null, subject ?? null, actor ?? null, limit],
    );
    const last = rows.at(-1);
    return {
      items: rows.map(asEntry),
      nextCursor: last && last.found > rows.length ? `${last.seq}_${last.place}` : null,
    };
  }

  async checkpoint(): Promise<AuditCheckpoint> {
    const { items } = await this.list({ limit: 1, order: "desc" });
    const { seq, hash } = items[0] ?? { seq: 0, hash: GENESIS };
    return { seq: Math.max(0, seq), hash, at: new Date().toISOString() };
  }
}

const PLACE = /^(-?\d{1,19})_(-?(?:\d{1,15}|Infinity))$/;
const MAX_BIGINT = 9_223_372_036_854_775_807n;

function parsePlace(cursor: string): readonly [seq: string, place: string] {
  const [, seq, place] = PLACE.exec(cursor) ?? [];
  if (seq !== undefined && place !== undefined && BigInt(seq.replace("-", "")) <= MAX_BIGINT)
    return [seq, place];
  const message = "must be the nextCursor of an earlier page";
  throw new ProblemError("invalid_request", `cursor: ${message}`, [{ field: "cursor", message }]);
}
