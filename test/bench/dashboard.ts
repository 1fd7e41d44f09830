/**
 * `npm run bench -- dashboard`: the fleet page in a real Chromium with 1,000 instances at one window a second: frames per
 * second while it scrolls down and up, the longest frame, the memory of the tab. Everything runs on this machine, the
 * picture without a GPU. Prints, judges nothing. `--instances N`, `--seconds N` of scrolling.
 */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Browser, chromium, type Page } from "playwright-core";
import { Client } from "./fleet.js";
import { register, Reports } from "./fleet-stream.js";
import { withOwnController } from "./own-controller.js";
import type { ServerProcess } from "./server-process.js";

/** Long enough for sparklines to fill. */
const WARM_S = 30;
const FRESH_MS = 5_000;

export async function dashboardBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: "string" },
      instances: { type: "string", default: "1000" },
      seconds: { type: "string", default: "20" },
      chromium: { type: "string", default: "/usr/bin/chromium" },
    },
  });
  const instances = Number(values.instances);
  const seconds = Number(values.seconds);
  if (!(instances >= 1 && instances <= 5_000)) throw new Error("--instances must be 1..5000");
  if (!(seconds >= 1 && seconds <= 600)) throw new Error("--seconds must be 1..600");
  const browser = await chromium.launch({
    executablePath: values.chromium,
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
  try {
    const figures = await withOwnController(({ server, key }) =>
      measure(server, browser, { key, instances, seconds }),
    );
    if (values.json) await writeFile(values.json, `${JSON.stringify(figures, null, 2)}\n`);
  } finally {
    await browser.close();
  }
}

interface Setting {
  readonly key: string;
  readonly instances: number;
  readonly seconds: number;
}

async function measure(server: ServerProcess, browser: Browser, { key, instances, seconds }: Setting) {
  const admin = new Client(server.url, key, 4);
  const { key: agentKey } = await admin.json<{ key: string }>("POST", "/v1/keys", {
    name: "bench",
    role: "agent",
  });
  const agents = await register(admin, new Client(server.url, agentKey, 8), instances);
  const reporting = new Reports(server, agentKey, agents);
  const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
  const openedAt = performance.now();
  await page.goto(`${server.url}/#key=${key}`);
  await page.locator(".fleet-table tbody tr").first().waitFor({ timeout: 60_000 });
  const openMs = performance.now() - openedAt;
  console.log(
    `\n${instances} instances, one window a second each; the first row stood after ${openMs.toFixed(0)} ms`,
  );
  await pause(WARM_S * 1_000);
  const rows = await page.locator(".fleet-table tbody tr").count();
  const still = await frames(page, 0, seconds);
  say("standing still", still);
  const scrolling = await frames(page, 24, seconds);
  say("scrolling down", scrolling);
  const back = await frames(page, -24, seconds);
  say("scrolling up", back);
  const memory = await memoryOf(browser, page);
  const fresh = await freshInstances(admin);
  console.log(
    `  ${rows} rows in the document; heap ${memory.heapMb.toFixed(0)} MB after a collection, the tab's process ${memory.tabMb?.toFixed(0) ?? "?"} MB (first targets: 50 frames/s, 300 MB)`,
  );
  console.log(
    `  ${fresh} of ${instances} instances had a window in the ${FRESH_MS / 1_000} s before the end`,
  );
  await reporting.stop();
  admin.close();
  return { instances, openMs, rows, still, scrolling, back, memory, fresh };
}

/** Instances that were heard of just now: that the load came through. */
async function freshInstances(admin: Client): Promise<number> {
  const fleet = await admin.json<{ items: { instance: { lastWindowAt: string | null } }[] }>(
    "GET",
    "/v1/fleet?limit=1000",
  );
  const sinceMs = Date.now() - FRESH_MS;
  return fleet.items.filter(({ instance }) => Date.parse(instance.lastWindowAt ?? "") > sinceMs).length;
}

interface Frames {
  readonly perS: number;
  readonly p99Ms: number;
  readonly longestMs: number;
  /** How far the list went in all, px. */
  readonly scrolledPx: number;
}

/**
 * Scrolls so many pixels each frame, up to an end and back, and takes the time between frames: those that the page's main
 * thread makes, and so at most those that are seen. A wheel or a finger moves what is painted without the main thread.
 */
async function frames(page: Page, stepPx: number, seconds: number): Promise<Frames> {
  const { deltas, scrolledPx } = await page.evaluate<{
    deltas: number[];
    scrolledPx: number;
  }>(`new Promise((resolve) => {
    const list = document.querySelector(".scroller");
    const deltas = [];
    const endAt = performance.now() + ${seconds * 1_000};
    let last = null;
    let step = ${stepPx};
    let scrolledPx = 0;
    let topPx = list.scrollTop;
    const frame = (at) => {
      if (last !== null) deltas.push(at - last);
      last = at;
      if (list.scrollTop + list.clientHeight >= list.scrollHeight - 1) step = -Math.abs(step);
      else if (list.scrollTop <= 0) step = Math.abs(step);
      scrolledPx += Math.abs(list.scrollTop - topPx);
      topPx = list.scrollTop;
      list.scrollTop = topPx + step;
      if (at < endAt) requestAnimationFrame(frame);
      else resolve({ deltas, scrolledPx });
    };
    requestAnimationFrame(frame);
  })`);
  const sorted = [...deltas].sort((a, b) => a - b);
  const total = deltas.reduce((sum, one) => sum + one, 0);
  return {
    perS: (deltas.length / total) * 1_000,
    p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN,
    longestMs: sorted.at(-1) ?? Number.NaN,
    scrolledPx,
  };
}

/** `tabMb`: the renderer's proportional share of memory; null where the system does not tell. */
async function memoryOf(browser: Browser, page: Page): Promise<{ heapMb: number; tabMb: number | null }> {
  const tab = await page.context().newCDPSession(page);
  await tab.send("HeapProfiler.collectGarbage");
  const heap = await tab.send("Runtime.getHeapUsage");
  const whole = await browser.newBrowserCDPSession();
  const { processInfo } = await whole.send("SystemInfo.getProcessInfo");
  const renderers = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => pssMb(id));
  const known = renderers.filter((mb) => mb !== null);
  return { heapMb: heap.usedSize / 1_048_576, tabMb: known.length === 0 ? null : Math.max(...known) };
}

function pssMb(pid: number): number | null {
  try {
    const found = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
    return found ? Number(found[1]) / 1_024 : null;
  } catch {
    return null;
  }
}

function say(what: string, { perS, p99Ms, longestMs, scrolledPx }: Frames): void {
  console.log(
    `  ${what}: ${perS.toFixed(1)} frames/s, 99 of 100 within ${p99Ms.toFixed(0)} ms, the longest ${longestMs.toFixed(0)} ms; ${scrolledPx.toFixed(0)} px`,
  );
}
