import type { ObjectLiteral, SelectQueryBuilder } from "typeorm";
import { ProblemError } from "../http/problem-error.js";

export interface PageRequest {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * One page, newest first, of rows whose ids grow with time (UUID v7). The cursor is the id of the last row given, so
 * pages neither repeat nor skip rows while new ones are added.
 */
export async function pageBefore<Row extends ObjectLiteral & { id: string }, Item>(
  builder: SelectQueryBuilder<Row>,
  page: PageRequest,
  toItem: (row: Row) => Item,
): Promise<{ items: Item[]; nextCursor: string | null }> {
  if (page.cursor !== undefined) {
    builder.andWhere(`${builder.alias}.id < :cursor`, { cursor: parseCursor(page.cursor, "uuid") });
  }
  const rows = await builder
    .orderBy(`${builder.alias}.id`, "DESC")
    .limit(page.limit + 1)
    .getMany();
  const given = rows.slice(0, page.limit);
  const last = given.at(-1);
  return {
    items: given.map(toItem),
    nextCursor: rows.length > page.limit && last ? last.id : null,
  };
}

export function parseCursor(cursor: string, kind: "uuid" | "number"): string | number {
  const valid = kind === "uuid" ? UUID.test(cursor) : /^\d{1,15}$/.test(cursor);
  if (!valid) {
    const message = "must be the nextCursor of an earlier page";
    throw new ProblemError("invalid_request", `cursor: ${message}`, [{ field: "cursor", message }]);
  }
  return kind === "number" ? Number(cursor) : cursor;
}
