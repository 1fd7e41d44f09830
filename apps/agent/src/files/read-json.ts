import { readFileSync } from "node:fs";

/** null when there is no such file, or nothing in it that can be read. */
export function readJsonSync(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as unknown;
  } catch {
    return null;
  }
}
