import { expect, test } from "vitest";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { poolBody, registrationEntry, SLO } from "../support/wire.js";

const fixture = useControllers();

/** vLLM's TTFT bounds around 300 ms, and its TPOT bounds. */
const BUCKETS = { ttftMs: [100, 250, 500], tpotMs: [50, 100, 200] };

test("an SLO inside a bucket: said at registration, with its error once windows came, and gone when the SLO is moved", async () => {
  const { controller } = fixture;
  await controller.ask("createPool", { body: poolBody("buckets") });
  const agent = new TestAgent(controller, "buckets-agent");
  const entry = registrationEntry("buckets-0", "buckets", { buckets: BUCKETS });
  const capabilities = { ...entry.capabilities, engine: "vllm" as const };
  const answer = await agent.register({ ...entry, capabilities });
  expect(answer.instances[0]?.warnings).toEqual([
    "The TTFT bound of 300 ms lies inside the engine's bucket 250-500 ms: how much is not known yet. " +
      "vLLM has no option for its buckets: move the SLO to 250 or 500 ms.",
  ]);
  // Before a window nothing is known of what it shows.
  const instance = () => controller.ask("getInstance", { params: { instance: "buckets-0" } });
  expect(await instance()).toMatchObject({ bucketWarnings: [], conditions: ["NoSignal"] });

  const window = {
    ttft: { boundsMs: BUCKETS.ttftMs, counts: [2, 4, 3, 1], sumMs: 2_000 },
    tpot: { boundsMs: BUCKETS.tpotMs, counts: [10, 0, 0, 0], sumMs: 300 },
  };
  await agent.report("buckets-0", { window });
  await agent.report("buckets-0", { window });
  const told = await instance();
  expect(told.conditions).toEqual(["TtftBoundInsideBucket"]);
  expect(told.bucketWarnings).toEqual([expect.stringContaining("30 % of 20 samples fell into that bucket")]);

  await controller.ask("putSlo", {
    params: { pool: "buckets" },
    headers: { "if-match": '"1"' },
    body: { ...SLO, ttft: { percentile: 0.9, boundMs: 250 } },
  });
  expect(await instance()).toMatchObject({ bucketWarnings: [], conditions: [] });
});

test("an agent that does not tell its buckets is answered as before", async () => {
  await fixture.controller.ask("createPool", { body: poolBody("older") });
  const answer = await new TestAgent(fixture.controller, "older-agent").register(
    registrationEntry("older-0", "older"),
  );
  expect(answer.instances[0]).not.toHaveProperty("warnings");
});
