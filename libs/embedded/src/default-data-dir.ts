import { chmod, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";

/**
 * Where Fulcrum keeps its state on this machine when nothing else is said: /var/lib/fulcrum for root,
 * $XDG_STATE_HOME/fulcrum or ~/.local/state/fulcrum for a person, ~/Library/Application Support/fulcrum
 * for a person on macOS. Pure. A relative XDG_STATE_HOME is ignored, as the XDG base directory
 * specification asks.
 */
export function defaultDataDir(
  env: Readonly<Record<string, string | undefined>>,
  uid: number | undefined,
  homedir: string,
  platform: string = process.platform,
): string {
  if (uid === 0) return "/var/lib/fulcrum";
  if (platform === "darwin") return join(homedir, "Library", "Application Support", "fulcrum");
  const stateHome = env["XDG_STATE_HOME"];
  if (stateHome !== undefined && isAbsolute(stateHome)) return join(stateHome, "fulcrum");
  return join(homedir, ".local", "state", "fulcrum");
}

/**
 * Makes a fresh, empty folder below the system's temporary folder for the demo and for tests. Postgres
 * run on behalf of root can enter it. The caller removes it, after the server has stopped.
 */
export async function temporaryDataDir(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fulcrum-"));
  // Root's Postgres runs as another user, who must be able to pass through; mkdtemp makes mode 700.
  if (process.getuid?.() === 0) await chmod(folder, 0o711);
  return folder;
}
