/** What may stand at the other end of a scrape, as real servers; and that none of it makes a window or an end. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AgentMetrics } from "../agent-metrics.js";
import { systemClock } from "../clock.js";
import { Journal } from "../journal.js";
import { expositionOf } from "../testing/exposition-text.js";
import { Meter } from "../window/meter.js";
import { createReader } from "./create-reader.js";
import { type EngineReader, ReadError } from "./engine-reader.js";
import { MAX_BODY_BYTES } from "./page-reader.js";

type Serve = (response: ServerResponse, request: IncomingMessage) => void;

const PAGE = expositionOf({ arrivals: 3, finished: 2 });
const stops: (() => Promise<unknown>)[] = [];
let serve: Serve = (response) => response.end(PAGE);
let url = "";

beforeEach(async () => {
  url = await listening(createServer((request, response) => serve(response, request)));
});
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  stops.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`;
}

function readerOf(urls: readonly string[], timeoutMs = 5_000): EngineReader {
  return createReader({ reader: { type: "sglang", urls: [...urls], timeoutMs } }, systemClock);
}

async function failureOf(reader: EngineReader): Promise<string> {
  try {
    await reader.scrape(new AbortController().signal);
    return "none";
  } catch (error) {
    return error instanceof ReadError ? `${error.code}: ${error.message}` : `unnamed ${String(error)}`;
  }
}

/** Writes until the reader has had enough; a server does not run ahead of the one that reads. */
function pour(response: ServerResponse, chunk: string | Buffer, times: number): void {
  let left = times;
  const more = (): void => {
    while (left > 0 && !response.destroyed) {
      left -= 1;
      if (!response.write(chunk)) {
        response.once("drain", more);
        return;
      }
    }
    response.end();
  };
  more();
}

const plain = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
const SERIES = (i: number): string => `sglang:num_running_reqs{a="${i}"} 1\n`;
const MANY_SERIES = Array.from({ length: 250_000 }, (_, i) => SERIES(i)).join("");

test.each<[string, Serve, RegExp]>([
  ["garbage", (response) => response.end("<html>}{ not metrics\n"), /^malformed: line 1: no metric name/],
  ["binary garbage", (response) => response.end(Buffer.from([0, 255, 254, 10, 7])), /^malformed: line 1/],
  ["half an exposition", (response) => response.end(PAGE.slice(0, PAGE.length / 2)), /^malformed: /],
  [
    "a connection that breaks half way",
    (response) => {
      response.writeHead(200, { ...plain, "content-length": String(PAGE.length) });
      response.write(PAGE.slice(0, 100), () => response.destroy());
    },
    /^unreachable: /,
  ],
  [
    "OpenMetrics without its end",
    (response) =>
      response.writeHead(200, { "content-type": "application/openmetrics-text; version=1.0.0" }).end(PAGE),
    /^malformed: .*no # EOF/,
  ],
  [
    "10 MB of one label",
    (response) => response.end(`sglang:num_running_reqs{a="${"x".repeat(9_900_000)}"} 1\n`),
    /^malformed: line 1: longer than 65536 characters/,
  ],
  ["10 MB of label sets", (response) => response.end(MANY_SERIES), /^malformed: more than 200000 samples/],
  ["more than the limit", (response) => pour(response, SERIES(1).repeat(2_000), 10_000), /^too_large: /],
  [
    "a gzip that becomes a gigabyte",
    (response) => {
      response.writeHead(200, { ...plain, "content-encoding": "gzip" });
      const part = gzipSync(Buffer.alloc(10_000_000, "#"));
      pour(response, part, 100);
    },
    /^too_large: .* more than 10000000 bytes/,
  ],
  [
    "something that says it is gzip",
    (response) => response.writeHead(200, { ...plain, "content-encoding": "gzip" }).end(PAGE),
    /^unreachable: /,
  ],
  [
    "an HTML page",
    (response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>hello"),
    /^wrong_content_type: .* answered text\/html, must be text\/plain/,
  ],
  [
    "the protobuf format",
    (response) =>
      response
        .writeHead(200, { "content-type": "application/vnd.google.protobuf; encoding=delimited" })
        .end("x"),
    /^wrong_content_type: /,
  ],
  [
    "a redirect",
    (response) => response.writeHead(302, { location: "/metrics/" }).end(),
    /^http_status: .* answered 302 and points to \/metrics\/: give that URL/,
  ],
  ["an error", (response) => response.writeHead(500).end("no"), /^http_status: .* answered 500/],
  ["nothing", (response) => response.end(), /^missing_metric: sglang:num_running_reqs/],
])("%s is a failure with a name", async (_what, answer, message) => {
  serve = answer;
  expect(await failureOf(readerOf([url]))).toMatch(message);
});

test.each<[string, Serve]>([
  ["never answers", () => undefined],
  ["answers and then says nothing", (response) => response.writeHead(200, plain).write("a 1\n")],
  [
    "drips one byte after the other",
    (response) => {
      response.writeHead(200, plain);
      const drip = setInterval(() => response.write("#"), 10);
      response.on("close", () => clearInterval(drip));
    },
  ],
])("a server that %s costs one time limit, however much it has sent", async (_what, answer) => {
  serve = answer;
  expect(await failureOf(readerOf([url], 150))).toMatch(/^timeout: .* longer than 150 ms/);
});

test("a port where nobody listens, or where somebody speaks no HTTP, is unreachable", async () => {
  const sockets = new Set<Socket>();
  const tcp = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.end("+PONG\r\n");
  });
  await new Promise<void>((resolve) => {
    tcp.listen(0, "127.0.0.1", resolve);
  });
  const { port } = tcp.address() as AddressInfo;
  expect(await failureOf(readerOf([`http://127.0.0.1:${port}/metrics`]))).toMatch(/^unreachable: /);
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => tcp.close(resolve));
  await expect(new Promise((_, reject) => connect(port, "127.0.0.1").on("error", reject))).rejects.toThrow();
  expect(await failureOf(readerOf([`http://127.0.0.1:${port}/metrics`]))).toMatch(/^unreachable: /);
});

