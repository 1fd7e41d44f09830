import { spawn } from "node:child_process";

/** Runs a program in our place: same streams, our signals handed on. Returns its exit code, 1 after a signal. */
export function runInForeground(script: string, args: readonly string[]): Promise<number> {
  // With --exit-with-parent and a pipe of ours as standard input it ends with us, kill -9 included.
  const child = spawn(process.execPath, [script, ...args, "--exit-with-parent"], {
    stdio: ["pipe", "inherit", "inherit"],
    detached: true,
  });
  child.stdin.on("error", () => undefined);
  const handOn = (signal: NodeJS.Signals) => child.kill(signal);
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, handOn);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => {
      for (const signal of signals) process.off(signal, handOn);
      resolve(code ?? 1);
    });
  });
}
