import { Client } from "pg";

const CONNECT_LIMIT_MS = 10_000;
const QUERY_LIMIT_MS = 30_000;

/** Makes the database where it is missing. The name is checked by the caller; `adminUrl` names another one. */
export async function ensureDatabase(adminUrl: string, database: string): Promise<void> {
  const client = new Client({
    connectionString: adminUrl,
    connectionTimeoutMillis: CONNECT_LIMIT_MS,
    query_timeout: QUERY_LIMIT_MS,
  });
  // A server that ends under an idle connection is an event on the client; the query's own error is enough.
  client.on("error", () => undefined);
  try {
    await client.connect();
    const found = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [database]);
    if (found.rowCount === 0) await client.query(`CREATE DATABASE "${database}"`);
  } catch (error) {
    throw new Error(`The database ${database} could not be opened or made: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    await client.end();
  }
}
