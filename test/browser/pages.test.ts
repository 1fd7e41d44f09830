/** Pools, alerts and webhooks: what an operator sets up by day, in a real Chromium on the real controller. */
import { createServer, type Server } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { ADMIN_KEY } from "../support/controller.js";
import { useControllers } from "../support/use-controllers.js";
import { SLO } from "../support/wire.js";
import { chromiumPath, useBrowser } from "./support/browser.js";
import { stageFleet } from "./support/scene.js";

describe.skipIf(chromiumPath === null)("pools, alerts and webhooks in a browser", () => {
  const fixture = useControllers();
  const browser = useBrowser();
  /** Answers what it is told to. */
  let target: Server;
  let answers = 200;
  beforeAll(async () => {
    target = createServer((request, response) => {
      request.resume();
      response.statusCode = answers;
      response.end();
    }).listen(0, "127.0.0.1");
    await once(target, "listening");
    await stageFleet(fixture.controller);
  }, 120_000);
  afterAll(() => void target.close());

  const open = (path: string, key: string = ADMIN_KEY): Promise<Page> =>
    browser.open(`${fixture.controller.url}${path}`, { key });

  async function fill(page: Page, fields: Readonly<Record<string, string>>): Promise<void> {
    const dialog = page.getByRole("dialog");
    for (const [label, value] of Object.entries(fields))
      await dialog.getByLabel(label, { exact: true }).fill(value);
  }

  test("a pool is created with its call shown, a bad name is refused, and it is deleted by its name", async () => {
    const page = await open("/pools");
    await page.getByRole("button", { name: "Create a pool" }).click();
    await fill(page, { Name: "not a name", Model: "llama3-8b", "TTFT bound": "250" });
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Create" }).click();
    await dialog.getByRole("alert").getByText("name").first().waitFor();
    await fill(page, { Name: "by-hand" });
    await dialog.getByText("The same as a command").click();
    expect(await dialog.locator("pre").innerText()).toContain('"name":"by-hand"');
    await dialog.getByRole("button", { name: "Create" }).click();
    await page.getByRole("heading", { name: "by-hand" }).waitFor();
    const made = await fixture.controller.ask("getPool", { params: { pool: "by-hand" } });
    expect([made.mode, made.slo.ttft.boundMs]).toEqual(["observe", 250]);

    await page.getByRole("button", { name: "Delete" }).click();
    await dialog.getByRole("button", { name: "Delete" }).click();
    await dialog.getByText("Type by-hand").waitFor();
    await fill(page, { "Name of the pool": "by-hand" });
    await dialog.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("heading", { name: "Pools" }).waitFor();
    const gone = await fixture.controller.call("getPool", { params: { pool: "by-hand" } });
    expect(gone.status).toBe(404);
  });

  test("a class is added below the SLO, and a page that is open shows it", async () => {
    const page = await open("/pools/nightly");
    const other = await open("/pools/nightly");
    const form = page.getByRole("form", { name: "SLO" });
    await form.getByLabel("Classes below it").selectOption("1");
    await form.getByLabel("Class 1 name").fill("batch");
    await form.getByLabel("Class 1 TTFT bound").fill("5000");
    await form.getByRole("button", { name: "Save" }).click();
    await form.getByText("Saved.").waitFor();
    const { slo } = await fixture.controller.ask("getSlo", { params: { pool: "nightly" } });
    expect(slo).toEqual({
      ...SLO,
      classes: [{ ...SLO, name: "batch", ttft: { ...SLO.ttft, boundMs: 5_000 } }],
    });
    await other.getByRole("form", { name: "SLO" }).getByLabel("Class 1 name").waitFor();
    await other.getByText("class batch").waitFor();
  });

  test("before a mode that may do more, the evidence is shown beside the button", async () => {
    const page = await open("/pools/nightly");
    const form = page.getByRole("form", { name: "Settings" });
    await form.getByLabel("Mode").selectOption("enforce");
    await form.getByText("From observe to enforce: the policy may do more.").waitFor();
    await form.getByLabel("Mode").selectOption("observe");
    await expect.poll(() => form.getByText("the policy may do more").count()).toBe(0);
  });

  test("a canary names the instances that it moves, and says when it cannot tell", async () => {
    const page = await open("/pools/chat");
    const form = page.getByRole("form", { name: "Settings" });
    await form.getByLabel("Mode").selectOption("canary");
    await form.getByRole("button", { name: "Save" }).click();
    const card = page.getByRole("region", { name: "Canary" });
    await card.getByText("cannot tell").first().waitFor();
    expect(await card.getByRole("link", { name: /^chat-/ }).count()).toBe(3);
    const canary = await fixture.controller.ask("getCanary", { params: { pool: "chat" } });
    expect(canary.instances.length).toBe(1);
    await form.getByLabel("Mode").selectOption("enforce");
    await form.getByRole("button", { name: "Save" }).click();
    await expect.poll(() => card.count()).toBe(0);
  });

  test("the budget and what the instances can carry stand on the pool's page", async () => {
    const page = await open("/pools/chat");
    const budget = page.getByRole("region", { name: "Error budget" });
    await budget.getByText("requests within both bounds", { exact: false }).waitFor();
    expect(await budget.getByRole("row").count()).toBe(4);
    await page
      .getByRole("region", { name: "Capacity" })
      .getByText("needed", { exact: false })
      .first()
      .waitFor();
  });

  test("reversals that are left stand on the instance's page", async () => {
    const page = await open("/instances/chat-b");
    await page.getByText(/\d+ of 60 allowed within/).waitFor();
  });

  test("each split that was weighed tells the attainment of every promise", async () => {
    const query = { instance: "mixed-a", limit: 1 };
    const { items } = await fixture.controller.ask("listDecisions", { query });
    const page = await open(`/decisions/${items[0]!.id}`);
    const table = page.locator(".candidate-table");
    await table.getByRole("columnheader", { name: "Attainment" }).waitFor();
    await table.getByRole("columnheader", { name: "batch" }).waitFor();
    await page.getByRole("button", { name: "attainment" }).click();
    await page.locator(".heat-cell").first().focus();
    expect(await page.locator(".heat-words").innerText()).toMatch(/attainment \S+ % of 90 %, batch \S+ %/);
    await page
      .getByRole("row", { name: /^batch/ })
      .getByText("all requests")
      .waitFor();
  });

  test("a webhook is added with its secret shown once and tested; what was given up is sent again; it is removed", async () => {
    const { port } = target.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/hook`;
    const page = await open("/alerts");
    const webhooks = page.getByRole("region", { name: "Webhooks" });
    await webhooks.getByRole("button", { name: "Add a webhook" }).click();
    await fill(page, { URL: "ftp://example.com" });
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Add" }).click();
    await dialog.getByRole("alert").getByText("http", { exact: false }).first().waitFor();
    await fill(page, { URL: url });
    await dialog.getByRole("button", { name: "Add" }).click();
    const secret = await page
      .getByRole("dialog", { name: `Secret of ${url}` })
      .locator("pre")
      .innerText();
    expect(secret).toMatch(/^whsec_/);
    await page.getByRole("button", { name: "I have it" }).click();
    expect(await page.getByText(secret).count()).toBe(0);

    answers = 500;
    await webhooks.getByRole("button", { name: "Test" }).click();
    await dialog.getByRole("button", { name: "Send" }).click();
    await dialog.getByText("The target answered 500.").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();

    answers = 200;
    const deliveries = page.getByRole("region", { name: "Deliveries" });
    await deliveries.getByLabel("State").selectOption("dead");
    await deliveries
      .getByRole("row", { name: /webhook\.test/ })
      .getByRole("button", { name: "Send again" })
      .click();
    await dialog.getByRole("button", { name: "Send again" }).click();
    await deliveries.getByText("None.").waitFor();
    await deliveries.getByLabel("State").selectOption("delivered");
    // What waits is read again every 10 s.
    await deliveries.getByRole("row", { name: /webhook\.test/ }).waitFor({ timeout: 60_000 });

    await webhooks.getByRole("button", { name: "Remove" }).click();
    await dialog.getByRole("button", { name: "Remove" }).click();
    await webhooks.getByText("Nobody is told of anything yet.").waitFor();
  });

  test("a viewer sees which pool spends its budget too fast, and is told why webhooks are not shown", async () => {
    const page = await open("/alerts", await fixture.controller.keyOf("viewer"));
    const alerts = page.getByRole("region", { name: "Alerts" });
    const row = alerts.getByRole("row", { name: /chat/ }).getByText("ticket fires");
    // Alerts are made by the sweep, and read again every 15 s.
    await row.waitFor({ timeout: 60_000 });
    await alerts.getByRole("link", { name: "chat" }).click();
    await page.getByRole("region", { name: "Error budget" }).getByText("ticket fires").waitFor();
    await page.getByRole("link", { name: "Alerts" }).click();
    await page.getByRole("region", { name: "Webhooks" }).getByText(/role/).waitFor();
  });
});
