import { describe, expect, test } from "vitest";
import { actorName, holderId, roleOf } from "./token-claims.js";

const GROUPS = { sre: "operator", staff: "viewer", owners: "admin" } as const;

describe("the role in a token", () => {
  test.each([
    ["a role", { fulcrum_role: "operator" }, "fulcrum_role", null, "operator"],
    ["a list: the highest", { r: ["viewer", "admin", "x"] }, "r", null, "admin"],
    ["a group", { groups: ["staff", "sre"] }, "groups", GROUPS, "operator"],
    ["a path", { realm_access: { roles: ["owners"] } }, "realm_access.roles", GROUPS, "admin"],
    ["a claim with dots in its name", { "https://x.io/role": "viewer" }, "https://x.io/role", null, "viewer"],
    ["nothing there", {}, "fulcrum_role", null, null],
    ["an agent's role", { fulcrum_role: "agent" }, "fulcrum_role", null, null],
    ["a role where groups are meant", { groups: ["admin"] }, "groups", GROUPS, null],
    ["a group named as what every object has", { groups: ["constructor"] }, "groups", GROUPS, null],
    ["a path into a text", { a: "b" }, "a.length", null, null],
    ["no text", { fulcrum_role: { admin: true } }, "fulcrum_role", null, null],
  ])("%s", (_what, claims, claim, roles, want) => expect(roleOf(claims, claim, roles)).toBe(want));
});

test("an actor is who reads as whom, and for certain by issuer and subject", () => {
  const issuer = "https://login.example.com";
  expect(actorName({ sub: "1", email: "ada@x.io" }, issuer)).toBe(`ada@x.io (${issuer}#1)`);
  expect(actorName({ sub: "1" }, issuer)).toBe(`token (${issuer}#1)`);
  expect(actorName({ sub: "1", name: `ops (${issuer}#0)` }, issuer)).not.toContain("#0");
  expect(actorName({ sub: "a\u0000é\ud800", name: "\ud800Zoë" }, issuer)).toBe(
    `Zoë (${issuer}#a%00%c3%a9%ef%bf%bd)`,
  );
  expect(actorName({ sub: "s".repeat(999), name: "n".repeat(999) }, issuer).length).toBeLessThan(400);
});

test("an id of its own for each person, in the shape of a key's", () => {
  const ids = [holderId("https://a", "b"), holderId("https://a", "c"), holderId("https://ab", "")];
  expect(new Set(ids).size).toBe(3);
  for (const id of ids)
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(holderId("https://a", "b")).toBe(ids[0]);
});
