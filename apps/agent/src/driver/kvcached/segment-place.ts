import { join } from "node:path";
import { DriverError } from "../../partition-driver.js";
import type { KvcachedConfig } from "./kvcached-config.js";
import { findSegments, type SegmentPlace } from "./segment.js";

/**
 * Where a segment of this name lies; of a pattern the only one that fits.
 * @throws DriverError `unreachable`, `ambiguous_segment`, or why the folder cannot be read
 */
export async function segmentPlace(
  name: string,
  { folder, lockTimeoutMs }: Pick<KvcachedConfig, "folder" | "lockTimeoutMs">,
): Promise<SegmentPlace> {
  if (!name.endsWith("*")) return { path: join(folder, name), lockTimeoutMs };
  const prefix = name.slice(0, -1);
  const found = (await findSegments(folder, prefix, lockTimeoutMs)).filter(({ fault }) => fault === null);
  const [only, other] = found;
  if (!only) {
    throw new DriverError("unreachable", `no kvcached segment in ${folder} begins with ${prefix}`, true);
  }
  if (!other) return { path: join(folder, only.name), lockTimeoutMs };
  const names = found.map((each) => each.name).join(", ");
  throw new DriverError(
    "ambiguous_segment",
    `${name} fits ${names}: set KVCACHED_IPC_NAME and name it`,
    false,
  );
}
