import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SimulatorInputError } from "@fulcrum/simulator/input-check.js";
import { parseProfile, type Profile } from "@fulcrum/simulator/profile.js";
import { usageError } from "../failure.js";

/** Profiles that come with the simulated engine: the same folder seen from src and from dist. */
const BUNDLED = fileURLToPath(new URL("../../../engine-sim/data", import.meta.url));
export const BUNDLED_PROFILE = "llama3-8b-a100";
const MAX_BYTES = 64 * 1024 * 1024;

/** Reads a profile by path, or a bundled one by name. Throws SimulatorInputError naming the file and the field. */
export function loadProfile(nameOrPath: string): Profile {
  const bundled = join(BUNDLED, `${nameOrPath}.json`);
  const path = /^[a-z0-9-]+$/.test(nameOrPath) && existsSync(bundled) ? bundled : nameOrPath;
  return parseProfile(parsed(readInput(path), nameOrPath), nameOrPath);
}

/** The text of a file that an option names. Throws a CliFailure that says which file and why not. */
export function readInput(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > MAX_BYTES) throw usageError(`${path} has ${size} bytes; at most ${MAX_BYTES} are read`);
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    throw usageError(`${path} cannot be read: ${code === "ENOENT" ? "there is no such file" : code}`);
  }
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SimulatorInputError(`${where}: is no JSON: ${(error as Error).message}`, { cause: error });
  }
}
