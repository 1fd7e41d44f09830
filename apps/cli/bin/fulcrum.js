#!/usr/bin/env node
// Committed as JavaScript, because npm links this file before anything is built.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const main = new URL("../dist/main.js", import.meta.url);
if (existsSync(fileURLToPath(main))) {
  await import(main.href);
} else {
  process.stderr.write("fulcrum: it is not built yet: run npm ci (or npm run build) first\n");
  process.exitCode = 1;
}
