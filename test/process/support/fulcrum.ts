import { type End, FULCRUM, NodeProcess } from "./node-process.js";

export interface Run extends End {
  readonly out: string;
  readonly err: string;
}

/** Runs the installed command as a person would, to its end. */
export async function fulcrum(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Run> {
  const child = NodeProcess.launch({ script: FULCRUM, args, env });
  const end = await child.end(60_000);
  return { ...end, out: child.stdout, err: child.stderr };
}

/** The JSON that it printed. @throws Error with what it said when it failed */
export async function fulcrumJson<T>(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<T> {
  const { code, out, err } = await fulcrum([...args, "--json"], env);
  if (code !== 0) throw new Error(`fulcrum ${args.join(" ")} ended with ${code}: ${err}`);
  return JSON.parse(out) as T;
}