test("gzip and OpenMetrics are read; the plain format is asked for first", async () => {
  let accepted: string | undefined;
  serve = (response, request) => {
    accepted = request.headers.accept;
    response.writeHead(200, {
      "content-type": "application/openmetrics-text; version=1.0.0; charset=utf-8",
      "content-encoding": "gzip",
    });
    response.end(gzipSync(`${PAGE}# EOF\n`));
  };
  const { counters } = await readerOf([url]).scrape(new AbortController().signal);
  expect(counters.finished).toBe(2);
  expect(accepted).toMatch(/^text\/plain;version=0\.0\.4, application\/openmetrics-text/);
});

test("an endpoint per rank adds up, and one that fails fails the scrape: the others alone would be less than before", async () => {
  let other: Serve = (response) => response.end(expositionOf({ arrivals: 7, finished: 5 }));
  const second = await listening(createServer((request, response) => other(response, request)));
  const reader = readerOf([url, second]);
  const { counters } = await reader.scrape(new AbortController().signal);
  expect(counters).toMatchObject({ finished: 7, arrivals: 10 });
  other = (response) => response.writeHead(503).end();
  expect(await failureOf(reader)).toMatch(/^http_status: /);
});

test("through all of it the sensor says that it is silent, no window is made up, memory stays, and it comes back", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fulcrum-reader-"));
  stops.push(() => rm(folder, { recursive: true }));
  const log = pino({ level: "silent" });
  const metrics = new AgentMetrics();
  const meter = new Meter({
    instance: "a",
    reader: readerOf([url]),
    journal: await Journal.open(folder, "a", log),
    log,
    metrics,
    look: () => Promise.resolve(null),
    onReset: () => undefined,
  });
  const measure = (): Promise<void> => meter.measure(new AbortController().signal);
  await measure();
  serve = (response) => pour(response, SERIES(1).repeat(2_000), 10_000);
  await measure();
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 20; i += 1) {
    serve =
      i % 2 === 0 ? (response) => response.end(MANY_SERIES) : (response) => pour(response, PAGE, 100_000);
    await measure();
  }
  expect(meter.failing).toBe(true);
  expect(meter.windows.size).toBe(0);
  expect(metrics.render()).toMatch(/scrape_failures_total\{.*code="too_large".*\} 11/);
  // 20 answers of 10 MB, parsed or dropped: kept, they would be gigabytes.
  expect(process.memoryUsage().rss - before).toBeLessThan(30 * MAX_BODY_BYTES);
  serve = (response) => response.end(expositionOf({ arrivals: 9, finished: 8 }));
  await measure();
  expect(meter.failing).toBe(false);
  // The time without a scrape is inside: what the engine counted meanwhile is not lost.
  expect(meter.windows.head()).toMatchObject([{ finished: 6, arrivals: 6 }]);
});
