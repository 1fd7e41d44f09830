import { prepareBinaries } from "./binaries.js";
import { ensureCluster } from "./cluster.js";
import { openDataFolder } from "./data-folder.js";
import { ensureDatabase } from "./ensure-database.js";
import { stopLeftoverServer } from "./leftover-server.js";
import { launchServer, type ServerEnd } from "./server.js";
import { SUPERUSER } from "./server-settings.js";

export interface PostgresOptions {
  /**
   * The folder that holds everything: the data in pgdata/, the password, the lock. Absent, empty, or made
   * by an earlier start; anything else is refused. Nothing else may be put there before the first start.
   */
  readonly dataDir: string;
  /** 1..65535 on 127.0.0.1; 0 or absent picks a free one at each start. */
  readonly port?: number;
  /** Gets the server's log and the launcher's own words, line by line. */
  readonly log?: (line: string) => void;
  /** Made if missing. 1..63 of a-z, 0-9 and _, not starting with a digit. Default "fulcrum". */
  readonly database?: string;
  /** 1..100 printable ASCII characters for a new folder; absent makes a random one, kept in the folder, mode 600. */
  readonly password?: string;
  /** More server settings, such as `fsync: "off"` for tests; where it listens and how it logs stay ours. */
  readonly settings?: Readonly<Record<string, string>>;
  /** How long the server may take to accept connections, crash recovery included. Default 30,000 ms. */
  readonly readyWithinMs?: number;
}

export interface RunningPostgres {
  /** With user, password and database. */
  readonly url: string;
  readonly port: number;
  /** Absolute, symbolic links resolved. */
  readonly dataDir: string;
  /** Of the server itself (its postmaster). */
  readonly pid: number;
  /** Resolves when the server has ended, asked or not; never rejects. */
  readonly exited: Promise<ServerEnd>;
  /**
   * Fast shutdown, within 15 s, else immediate shutdown; resolves when the server has ended. May be called
   * again. Drain the application first: open connections are cut.
   */
  stop(): Promise<void>;
}

/**
 * Starts the bundled Postgres in a folder, making the cluster and the database where they are missing.
 * The server cannot outlive this process, kill -9 included, and Ctrl-C does not reach it.
 * @throws Error that names the option and its bound, or the folder, port or user and what to do.
 */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const { dataDir, port, database, password } = checked(options);
  const log = options.log ?? (() => undefined);
  const folder = await openDataFolder(dataDir);
  try {
    const { runAs, cluster } = folder;
    const binaries = await prepareBinaries({ runAs, copyParent: folder.dataDir, log });
    const secret = await ensureCluster(folder, binaries, { password, log });
    await stopLeftoverServer(cluster, log);
    const server = await launchServer({
      postgres: binaries.postgres,
      cluster,
      runAs,
      port,
      settings: options.settings ?? {},
      readyWithinMs: options.readyWithinMs ?? 30_000,
      log,
    });
    const base = `postgres://${SUPERUSER}:${encodeURIComponent(secret)}@127.0.0.1:${server.port}`;
    try {
      await ensureDatabase(`${base}/postgres`, database);
    } catch (error) {
      await server.stop();
      throw error;
    }
    const exited = server.exited.then(async (end) => {
      // A lock that cannot be removed is taken over by the next start, once this process has ended.
      await folder.lock.release().catch((error: Error) => log(error.message));
      return end;
    });
    return {
      url: `${base}/${database}`,
      port: server.port,
      dataDir: folder.dataDir,
      pid: server.pid,
      exited,
      stop: async () => {
        await server.stop();
        await exited;
      },
    };
  } catch (error) {
    await folder.lock.release();
    throw error;
  }
}

function checked(options: PostgresOptions) {
  const { dataDir, port = 0, database = "fulcrum", password } = options;
  if (dataDir === "" || dataDir.includes("\0")) throw new Error("dataDir must be the path of a folder");
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error(`port must be a whole number from 0 to 65535, where 0 picks a free one; got ${port}`);
  }
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(database)) {
    throw new Error(
      `database must be 1 to 63 of a-z, 0-9 and _, not starting with a digit; got ${JSON.stringify(database)}`,
    );
  }
  if (password !== undefined && !/^[\x21-\x7e]{1,100}$/.test(password)) {
    throw new Error("password must be 1 to 100 printable ASCII characters without blanks");
  }
  return { dataDir, port, database, password };
}
