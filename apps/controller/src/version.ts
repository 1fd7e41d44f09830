import { readFileSync } from "node:fs";

/** The version in the package's own manifest, which lies one folder above both src and dist. */
export const VERSION = (
  JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }
).version;
