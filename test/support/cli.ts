import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { runCli } from "@fulcrum/cli/program.js";
import { ADMIN_KEY, type TestController } from "./controller.js";

export interface CliRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `fulcrum …` in this process, against that controller, as its admin. */
export async function fulcrum(controller: TestController, ...args: readonly string[]): Promise<CliRun> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const said = Promise.all([text(stdout), text(stderr)]);
  const env = { FULCRUM_URL: controller.url, FULCRUM_KEY: ADMIN_KEY };
  const exitCode = await runCli(args, { stdin, stdout, stderr, env, now: () => Date.now() });
  stdout.end();
  stderr.end();
  const [out, err] = await said;
  return { exitCode, stdout: out, stderr: err };
}
