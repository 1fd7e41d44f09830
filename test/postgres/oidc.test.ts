import { SignJWT } from "jose";
import { Authenticator } from "@fulcrum/controller/access/authenticator.js";
import { afterAll, describe, expect, test, vi } from "vitest";

import { startController } from "../support/controller.js";
import { OidcIssuer } from "../support/oidc-issuer.js";
import { useControllers } from "../support/use-controllers.js";
import { poolBody } from "../support/wire.js";

const issuer = await new OidcIssuer().start();
afterAll(() => issuer.stop());
const OIDC = {
  FULCRUM_OIDC_ISSUER: issuer.url,
  FULCRUM_OIDC_AUDIENCE: "fulcrum",
  FULCRUM_OIDC_ROLE_CLAIM: "realm_access.roles",
  FULCRUM_OIDC_ROLES: "gpu-staff=viewer,gpu-sre=operator,gpu-owners=admin",
};
const fixture = useControllers({ env: OIDC });
const roles = (...groups: string[]) => ({ realm_access: { roles: groups } });

/** Status and words of a read with the token. */
async function read(token: string): Promise<readonly [number, string]> {
  const { status, problem } = await fixture.controller.call("listPools", { key: token });
  return [status, problem?.detail ?? ""];
}

describe("a token of the issuer", () => {
  test.each([
    ["staff", ["gpu-staff"], 200, 403, 403],
    ["SREs", ["offline_access", "gpu-staff", "gpu-sre"], 200, 201, 403],
    ["owners", ["gpu-owners"], 200, 201, 200],
  ])("gives %s the highest role of their groups", async (who, groups, reads, writes, administers) => {
    const key = await issuer.token(roles(...groups));
    const { controller } = fixture;
    expect((await controller.call("listPools", { key })).status).toBe(reads);
    const body = poolBody(`of-${who.toLowerCase()}`);
    expect((await controller.call("createPool", { key, body })).status).toBe(writes);
    expect((await controller.call("listKeys", { key })).status).toBe(administers);
  });

  test("speaks for no agent", async () => {
    const key = await issuer.token(roles("gpu-owners"));
    const reply = await fixture.controller.call("getAssignments", { key, query: { agent: "a1" } });
    expect(reply.status).toBe(403);
  });

  test("leaves the person's name, issuer and subject in the audit log", async () => {
    const claims = { ...roles("gpu-sre"), preferred_username: "ada", name: "Ada" };
    const key = await issuer.token(claims, { subject: "8f14e45f" });
    await fixture.controller.ask("createPool", { key, body: poolBody("by-ada") });
    const { items } = await fixture.controller.ask("listAudit", { query: { subject: "pool/by-ada" } });
    expect(items[0]?.actor).toBe(`ada (${issuer.url}#8f14e45f)`);
    const forged = { ...roles("gpu-sre"), preferred_username: `eve (${issuer.url}#8f14e45f)` };
    const other = await issuer.token(forged, { subject: "666" });
    await fixture.controller.ask("createPool", { key: other, body: poolBody("by-eve") });
    const told = await fixture.controller.ask("listAudit", { query: { subject: "pool/by-eve" } });
    const actor = told.items[0]?.actor ?? "";
    expect(actor.endsWith(` (${issuer.url}#666)`)).toBe(true);
    expect(actor.match(/[#(]/g)).toEqual(["(", "#"]);
    expect(told.items[0]?.keyId).not.toBe(items[0]?.keyId);
  });

  test("is one key per person where two keys must approve", async () => {
    await fixture.controller.ask("createPool", { body: poolBody("two") });
    const ada = await issuer.token(roles("gpu-sre"), { subject: "ada" });
    const adaLater = await issuer.token({ ...roles("gpu-sre"), jti: "2" }, { subject: "ada" });
    const bob = await issuer.token(roles("gpu-sre"), { subject: "bob" });
    const holders = [await pauseAs(ada), await pauseAs(adaLater), await pauseAs(bob)];
    expect(holders[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(holders[1]).toBe(holders[0]);
    expect(holders[2]).not.toBe(holders[0]);
  });
});

/** The id under which the audit log knows the holder. */
async function pauseAs(key: string): Promise<string | null> {
  const body = { pool: "two", reason: "r" };
  const hold = await fixture.controller.ask("createPause", { key, body });
  await fixture.controller.ask("endHold", { key, params: { id: hold.id }, query: { reason: "done" } });
  const { items } = await fixture.controller.ask("listAudit", { query: { limit: 1 } });
  return items[0]?.keyId ?? null;
}

describe("a token that is no good", () => {
  const staff = roles("gpu-staff");
  test.each([
    ["expired", () => issuer.token(staff, { expiresInS: -120 }), "has expired at 20"],
    ["for another audience", () => issuer.token(staff, { audience: "grafana" }), "not for audience fulcrum"],
    ["of another issuer", () => issuer.token(staff, { issuer: "https://x.example" }), "not of issuer"],
    ["not valid yet", () => issuer.token(staff, { notBeforeS: 300 }), "not valid yet"],
    ["signed with a shared secret", () => symmetric(), "algorithm is not allowed"],
    ["changed", async () => changed(await issuer.token(staff)), "signature is not valid"],
    ["unsigned", () => Promise.resolve(unsigned()), "not allowed"],
  ])("%s: 401, and why", async (_what, token, words) => {
    expect(await read(await token())).toEqual([401, expect.stringContaining(words)]);
  });

  test("within the clock's tolerance is good", async () => {
    expect((await read(await issuer.token(staff, { expiresInS: -5 })))[0]).toBe(200);
  });

  test("without a role it knows: 403, and which claim was looked at", async () => {
    const [status, words] = await read(await issuer.token(roles("marketing")));
    expect([status, words]).toEqual([403, expect.stringContaining("realm_access.roles")]);
  });

  test("of a stranger's key: 401; the issuer is not asked for each of them", async () => {
    const stranger = await new OidcIssuer().start();
    await stranger.rotate();
    await read(await issuer.token(staff));
    const before = issuer.requests;
    for (let i = 0; i < 20; i += 1) {
      const [status, words] = await read(await stranger.token(staff, { issuer: issuer.url }));
      expect([status, words]).toEqual([401, expect.stringContaining("none of")]);
    }
    await stranger.stop();
    expect(issuer.requests - before).toBeLessThan(20);
  });
});

test("keys that the issuer changes are picked up, and those that it dropped are not taken any more", async () => {
  const before = await issuer.token(roles("gpu-staff"));
  expect((await read(before))[0]).toBe(200);
  await issuer.rotate();
  const after = await issuer.token(roles("gpu-staff"));
  await expect.poll(async () => (await read(after))[0], { timeout: 20_000 }).toBe(200);
  expect((await read(before))[0]).toBe(401);
});

test("an issuer that is down: 503 for tokens, while API keys work", async () => {
  const gone = await new OidcIssuer().start();
  const token = await gone.token(roles("gpu-owners"));
  await gone.stop();
  const env = { ...OIDC, FULCRUM_OIDC_ISSUER: gone.url };
  const controller = await startController(fixture.database.url, env);
  try {
    const reply = await controller.call("listPools", { key: token });
    expect([reply.status, reply.problem?.code]).toEqual([503, "unavailable"]);
    expect(reply.problem?.detail).toContain(gone.url);
    expect((await controller.call("listPools")).status).toBe(200);
  } finally {
    await controller.close();
  }
});

test("an issuer that goes away: its last keys serve for an hour, and a key that is not among them is not guessed at", async () => {
  const leaving = await new OidcIssuer().start();
  const token = await leaving.token(roles("gpu-staff"), { expiresInS: 4 * 3_600 });
  const controller = await startController(fixture.database.url, {
    ...OIDC,
    FULCRUM_OIDC_ISSUER: leaving.url,
  });
  const startedMs = Date.now();
  const statusAfter = async (minutes: number, key: string) => {
    vi.useFakeTimers({ toFake: ["Date"], now: startedMs + minutes * 60_000 });
    try {
      return (await controller.call("listPools", { key })).status;
    } finally {
      vi.useRealTimers();
    }
  };
  try {
    expect(await statusAfter(0, token)).toBe(200);
    await leaving.stop();
    expect(await statusAfter(11, token)).toBe(200);
    await leaving.rotate();
    const unknown = await leaving.token(roles("gpu-staff"), { expiresInS: 4 * 3_600 });
    expect(await statusAfter(12, unknown)).toBe(503);
    expect(await statusAfter(90, token)).toBe(503);
  } finally {
    await controller.close();
  }
});

test("a stream that was opened with a token stands while the token does", async () => {
  const authenticator = fixture.controller.app.get(Authenticator);
  const isStillIn = (key: string) => authenticator.isStillIn(`Bearer ${key}`);
  expect(await isStillIn(await issuer.token(roles("gpu-staff")))).toBe(true);
  expect(await isStillIn(await issuer.token(roles("gpu-staff"), { expiresInS: -120 }))).toBe(false);
  const body = { name: "page", role: "viewer" } as const;
  const { id, key } = await fixture.controller.ask("createKey", { body });
  expect(await isStillIn(key)).toBe(true);
  await fixture.controller.ask("revokeKey", { params: { id } });
  await expect.poll(() => isStillIn(key), { timeout: 20_000 }).toBe(false);
});

test("where no issuer is configured a token is no key", async () => {
  const controller = await startController(fixture.database.url);
  try {
    const key = await issuer.token(roles("gpu-owners"));
    expect((await controller.call("listPools", { key })).status).toBe(401);
  } finally {
    await controller.close();
  }
});

function symmetric(): Promise<string> {
  return new SignJWT(roles("gpu-owners"))
    .setProtectedHeader({ alg: "HS256" })
    .setIssuer(issuer.url)
    .setAudience("fulcrum")
    .setSubject("u")
    .setExpirationTime("5m")
    .sign(new TextEncoder().encode("a secret that everybody could know"));
}

function unsigned(): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none" })}.${part({ sub: "u", ...roles("gpu-owners") })}.AAAA`;
}

/** The same signature under other claims. */
function changed(token: string): string {
  const [head, body, signature] = token.split(".") as [string, string, string];
  const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as object;
  const better = Buffer.from(JSON.stringify({ ...claims, ...roles("gpu-owners") })).toString("base64url");
  return `${head}.${better}.${signature}`;
}
