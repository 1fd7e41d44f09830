import { type ChainReport, verifyChain } from "@fulcrum/contracts/audit-chain.js";
import type { AuditEntry } from "@fulcrum/contracts/resources.js";
import { get } from "../api/client.js";
import type { Page } from "../api/types.js";

const PAGE = 500;
/** What one tab reads; `fulcrum audit verify` has no such end. */
export const MAX_ROWS = 200_000;

/**
 * Reads the whole log, oldest first, and hashes each row here: the controller's word is not taken for it. SHA-256 is the
 * browser's own, which it has on https and on localhost only.
 */
export async function verifyHere(onRow: (rows: number) => void, signal: AbortSignal): Promise<ChainReport> {
  let count = 0;
  async function* rows(): AsyncGenerator<AuditEntry> {
    let cursor: string | null = null;
    do {
      const more: string = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const page: Page<AuditEntry> = await get(`/v1/audit?order=asc&limit=${PAGE}${more}`, signal);
      yield* page.items;
      count += page.items.length;
      onRow(count);
      cursor = page.nextCursor;
    } while (cursor !== null && count < MAX_ROWS);
  }
  return verifyChain(rows(), sha256);
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
