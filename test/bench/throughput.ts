import { Client, type FakeAgent } from "./fleet.js";
import type { ServerProcess } from "./server-process.js";

export interface Throughput {
  readonly reportsPerS: number;
  /** CPU of the server process alone; null where it cannot be read. */
  readonly cpuUsPerReport: number | null;
}

/** Reports per second with one report in flight per agent. Throws on the first answer that is not 200. */
export async function measureThroughput(
  server: ServerProcess,
  key: string,
  agents: readonly FakeAgent[],
  seconds: number,
): Promise<Throughput> {
  const client = new Client(server.url, key, agents.length);
  let reports = 0;
  const endsAt = performance.now() + seconds * 1_000;
  const cpuBefore = server.cpuS();
  const startedAt = performance.now();
  await Promise.all(
    agents.map(async (agent) => {
      while (performance.now() < endsAt) {
        const answer = await client.send("POST", "/agent/v1/report", agent.report());
        if (answer.status !== 200) throw new Error(`report refused: ${answer.status} ${answer.text}`);
        reports += 1;
      }
    }),
  );
  const elapsedS = (performance.now() - startedAt) / 1_000;
  const cpuAfter = server.cpuS();
  client.close();
  return {
    reportsPerS: reports / elapsedS,
    cpuUsPerReport: cpuBefore === null || cpuAfter === null ? null : ((cpuAfter - cpuBefore) * 1e6) / reports,
  };
}
