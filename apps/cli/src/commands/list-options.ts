import { Option } from "commander";
import { wholeIn } from "./command.js";

export interface ListOptions {
  readonly pool?: string;
  readonly instance?: string;
  readonly limit?: number;
  readonly cursor?: string;
}

export function limitOption(): Option {
  return new Option("--limit <n>", "how many to show, 1 to 500 (50)").argParser(wholeIn(1, 500));
}

export function cursorOption(): Option {
  return new Option("--cursor <cursor>", "go on where a page ended");
}

export function poolOption(): Option {
  return new Option("--pool <pool>", "only of this pool");
}

export function instanceOption(): Option {
  return new Option("--instance <instance>", "only of this instance");
}

/** Says how to see more; nothing on the last page. */
export function listFooter(nextCursor: string | null): string {
  return nextCursor === null ? "" : `\n\nthere are more: --cursor ${nextCursor}`;
}
