import { readFileSync } from "node:fs";

/** Of this package; the file lies one folder up from src and from dist alike. */
export const VERSION = (
  JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }
).version;
