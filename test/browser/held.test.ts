/** What the page says while instances are held, and what an operator edits and takes back just then. */
import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";

import { ADMIN_KEY } from "../support/controller.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, splitAt, staticPool } from "../support/wire.js";
import { chromiumPath, useBrowser } from "./support/browser.js";

/** A pool's instance is decided on when a test says so. */
const NEVER_MS = 600_000;
const MINUTE_MS = 60_000;

describe.skipIf(chromiumPath === null)("the page while instances are held", () => {
  const fixture = useControllers();
  const browser = useBrowser();

  const open = (path: string): Promise<Page> =>
    browser.open(`${fixture.controller.url}${path}`, { key: ADMIN_KEY });

  async function anInstance(
    pool: string,
    target: number,
    mode: "observe" | "enforce" = "enforce",
  ): Promise<TestAgent> {
    const body = staticPool(pool, splitAt(target), { mode, controlIntervalMs: NEVER_MS });
    await fixture.controller.ask("createPool", { body });
    const agent = new TestAgent(fixture.controller, `${pool}-agent`);
    await agent.register(registrationEntry(`${pool}-i`, pool));
    return agent;
  }

  test("in a pause the preview looks past the hold, and a static target is edited where it stands", async () => {
    const { controller } = fixture;
    const agent = await anInstance("desk", 50);
    await agent.report("desk-i");
    await controller.ask("createPause", { body: { pool: "desk", reason: "network change" } });
    const page = await open("/pools/desk");
    const form = page.getByRole("form", { name: "Settings" });
    expect(await form.getByLabel("Target: prefill cap").inputValue()).toBe("50");
    await form.getByLabel("Target: prefill cap").fill("60");
    await form.getByLabel("Target: decode cap").fill("40");
    await form.getByRole("button", { name: /Preview/ }).click();
    const preview = form.getByRole("region", { name: "Preview" });
    await preview.getByText("1 once it is not held any more", { exact: false }).waitFor();
    const row = await preview.getByRole("row", { name: /desk-i/ }).innerText();
    expect(row).toMatch(/held: Paused for the pool by .*: network change/);
    expect(row).toContain("without the hold: move to 60/40");
    await form.getByRole("button", { name: "Save" }).click();
    await form.getByText("Saved.").waitFor();
    const { policy } = await controller.ask("getPool", { params: { pool: "desk" } });
    expect(policy).toEqual({ name: "static", params: { allocation: splitAt(60) } });
    await form.getByLabel("Policy").selectOption("search");
    await expect.poll(() => form.getByLabel("Target: prefill cap").count()).toBe(0);
  });

  test("look back and frozen go into the preview; what bears on no decision says so", async () => {
    const agent = await anInstance("look", 70, "observe");
    await agent.report("look-i");
    const page = await open("/pools/look");
    const form = page.getByRole("form", { name: "Settings" });
    const none = form.getByText("These changes do not change what is decided now.");
    await form.getByLabel("Error budget over").fill("7");
    await none.waitFor();
    await form.getByLabel("Look back").fill("60000");
    await form.getByRole("button", { name: /Preview/ }).waitFor();
    expect(await none.count()).toBe(0);
    await form.getByLabel("Frozen").selectOption("true");
    await form.getByRole("button", { name: /Preview/ }).click();
    const preview = form.getByRole("region", { name: "Preview" });
    await preview.getByText("1 would be decided otherwise now", { exact: false }).waitFor();
    expect(await preview.innerText()).toContain("held: A change freeze is in force.");
  });

  test("after a first move the roll back offers the original", async () => {
    const { controller } = fixture;
    const agent = await anInstance("first", 60);
    await evaluate(controller, "first-i", Date.now());
    await agent.carryOut("first-i", 1, { delivered: splitAt(60) });
    const page = await open("/instances/first-i");
    await page.getByRole("button", { name: "Roll back" }).click();
    const dialog = page.getByRole("dialog");
    await expect
      .poll(() => dialog.getByLabel("Back to generation").innerText())
      .toMatch(/0: 50\/50 \(as it was found/);
    await dialog.getByLabel("Reason", { exact: true }).fill("as before");
    await dialog.getByRole("button", { name: "Roll back" }).click();
    await page.getByText("“as before”").first().waitFor();
    const { desired } = await controller.ask("getInstance", { params: { instance: "first-i" } });
    expect(desired).toEqual({ ...splitAt(50), generation: 2 });
  });

  test("a freeze window says when this time of it ends", async () => {
    await anInstance("calendar", 50);
    const from = new Date(Math.floor(Date.now() / MINUTE_MS - 1) * MINUTE_MS);
    await fixture.controller.ask("createFreezeWindow", {
      body: {
        pool: "calendar",
        cron: `${from.getUTCMinutes()} ${from.getUTCHours()} * * *`,
        timeZone: "UTC",
        durationMs: 30 * MINUTE_MS,
        reason: "backups",
      },
    });
    const end = new Date(from.getTime() + 30 * MINUTE_MS).toISOString().slice(11, 16);
    const page = await open("/pools/calendar");
    const held = page.getByRole("list", { name: "What is held" });
    await held.getByText("frozen by the calendar").waitFor();
    expect(await held.innerText()).toMatch(new RegExp(`ends in 2\\d min, at ${end}`));
    expect(await held.innerText()).not.toContain("until it is ended");
  });

  test("an override that was not reached is told on the fleet and on the instance, with what ended it", async () => {
    const { controller } = fixture;
    const agent = await anInstance("missed", 50);
    await agent.report("missed-i");
    await controller.ask("overrideInstance", {
      params: { instance: "missed-i" },
      body: { allocation: splitAt(30), ttlMs: 10 * MINUTE_MS, reason: "by hand" },
    });
    await agent.ack("missed-i", 1, "failed", {
      failure: { code: "driver_refused", message: "no room for the workers", retryable: false },
    });
    for (const path of ["/", "/instances/missed-i"]) {
      const page = await open(path);
      const told = page.getByRole("list", { name: "What was not reached" });
      await told.getByText("was not set to", { exact: false }).waitFor();
      expect(await told.innerText()).toMatch(
        /missed-i was not set to 30\/70 .*by hand.*: not reached: .*no room/,
      );
      const held = page.getByRole("list", { name: "What is held" });
      expect(await held.getByText("missed-i").count()).toBe(0);
    }
  });

  test("a hold is marked on the chart for as long as it was in force", async () => {
    const { controller } = fixture;
    const agent = await anInstance("band", 50);
    await agent.report("band-i");
    const pin = await controller.ask("pinInstance", {
      params: { instance: "band-i" },
      body: { reason: "firmware" },
    });
    expect(pin.pinned).toBe(true);
    const back = (minutes: number) =>
      controller.source.query(
        "UPDATE holds SET starts_at = starts_at - $1::interval WHERE reason = 'firmware'",
        [`${minutes} min`],
      );
    await back(5);
    const page = await open("/instances/band-i");
    const band = page.locator(".mark-band");
    await band.waitFor({ state: "attached" });
    expect(await band.count()).toBe(1);
    await page.getByRole("img", { name: /^since .* hold: pin by .*: firmware/ }).waitFor();
    await controller.ask("unpinInstance", { params: { instance: "band-i" } });
    await page.getByRole("img", { name: / to .* hold: pin by .*: firmware; ended: unpinned/ }).waitFor();
    // Begun before the range: it is marked none the less.
    await back(60);
    await page.reload();
    await page.getByRole("img", { name: / to .* hold: pin by .*: firmware/ }).waitFor();
  });
});
