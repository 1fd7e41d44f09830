/**
 * Each page, light, dark and narrow: nothing may stick out sideways, and everything that can be used has a name. With
 * UPDATE_SCREENSHOTS=1 the pictures are written to docs/screenshots.
 */
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, test, vi } from "vitest";

import { ADMIN_KEY } from "../support/controller.js";
import { useControllers } from "../support/use-controllers.js";
import { chromiumPath, useBrowser } from "./support/browser.js";
import { type Scene, stageFleet } from "./support/scene.js";

const FOLDER = fileURLToPath(new URL("../../docs/screenshots/", import.meta.url));
const WRITES = process.env["UPDATE_SCREENSHOTS"] === "1";

/** Path, and what is there once the page is. */
const PAGES: readonly (readonly [name: string, path: string, ready: string])[] = [
  ["fleet", "/", ".fleet-table tbody tr"],
  ["instance", "/instances/chat-b", "a.mark.of-decision"],
  ["decision", "DECISION", ".heat-cell"],
  ["classes", "CLASSES", ".heat-cell"],
  ["pools", "/pools", "tbody tr"],
  ["pool", "/pools/chat", "form[aria-label=Settings]"],
  ["approvals", "/approvals", "article.proposal"],
  ["alerts", "/alerts", "section[aria-label=Webhooks] tbody tr"],
  ["audit", "/audit", ".audit tbody tr"],
  ["agents", "/agents", "tbody tr"],
  ["keys", "/keys", "tbody tr"],
  ["settings", "/settings", "select"],
];

const LOOKS = [
  ["light", { width: 1280, theme: "light" }],
  ["dark", { width: 1280, theme: "dark" }],
  ["narrow", { width: 390, theme: "light" }],
] as const;

/** Runs in the page: what a person could use but not hear named. */
const NAMELESS = `[...document.querySelectorAll("button, a[href], input, select")]
  .filter((element) => {
    const labels = [...(element.labels ?? [])].map((label) => label.textContent);
    const words = [element.getAttribute("aria-label"), element.textContent, ...labels];
    return words.every((one) => (one ?? "").trim() === "");
  })
  .map((element) => element.outerHTML.slice(0, 200))`;

describe.skipIf(chromiumPath === null)("pages as they look", () => {
  const fixture = useControllers();
  const browser = useBrowser();
  const decisions: Record<string, string> = {};
  let scene: Scene;
  beforeAll(async () => {
    scene = await stageFleet(fixture.controller);
    const decided = async (query: Record<string, string>) =>
      (await fixture.controller.ask("listDecisions", { query })).items;
    decisions["DECISION"] = `/decisions/${(await decided({ instance: "chat-b", kind: "move" })).at(-1)!.id}`;
    decisions["CLASSES"] = `/decisions/${(await decided({ instance: "mixed-a" }))[0]!.id}`;
    await fixture.controller.ask("createPause", {
      body: { pool: "nightly", reason: "storage move until six", ttlMs: 7_200_000 },
    });
    await fixture.controller.ask("createWebhook", {
      body: { url: "http://127.0.0.1:9/on-call", events: ["alert.firing", "alert.resolved"] },
    });
    // The sweep makes them, and the pictures show them.
    const firing = () => fixture.controller.ask("listAlerts", { query: { state: "firing" } });
    await vi.waitUntil(async () => (await firing()).items.length > 0, { timeout: 60_000, interval: 250 });
    if (WRITES) mkdirSync(FOLDER, { recursive: true });
  }, 120_000);

  async function check(page: Page, name: string, look: string): Promise<void> {
    const needed = await page.evaluate<number>("document.documentElement.scrollWidth");
    expect(needed, `${name} ${look} is as wide as its window`).toBeLessThanOrEqual(
      page.viewportSize()!.width,
    );
    expect(await page.evaluate(NAMELESS)).toEqual([]);
    expect(await page.getByRole("main").count()).toBe(1);
    const picture = await page.screenshot({
      fullPage: true,
      ...(WRITES ? { path: `${FOLDER}${name}-${look}.png` } : {}),
    });
    expect(picture.length).toBeGreaterThan(5_000);
  }

  test.each(LOOKS)("%s", async (look, { width, theme }) => {
    for (const [name, path, ready] of PAGES) {
      await scene.refresh();
      const url = `${fixture.controller.url}${decisions[path] ?? path}`;
      const page = await browser.open(url, { key: ADMIN_KEY, width, theme, height: width < 500 ? 844 : 800 });
      await page.locator(ready).first().waitFor();
      await page.getByText("live", { exact: true }).waitFor();
      await check(page, name, look);
      await page.context().close();
    }
  });
});
