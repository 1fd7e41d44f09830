/** The page while the controller's database is away. */
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";

import { ADMIN_KEY, startController, type TestController } from "../support/controller.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import { poolBody } from "../support/wire.js";
import { chromiumPath, useBrowser } from "./support/browser.js";

describe.skipIf(chromiumPath === null)("the page while the database is away", () => {
  const browser = useBrowser();
  let database: TestDatabase | undefined;
  let proxy: TcpProxy | undefined;
  let controller: TestController | undefined;
  beforeAll(async () => {
    database = await createDatabase(inject("postgresUrl"));
    const url = new URL(database.url);
    proxy = await TcpProxy.to(url.hostname, Number(url.port));
    url.port = String(proxy.port);
    controller = await startController(url.href);
  });
  afterAll(async () => {
    proxy?.bringBack();
    await controller?.close();
    await proxy?.close();
    await database?.drop();
  });

  test("it says so, saves nothing, and shows what is new by itself when it is back", async () => {
    await controller!.ask("createPool", { body: poolBody("before") });
    const page = await browser.open(`${controller!.url}/pools`, { key: ADMIN_KEY });
    await page.getByRole("link", { name: "before" }).waitFor();
    const away = page.getByText("database cannot be reached", { exact: false });
    expect(await away.count()).toBe(0);
    const live = page.getByText("live", { exact: true });
    await live.waitFor();

    proxy!.takeAway();
    await away.first().waitFor({ timeout: 30_000 });
    await page.getByText("not live: the database is away").waitFor();
    expect(await live.count()).toBe(0);
    expect(await page.getByRole("link", { name: "before" }).count()).toBe(1);
    await page.getByRole("button", { name: "Pause" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Reason", { exact: true }).fill("while it is away");
    await dialog.getByRole("button", { name: "Pause" }).click();
    await dialog.getByRole("alert").getByText("database", { exact: false }).waitFor({ timeout: 30_000 });
    await dialog.getByRole("button", { name: "Cancel" }).click();

    const second = await browser.open(`${controller!.url}/pools`, { key: ADMIN_KEY });
    await second.getByText("Trying again.", { exact: false }).first().waitFor();

    proxy!.bringBack();
    await second.getByRole("link", { name: "before" }).waitFor({ timeout: 30_000 });
    await expect.poll(() => away.count(), { timeout: 30_000 }).toBe(0);
    await live.waitFor({ timeout: 30_000 });
    const { items } = await controller!.ask("listHolds", { query: {} });
    expect(items).toEqual([]);
  });
});
