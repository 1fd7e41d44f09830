import {
  type ChainReport,
  checkpoint as checkpointSchema,
  type Checkpoint,
  limitsOf,
  verifyChain,
} from "@fulcrum/contracts/audit-chain.js";
import type { AuditEntry } from "@fulcrum/contracts/resources.js";
import { get } from "../api/client.js";
import type { Page } from "../api/types.js";

const PAGE = 500;
/** What one tab reads; `fulcrum audit verify` has no such end. */
export const MAX_ROWS = 200_000;
/** As many as anyone keeps; each is held against every row. */
const MAX_CHECKPOINTS = 100;

export interface CheckedChain extends ChainReport {
  /** What the report does not show, one sentence each. */
  readonly limits: readonly string[];
}

/**
 * Reads the whole log, oldest first, and hashes each row here: the controller's word is not taken for it. SHA-256 is the
 * browser's own, which it has on https and on localhost only.
 *
 * @throws Error when `checkpointText` holds what is no checkpoint, or the log has more than MAX_ROWS rows
 */
export async function verifyHere(
  checkpointText: string,
  onRow: (rows: number) => void,
  signal: AbortSignal,
): Promise<CheckedChain> {
  const checkpoints = checkpointsIn(checkpointText);
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
      if (cursor !== null && count >= MAX_ROWS)
        throw new Error(
          `a tab reads ${MAX_ROWS.toLocaleString("en")} rows and there are more: use fulcrum audit verify`,
        );
    } while (cursor !== null);
  }
  const report = await verifyChain(rows(), sha256, checkpoints);
  return { ...report, limits: limitsOf(report) };
}

/** What `fulcrum audit checkpoint` or this page gave: JSON, one after the other; nothing in an empty text. */
export function checkpointsIn(text: string): Checkpoint[] {
  const found = text.match(/\{[^{}]*\}/g) ?? [];
  const rest = text.replace(/\{[^{}]*\}/g, "").replace(/[\s,[\]]/g, "");
  if (rest !== "") throw new Error(`a checkpoint is JSON with seq and hash, not ${rest.slice(0, 40)}`);
  if (found.length > MAX_CHECKPOINTS) throw new Error(`there are more than ${MAX_CHECKPOINTS} checkpoints`);
  return found.map((json) => {
    const parsed = checkpointSchema.safeParse(parsedJson(json));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw new Error(`${json.slice(0, 80)} is no checkpoint: ${issue?.path.join(".")} ${issue?.message}`);
  });
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
