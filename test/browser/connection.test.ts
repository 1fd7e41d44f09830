/** The page when the controller goes away and comes back, and when there is much of everything. */
import { describe, expect, test } from "vitest";

import { ADMIN_KEY } from "../support/controller.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { poolBody, registrationEntry } from "../support/wire.js";
import { chromiumPath, useBrowser } from "./support/browser.js";

const MANY = 240;
const name = (index: number) => `many-${String(index).padStart(3, "0")}`;

describe.skipIf(chromiumPath === null)("the page on a long list and a bad line", () => {
  const fixture = useControllers();
  const browser = useBrowser();

  test("a list of hundreds is some thirty rows in the document, and the last one can be scrolled to", async () => {
    await fixture.controller.ask("createPool", { body: poolBody("many") });
    const agent = new TestAgent(fixture.controller, "many-agent");
    await agent.register(
      ...Array.from({ length: MANY }, (_, index) => registrationEntry(name(index), "many")),
    );
    const page = await browser.open(`${fixture.controller.url}/?sort=name`, { key: ADMIN_KEY });
    await page.getByText(name(0)).waitFor();
    const rows = page.locator(".fleet-table tbody tr");
    expect(await rows.count()).toBeLessThan(40);
    expect(await page.getByRole("table").getAttribute("aria-rowcount")).toBe(String(MANY + 1));
    await page.getByRole("region", { name: "Instances" }).focus();
    await page.keyboard.press("End");
    await page.getByText(name(MANY - 1)).waitFor();
    expect(await rows.count()).toBeLessThan(40);
    expect(await page.getByText(name(0)).count()).toBe(0);
  });

  test("a row with the focus is not lost when the list is scrolled away from it", async () => {
    const page = await browser.open(`${fixture.controller.url}/?sort=name`, { key: ADMIN_KEY });
    await page.getByText(name(1)).waitFor();
    await page.getByRole("link", { name: name(1) }).focus();
    await page.evaluate("document.querySelector('.scroller').scrollTo(0, 1e7)");
    await page.getByText(name(MANY - 1)).waitFor();
    expect(await page.getByRole("row").nth(1).getAttribute("aria-rowindex")).toBe("3");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: name(1) }).waitFor();
  });

  test("a lost connection is told, and the page goes on by itself when it is back", async () => {
    const { hostname, port } = new URL(fixture.controller.url);
    const proxy = await TcpProxy.to(hostname.replaceAll(/[[\]]/g, ""), Number(port));
    try {
      const page = await browser.open(`http://127.0.0.1:${proxy.port}/`, { key: ADMIN_KEY });
      await page.getByText("many-000").waitFor();
      await page.getByText("live", { exact: true }).waitFor();
      proxy.takeAway();
      await page.getByText("connection lost, trying again").waitFor();
      expect(await page.getByText("many-000").count()).toBe(1);
      proxy.bringBack();
      await page.getByText("live", { exact: true }).waitFor({ timeout: 30_000 });
    } finally {
      await proxy.close();
    }
  });
});
