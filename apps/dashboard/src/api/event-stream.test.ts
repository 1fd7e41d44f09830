import { expect, test } from "vitest";
import { EventParser, retryAfterMs } from "./event-stream.js";

const STREAM =
  ': hello\n\nid: 7\nevent: window\ndata: {"a":1}\n\nevent: reset\ndata: \n\nid: 8\r\ndata: x\r\ndata: y\r\n\r\n';

test("events come out whole wherever the connection cuts them", () => {
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    const parser = new EventParser();
    const events = [...parser.take(STREAM.slice(0, cut)), ...parser.take(STREAM.slice(cut))];
    expect(events.filter(({ event }) => event !== "message")).toEqual([
      { event: "window", id: "7", data: '{"a":1}' },
      { event: "reset", id: null, data: "" },
    ]);
    expect(events.at(-1)).toEqual({ event: "message", id: "8", data: "x\ny" });
  }
});

test("a line that never ends is refused", () => {
  expect(() => new EventParser().take("x".repeat(5_000_000))).toThrow("larger than 4 MB");
});

test("waits between tries grow, spread and have an end", () => {
  expect([1, 2, 3, 4].map((failures) => retryAfterMs(failures, 1))).toEqual([1_000, 2_000, 4_000, 8_000]);
  expect(retryAfterMs(30, 1)).toBe(15_000);
  expect(retryAfterMs(1, 0)).toBe(500);
});
