import { beforeAll, describe, expect, test } from "vitest";
import { ADMIN_KEY } from "../support/controller.js";
import { useControllers } from "../support/use-controllers.js";
import { useBrowser } from "./support/browser.js";
import { stageFleet } from "./support/scene.js";

describe("shot", () => {
  const fixture = useControllers();
  const browser = useBrowser();
  beforeAll(async () => void (await stageFleet(fixture.controller)), 120_000);
  test("audit", async () => {
    const page = await browser.open(`${fixture.controller.url}/audit`, { key: ADMIN_KEY });
    await page.getByRole("button", { name: "Verify the chain" }).click();
    await page.getByText("each fits its hash").waitFor();
    await page.getByText("With a checkpoint that was kept").click();
    await fixture.controller.source.transaction(async (manager) => {
      await manager.query("SET LOCAL session_replication_role = replica");
      await manager.query("UPDATE audit SET at = 'infinity' WHERE seq = (SELECT max(seq) FROM audit)");
    });
    await page.screenshot({ path: "/tmp/f1-shot1.png" });
    await page.setViewportSize({ width: 420, height: 900 });
    await page.getByRole("button", { name: "Verify the chain" }).click();
    await page.getByText("infinity", { exact: false }).first().waitFor();
    await page.reload();
    await page.getByRole("button", { name: "Verify the chain" }).click();
    await page.getByText(/row \d+ \(infinity/).waitFor();
    await page.screenshot({ path: "/tmp/f1-shot2.png" });
    expect(true).toBe(true);
  });
});
