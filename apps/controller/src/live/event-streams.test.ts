import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { sampleWindow, SAMPLE_SLO } from "@fulcrum/core/fixtures.js";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Metrics } from "../obs/metrics.js";
import { EventStreams } from "./event-streams.js";
import type { Advance, LiveFeed } from "./live-feed.js";

const POSITION = { atMs: 1_764_000_000_000, snapshot: "812:815:812" };

let tell: (advance: Advance) => void;
let streams: EventStreams;

beforeEach(() => {
  const feed = {
    onAdvance: (listener: typeof tell) => (tell = listener),
    join: async (_from: unknown, join: typeof tell) => join({ position: POSITION, changes: null }),
  } as unknown as LiveFeed;
  streams = new EventStreams(feed, new Metrics(), pino({ level: "silent" }));
});
afterEach(() => streams.beforeApplicationShutdown());

/** An answer whose reader takes nothing: what is written stays with it. */
async function open(instance: string | null = null): Promise<ServerResponse> {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  await streams.open({ instance, allowed: async () => true }, undefined, () => response);
  return response;
}

function tellWindows(count: number, instance = "chat-0"): void {
  const one = { instanceId: "x", instance, slo: SAMPLE_SLO, observed: null, window: sampleWindow() };
  const changes = {
    position: POSITION,
    windows: Array.from({ length: count }, () => one),
    facts: [],
    cut: false,
  };
  tell({ position: POSITION, changes });
}

test("a reader that does not read is cut off before much has piled up, and the others are not", async () => {
  const deaf = await open();
  const other = await open("chat-1");
  let told = 0;
  while (!deaf.destroyed && told < 100) {
    tellWindows(1_000);
    told += 1;
  }
  expect(deaf.destroyed).toBe(true);
  expect(told).toBeGreaterThan(5);
  expect(told).toBeLessThan(40);
  expect(other.destroyed).toBe(false);
  // What concerns other instances was not even written to it.
  expect(other.writableLength).toBeLessThan(1_000);
});

test("a replica serves so many streams and no more; one that ends makes room", async () => {
  const open256 = await Promise.all(Array.from({ length: 256 }, () => open()));
  await expect(open()).rejects.toMatchObject({ code: "unavailable" });
  open256[0]!.emit("close");
  await expect(open()).resolves.toBeInstanceOf(ServerResponse);
});

test("a controller that stops ends its streams and opens no other", async () => {
  const response = await open();
  streams.beforeApplicationShutdown();
  expect(response.writableEnded).toBe(true);
  await expect(open()).rejects.toMatchObject({ code: "unavailable" });
});
