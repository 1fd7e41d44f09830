import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fastify, { type FastifyInstance } from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { serveDashboard } from "./dashboard.js";

let server: FastifyInstance;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-page-"));
  server = fastify();
  serveDashboard(server, join(folder, "page"));
});
afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

async function build(): Promise<void> {
  await mkdir(join(folder, "page", "assets"), { recursive: true });
  await writeFile(join(folder, "page", "index.html"), "<!doctype html><title>Fulcrum</title>");
  await writeFile(join(folder, "page", "assets", "index-Ab12.js"), "export {};");
  await writeFile(join(folder, "page", "assets", "index-Ab12.css"), ":root {}");
  await writeFile(join(folder, "secret.js"), "not to be served");
}

const get = (url: string) => server.inject({ method: "GET", url });

describe("a page that is built", () => {
  beforeEach(build);
  test.each([
    "/",
    "/fleet",
    "/instances/chat-0",
    "/decisions/0190",
    "/pools",
    "/pools/chat/edit",
    "/approvals",
    "/audit",
    "/agents",
    "/keys",
    "/settings",
  ])("%s is the index, never cached, and allowed to load from here only", async (url) => {
    const { statusCode, headers, body } = await get(url);
    expect([statusCode, headers["content-type"], headers["cache-control"]]).toEqual([
      200,
      "text/html; charset=utf-8",
      "no-store",
    ]);
    expect(body).toContain("<title>Fulcrum</title>");
    const policy = String(headers["content-security-policy"]);
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect(headers["x-content-type-options"]).toBe("nosniff");
  });
  test.each([
    ["index-Ab12.js", "text/javascript; charset=utf-8"],
    ["index-Ab12.css", "text/css; charset=utf-8"],
  ])("%s comes with its type and is kept for ever", async (file, type) => {
    const { statusCode, headers } = await get(`/assets/${file}`);
    expect([statusCode, headers["content-type"]]).toEqual([200, type]);
    expect(headers["cache-control"]).toBe("public, max-age=31536000, immutable");
  });
  test.each([
    "/assets/nothing.js",
    "/assets/..%2f..%2fsecret.js",
    "/assets/..%2findex.html",
    "/assets/.hidden.js",
    "/assets/index-Ab12.exe",
    "/nowhere",
    "/v1/nothing",
  ])("%s is not found", async (url) => {
    const { statusCode, headers } = await get(url);
    expect(statusCode).toBe(404);
    expect(headers["cache-control"]).toBeUndefined();
  });
});

test("a page that is not built says what to run, and is there as soon as it is", async () => {
  const { statusCode, body } = await get("/pools/chat");
  expect([statusCode, body]).toEqual([503, expect.stringContaining("npm run build")]);
  await build();
  expect((await get("/pools/chat")).statusCode).toBe(200);
});
