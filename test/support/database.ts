import { randomBytes } from "node:crypto";

import { Client } from "pg";

export interface TestDatabase {
  readonly url: string;
  /** Removes it, cutting connections that are still open. May be called again. */
  drop(): Promise<void>;
}

/**
 * Makes a fresh database of its own name on the server that `baseUrl` reaches; with `template`, as a copy
 * of that database, which nobody may be connected to meanwhile.
 */
export async function createDatabase(
  baseUrl: string,
  options: { template?: string } = {},
): Promise<TestDatabase> {
  const name = `test_${process.pid}_${randomBytes(6).toString("hex")}`;
  const template = options.template === undefined ? "" : ` TEMPLATE ${quoted(options.template)}`;
  await execute(baseUrl, `CREATE DATABASE ${quoted(name)}${template}`);
  const url = new URL(baseUrl);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    drop: () => execute(baseUrl, `DROP DATABASE IF EXISTS ${quoted(name)} WITH (FORCE)`),
  };
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

async function execute(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  try {
    await client.connect();
    await client.query(statement);
  } finally {
    await client.end();
  }
}
