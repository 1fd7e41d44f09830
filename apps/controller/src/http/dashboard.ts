import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, extname, join } from "node:path";
import type { FastifyInstance, FastifyReply } from "fastify";

/** Paths of the page itself; what lies below them is the page's too. */
const PAGES = [
  "/fleet",
  "/instances",
  "/decisions",
  "/pools",
  "/approvals",
  "/alerts",
  "/audit",
  "/agents",
  "/keys",
  "/settings",
];

const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

/** One folder, no dots in front: a name from outside never leaves it. */
const ASSET = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;

/** Everything comes from this host; nothing inline runs, so that a name or reason with markup in it cannot either. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const NOT_BUILT = "The page is not built. Run: npm run build\nThe API is at /docs.\n";

/** Where the workspace of the page has put what it built. */
function builtPage(): string {
  const workspace = createRequire(import.meta.url).resolve("@fulcrum/dashboard/package.json");
  return join(dirname(workspace), "dist", "page");
}

/** The operators' page and its files, without a key: what it shows comes from the API, which asks for one. */
export function serveDashboard(server: FastifyInstance, folder: string = builtPage()): void {
  const index = async (_request: unknown, reply: FastifyReply) => {
    void guarded(reply).header("Cache-Control", "no-store");
    // Read each time: a build that comes later, or a newer one, needs no restart.
    const page = await readFile(join(folder, "index.html"), "utf8").catch(() => null);
    return page === null
      ? reply.status(503).type("text/plain; charset=utf-8").send(NOT_BUILT)
      : reply.type("text/html; charset=utf-8").send(page);
  };
  server.get("/", index);
  for (const path of PAGES) {
    server.get(path, index);
    server.get(`${path}/*`, index);
  }
  server.get<{ Params: { file: string } }>("/assets/:file", async ({ params: { file } }, reply) => {
    const path = join(folder, "assets", file);
    const type = TYPES[extname(file)];
    const found = ASSET.test(file) && type !== undefined && (await stat(path).catch(() => null))?.isFile();
    void guarded(reply);
    if (!found) return reply.status(404).type("text/plain; charset=utf-8").send("There is no such file.\n");
    // The name holds a hash of the content.
    return reply
      .header("Cache-Control", "public, max-age=31536000, immutable")
      .type(type)
      .send(createReadStream(path));
  });
}

function guarded(reply: FastifyReply): FastifyReply {
  return reply
    .header("Content-Security-Policy", POLICY)
    .header("X-Content-Type-Options", "nosniff")
    .header("Referrer-Policy", "no-referrer")
    .header("Cross-Origin-Opener-Policy", "same-origin");
}
