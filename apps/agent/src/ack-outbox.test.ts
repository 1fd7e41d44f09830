import { expect, test } from "vitest";
import type { Ack } from "@fulcrum/contracts/agent-api.js";
import { AckOutbox, unfollowedFailures } from "./ack-outbox.js";

function ack(change: Partial<Ack> = {}): Ack {
  return {
    instance: "chat-0",
    rank: 0,
    generation: 5,
    attempt: 1,
    step: "preparing",
    atMs: 1,
    delivered: null,
    failure: null,
    ...change,
  };
}
const steps = (outbox: AckOutbox) => outbox.head().map(({ generation, step }) => `${generation} ${step}`);

test("keeps order, and of each instance only the newest generation", () => {
  const outbox = new AckOutbox();
  outbox.add([ack()]);
  outbox.add([ack({ step: "ready" })]);
  outbox.add([ack({ instance: "chat-1" })]);
  outbox.add([ack({ generation: 6 })]);
  expect(steps(outbox)).toEqual(["5 preparing", "6 preparing"]);
  expect(outbox.head()[0]?.instance).toBe("chat-1");
});

test("a step told again is sent once, and what was sent while more came stays away", () => {
  const outbox = new AckOutbox();
  outbox.add([ack({ step: "verified" })]);
  outbox.add([ack({ step: "verified" })]);
  const sent = outbox.head();
  expect(sent).toHaveLength(1);
  outbox.add([ack({ generation: 6 })]);
  outbox.remove(sent);
  expect(steps(outbox)).toEqual(["6 preparing"]);
});

test("finds the failures that nobody follows", () => {
  const failed = ack({ step: "failed" });
  const answer = (outcome: "applied" | "stale") => ({
    results: [{ instance: "chat-0", rank: 0, generation: 5, outcome }],
  });
  expect(unfollowedFailures([failed], answer("stale"))).toEqual([failed]);
  expect(unfollowedFailures([failed], answer("applied"))).toEqual([]);
  expect(unfollowedFailures([ack({ step: "verified" })], answer("stale"))).toEqual([]);
});
