import { runCli } from "./program.js";

// A reader that has seen enough (`fulcrum decisions list | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const { stdin, stdout, stderr, env } = process;
process.exitCode = await runCli(process.argv.slice(2), { stdin, stdout, stderr, env, now: Date.now });
