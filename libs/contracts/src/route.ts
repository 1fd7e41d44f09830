import type { z } from "zod";
import type { Role } from "./resources.js";

export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Path parameters stand as `:name`. */
  readonly path: string;
  readonly summary: string;
  readonly tag: string;
  /** Least role; null: anybody. */
  readonly role: Role | null;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  readonly status: number;
  readonly answer: z.ZodType | null;
  /** What the answer is sent as; JSON unless told. */
  readonly answerType?: "text/event-stream";
  /** required: a write without If-Match gets 428. The ETag is the resource's version. */
  readonly ifMatch?: "required" | "optional";
  readonly etag?: boolean;
  /** Further statuses that are part of the contract, besides problems. */
  readonly also?: Readonly<Record<number, string>>;
}

/** Keeps each route's own types while checking it against Route. */
export function defineRoutes<const T extends Record<string, Route>>(table: T): T {
  return table;
}
