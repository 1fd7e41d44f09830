/** A controller in a process of its own, on a Postgres of its own; both are gone when the bench is over. */
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { temporaryDataDir } from "@fulcrum/embedded/default-data-dir.js";
import { startPostgres } from "@fulcrum/embedded/postgres.js";
import { type ServerProcess, startServer } from "./server-process.js";

const CONTROLLER = fileURLToPath(new URL("../../../apps/controller/dist/main.js", import.meta.url));

export interface OwnController {
  readonly server: ServerProcess;
  readonly databaseUrl: string;
  /** An admin's. */
  readonly key: string;
}

export async function withOwnController<T>(use: (own: OwnController) => Promise<T>): Promise<T> {
  const dataDir = await temporaryDataDir();
  const postgres = await startPostgres({ dataDir });
  const key = `fk_${randomBytes(32).toString("base64url")}`;
  try {
    const server = await startServer(CONTROLLER, ["--exit-with-parent"], {
      DATABASE_URL: postgres.url,
      PORT: "0",
      FULCRUM_BOOTSTRAP_ADMIN_KEY: key,
      LOG_LEVEL: "warn",
    });
    try {
      return await use({ server, databaseUrl: postgres.url, key });
    } finally {
      await server.stop();
    }
  } finally {
    await postgres.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}
