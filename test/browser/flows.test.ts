/** What an operator does at night, in a real Chromium on the real controller. */
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, test } from "vitest";

import { ADMIN_KEY } from "../support/controller.js";
import { useControllers } from "../support/use-controllers.js";
import { SLO } from "../support/wire.js";
import { chromiumPath, useBrowser } from "./support/browser.js";
import { type Scene, stageFleet } from "./support/scene.js";

describe.skipIf(chromiumPath === null)("the page in a browser", () => {
  const fixture = useControllers();
  const browser = useBrowser();
  let scene: Scene;
  beforeAll(async () => {
    scene = await stageFleet(fixture.controller);
  }, 120_000);

  const open = (path: string, key: string | null = ADMIN_KEY): Promise<Page> =>
    browser.open(`${fixture.controller.url}${path}`, { key });
  const rowOf = (page: Page, name: string) => page.locator("tbody tr", { hasText: name });

  async function fill(page: Page, fields: Readonly<Record<string, string>>): Promise<void> {
    const dialog = page.getByRole("dialog");
    for (const [label, value] of Object.entries(fields))
      await dialog.getByLabel(label, { exact: true }).fill(value);
  }

  test("a key is asked for, a wrong one is told, and one in the address is taken out of it", async () => {
    const page = await open("/pools", null);
    await page.getByLabel("API key").fill(`fk_${"x".repeat(43)}`);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("The controller does not accept this key.").waitFor();
    await page.getByLabel("API key").fill(ADMIN_KEY);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Pools" }).waitFor();

    const second = await open("/audit");
    await second.getByRole("heading", { name: "Audit" }).waitFor();
    expect(second.url()).toBe(`${fixture.controller.url}/audit`);
  });

  test("the first row says which instance misses what, what was done and why", async () => {
    const page = await open("/");
    await page.getByText(/\d miss(es)? (its|their) SLO/).waitFor();
    const first = page.locator(".fleet-table tbody tr").first();
    expect(await first.innerText()).toMatch(/(chat-b|long-a)[\s\S]*misses TTFT/);
    const missed = rowOf(page, "chat-b");
    expect(await missed.innerText()).toMatch(/TTFT p90 .* is over 300 ms/);
    await page.getByLabel("State").selectOption("meets");
    await rowOf(page, "chat-a").waitFor();
    expect(await rowOf(page, "chat-b").count()).toBe(0);
    await page.getByLabel("State").selectOption("");
    await page.getByLabel("Find").fill("nightly");
    await expect.poll(() => page.locator(".fleet-table tbody tr").count()).toBe(1);
    expect(page.url()).toContain("q=nightly");
  });

  test("a window that comes shows without a reload", async () => {
    const page = await open("/");
    await page.getByText("live", { exact: true }).waitFor();
    const kv = rowOf(page, "chat-a").locator(".kv-words");
    expect(await kv.innerText()).not.toContain("88 %");
    await scene.window("chat-a", { kv: { totalTokens: 100_000, usedTokens: 88_000, preemptions: 0 } });
    await expect.poll(() => kv.innerText(), { timeout: 15_000 }).toContain("88 %");
  });

  test("from an instance's chart to the decision, its reason and its rollout", async () => {
    const page = await open("/instances/chat-b");
    await page.locator(".u-over").first().waitFor();
    await page.locator("a.mark.of-decision").first().click();
    await page.getByRole("heading", { name: /^Decision: moved/ }).waitFor();
    expect(await page.locator(".sentence").innerText()).toMatch(
      /TTFT p90 .* is over 300 ms; prefill cap 30 -> \d+/,
    );
    await page.getByText("verified", { exact: false }).first().waitFor();
    const chosen = page.locator(".candidate-table tr.chosen");
    await chosen.waitFor();
    const cell = page.locator(".heat-cell").first();
    await cell.focus();
    expect(await page.locator(".heat-words").innerText()).toContain("TTFT");
  });

  test("a decision is found by its reason", async () => {
    const page = await open("/decisions");
    await page.getByLabel("Reason").selectOption("TTFT_MISSED");
    await page.getByLabel("Instance").fill("chat-b");
    const row = page.locator("tbody tr").first();
    await expect.poll(() => row.innerText()).toContain("is over 300 ms");
    await row.getByRole("link").first().click();
    await page.getByRole("heading", { name: /^Decision/ }).waitFor();
  });

  test("pin: the call is shown, the reason stands on the instance, and it can be ended", async () => {
    const page = await open("/instances/chat-c");
    await page.getByRole("button", { name: "Pin" }).click();
    await fill(page, { Reason: "firmware", "For how long": "2h" });
    await page.getByText("The same as a command").last().click();
    expect(await page.locator("dialog pre").innerText()).toContain("-X PUT");
    await page.getByRole("dialog").getByRole("button", { name: "Pin" }).click();
    await page.getByText("“firmware”").first().waitFor();
    await page.getByRole("list", { name: "What is held" }).getByRole("button", { name: "End" }).click();
    await fill(page, { Reason: "done" });
    await page.getByRole("dialog").getByRole("button", { name: "End" }).click();
    await expect.poll(() => page.getByText("“firmware”").count()).toBe(0);
  });

  test("roll back to an earlier generation makes a new one", async () => {
    const before = await fixture.controller.ask("getInstance", { params: { instance: "chat-b" } });
    const page = await open("/instances/chat-b");
    await page.getByRole("button", { name: "Roll back" }).click();
    await expect.poll(() => page.getByLabel("Back to generation").inputValue()).toMatch(/^\d+$/);
    await fill(page, { Reason: "worse since", "For how long": "30m" });
    await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
    await page.getByText("“worse since”").first().waitFor();
    const after = await fixture.controller.ask("getInstance", { params: { instance: "chat-b" } });
    expect(after.desired.generation).toBeGreaterThan(before.desired.generation);
  });

  test("pause all from the fleet, seen there with its reason, and resume", async () => {
    const page = await open("/");
    await page.getByRole("button", { name: "Pause all" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
    await page.getByRole("alert").getByText("reason").first().waitFor();
    await fill(page, { Reason: "network change" });
    await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
    await page.getByText("the whole fleet paused").waitFor();
    await page.getByRole("button", { name: "Resume" }).click();
    await fill(page, { Reason: "over" });
    await page.getByRole("dialog").getByRole("button", { name: "Resume" }).click();
    await expect.poll(() => page.getByText("the whole fleet paused").count()).toBe(0);
  });

  test("an SLO is changed with a preview; who comes second is told, with both values", async () => {
    const page = await open("/pools/nightly");
    const form = page.getByRole("form", { name: "SLO" });
    await form.getByLabel("TPOT bound").fill("200");
    await form.getByRole("button", { name: /Preview/ }).click();
    await form
      .getByRole("region", { name: "Preview" })
      .getByText(/would be decided otherwise now/)
      .waitFor();
    const other = { ...SLO, tpot: { ...SLO.tpot, boundMs: 150 } };
    await fixture.controller.ask("putSlo", {
      params: { pool: "nightly" },
      body: other,
      headers: { "if-match": "*" },
    });
    await form.getByRole("button", { name: "Save" }).click();
    const alert = form.getByRole("alert");
    await alert.getByText("Somebody else changed it meanwhile.").waitFor();
    expect((await alert.getByRole("row", { name: /TPOT bound/ }).innerText()).split(/\s+/)).toEqual(
      "TPOT bound 100 150 200".split(" "),
    );
    await alert.getByRole("button", { name: "Save mine on top" }).click();
    await form.getByText("Saved.").waitFor();
    const slo = await fixture.controller.ask("getSlo", { params: { pool: "nightly" } });
    expect(slo.slo.tpot.boundMs).toBe(200);
  });

  test("a bad setting is refused with its field and bound, and nothing is saved", async () => {
    const page = await open("/pools/nightly");
    const form = page.getByRole("form", { name: "Settings" });
    await form.getByLabel("Look back").fill("10");
    await form.getByRole("button", { name: "Save" }).click();
    const alert = form.getByRole("alert");
    await alert.getByText("lookbackMs").first().waitFor();
    expect(await alert.innerText()).toContain("1000");
  });

  test("an emptied number is not sent as 0: it is said, and cannot be saved", async () => {
    const page = await open("/pools/nightly");
    const form = page.getByRole("form", { name: "Settings" });
    await form.getByText("Guards: bounds", { exact: false }).click();
    await form.getByLabel("Reversals allowed").fill("");
    await form.getByRole("alert").getByText("Reversals allowed is empty: type a number").waitFor();
    expect(await form.getByRole("button", { name: "Save" }).isDisabled()).toBe(true);
    await form.getByLabel("Reversals allowed").fill("0");
    expect(await form.getByRole("button", { name: "Save" }).isDisabled()).toBe(false);
  });

  test("a recommendation that asks for two is applied when a second key approves", async () => {
    const first = await open("/approvals");
    await first.getByRole("article", { name: "Proposal for long-a" }).waitFor();
    await first.getByRole("button", { name: "Approve" }).click();
    await first.getByRole("dialog").getByRole("button", { name: "Approve" }).click();
    await first.getByText(/1 of 2/).waitFor();

    const second = await open("/approvals", await fixture.controller.keyOf("operator"));
    await second.getByRole("button", { name: "Approve" }).click();
    await second.getByRole("dialog").getByRole("button", { name: "Approve" }).click();
    await second.getByText("Nothing waits.", { exact: false }).waitFor();
    const instance = await fixture.controller.ask("getInstance", { params: { instance: "long-a" } });
    expect(instance.desired.generation).toBeGreaterThan(0);
    // Its decision tells by whose word it was made.
    const query = { instance: "long-a", state: "approved" };
    const { items } = await fixture.controller.ask("listProposals", { query });
    const why = await open(`/decisions/${items[0]!.decision}`);
    await why.getByText(`Proposal ${items[0]!.id} was approved by `, { exact: false }).waitFor();
  });

  test("a viewer's key sees everything and is refused what would change it", async () => {
    const page = await open("/", await fixture.controller.keyOf("viewer"));
    await rowOf(page, "chat-a").waitFor();
    await page.getByRole("button", { name: "Pause all" }).click();
    await fill(page, { Reason: "try" });
    await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
    await page.getByRole("dialog").getByRole("alert").getByText(/role/).waitFor();
  });

  test("a key is shown once and can be revoked", async () => {
    const page = await open("/keys");
    await page.getByRole("button", { name: "Create a key" }).click();
    await fill(page, { Name: "night shift" });
    await page.getByRole("dialog").getByRole("button", { name: "Create" }).click();
    const key = await page.getByRole("dialog", { name: "Key for night shift" }).locator("pre").innerText();
    expect(key).toMatch(/^fk_/);
    await page.getByRole("button", { name: "I have it" }).click();
    expect(await page.getByText(key).count()).toBe(0);
    const row = rowOf(page, "night shift");
    await row.getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
    await row.getByText("revoked").waitFor();
    expect((await fixture.controller.call("listPools", { key })).status).toBe(401);
  });

  test("the audit chain is verified in the browser, and a row that was changed is named", async () => {
    const page = await open("/audit");
    await page.getByRole("button", { name: "Verify the chain" }).click();
    await page.getByText("each fits its hash and the row before").waitFor();
    await page.getByText("without a checkpoint nothing shows that the end was not cut off").waitFor();
    const kept = await fixture.controller.ask("getAuditCheckpoint", {});
    await page.getByText("With a checkpoint that was kept elsewhere").click();
    const buffer = Buffer.from(JSON.stringify(kept, null, 2));
    const file = { name: "checkpoint.json", mimeType: "application/json", buffer };
    await page.getByLabel("or from a file").setInputFiles(file);
    await expect.poll(() => page.getByLabel("Checkpoints, as JSON").inputValue()).toBe(buffer.toString());
    await page.getByRole("button", { name: "Verify the chain" }).click();
    await page.getByText(`it holds against the checkpoint of row ${kept.seq}`).waitFor();
    await page.getByLabel("Checkpoints, as JSON").fill(JSON.stringify({ ...kept, seq: kept.seq + 40 }));
    await page.getByRole("button", { name: "Verify the chain" }).click();
    await page.getByText(`the checkpoint has row ${kept.seq + 40}, the log ends at`).waitFor();
    await page.getByLabel("Checkpoints, as JSON").fill("row 7");
    await page.getByRole("button", { name: "Verify the chain" }).click();
    await page.getByText("a checkpoint is JSON with seq and hash").waitFor();
    await page.getByLabel("Checkpoints, as JSON").fill("");
    await fixture.controller.source.transaction(async (manager) => {
      await manager.query("SET LOCAL session_replication_role = replica");
      await manager.query("UPDATE audit SET actor = 'nobody' WHERE seq = 3");
    });
    await page.getByRole("button", { name: "Verify the chain" }).click();
    await page.getByText(/row 3 .*it was changed/).waitFor();
  });
});
