import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** Null when there is no Chromium on the PATH; an error then if REQUIRE_BROWSER=1. */
function findChromium(): string | null {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const found = NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) =>
    existsSync(path),
  );
  if (found === undefined && process.env["REQUIRE_BROWSER"] === "1")
    throw new Error("REQUIRE_BROWSER=1, but there is no Chromium on the PATH");
  return found ?? null;
}

export const chromiumPath: string | null = findChromium();
if (chromiumPath === null)
  process.stderr.write("Chromium is not on the PATH: what the page does in a browser is not tested here.\n");

const INDEX = fileURLToPath(new URL("../../../apps/dashboard/dist/page/index.html", import.meta.url));

export interface OpenOptions {
  /** Null: not signed in. */
  readonly key: string | null;
  readonly width?: number;
  readonly height?: number;
  readonly theme?: "light" | "dark";
}

export interface TestBrowser {
  /** A page of its own session at that path, signed in with the key. */
  open(url: string, options: OpenOptions): Promise<Page>;
}

/**
 * One Chromium for the file, a new session for each page. After each test nothing may have failed in a page: an
 * exception that no test looked at, or something that the content security policy kept out, fails it.
 */
export function useBrowser(): TestBrowser {
  let browser: Browser | undefined;
  const contexts: BrowserContext[] = [];
  const failures: string[] = [];
  beforeAll(async () => {
    if (!existsSync(INDEX)) throw new Error("the page is not built; run: npm run build");
    browser = await chromium.launch({
      executablePath: chromiumPath!,
      // Root may not use the sandbox; what is opened here is our own page.
      args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
    });
  });
  afterEach(async () => {
    await Promise.all(contexts.splice(0).map((context) => context.close()));
    expect(failures.splice(0)).toEqual([]);
  });
  afterAll(async () => {
    await browser?.close();
  });
  return {
    async open(url, { key, width = 1280, height = 800, theme = "light" }) {
      const context = await browser!.newContext({
        viewport: { width, height },
        colorScheme: theme,
        reducedMotion: "reduce",
        timezoneId: "UTC",
      });
      contexts.push(context);
      const page = await context.newPage();
      page.setDefaultTimeout(15_000);
      page.on("pageerror", (error) => failures.push(String(error)));
      page.on("console", (message) => {
        if (/Content Security Policy|Warning:/.test(message.text())) failures.push(message.text());
      });
      await page.goto(key === null ? url : `${url}#key=${key}`);
      return page;
    },
  };
}
