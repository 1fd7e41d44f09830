/** The role that initdb makes; it owns everything in this cluster. */
export const SUPERUSER = "fulcrum";

/** Settings for a small machine, given on the command line, so that they win over the data folder's files. */
const DEFAULTS: Readonly<Record<string, string>> = {
  max_connections: "100",
  shared_buffers: "96MB",
  max_wal_size: "256MB",
  fsync: "on",
  log_line_prefix: "",
  timezone: "UTC",
};

/**
 * Settings that nobody changes. Only 127.0.0.1 is listened on, and there is no Unix socket: nothing here
 * would use it, each kill -9 would leave one behind, and a deep data folder exceeds its 103 characters.
 * The launcher reads "ready to accept connections" from standard error, so messages are in English there.
 */
const FIXED: Readonly<Record<string, string>> = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  log_destination: "stderr",
  logging_collector: "off",
  lc_messages: "C",
};

/** Postgres' arguments. `extra` wins over the defaults above, not over what is fixed. */
export function serverArguments(
  cluster: string,
  port: number,
  extra: Readonly<Record<string, string>>,
): string[] {
  const settings = { ...DEFAULTS, ...extra, ...FIXED, port: String(port) };
  return ["-D", cluster, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])];
}

/**
 * A clean environment: PGOPTIONS, PGDATA and their like in ours would change what Postgres does.
 * PG_GRANDPARENT_PID is pg_ctl's way to say which process numbers in a stale postmaster.pid are not
 * another server: ours, when numbers are given out anew in a container.
 */
export function serverEnvironment(): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin",
    LC_ALL: "C",
    PG_GRANDPARENT_PID: String(process.pid),
  };
}
