import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface MetricsPage {
  /** As of now. */
  readonly render: () => Promise<string>;
  readonly contentType: string;
}

/** Serves GET /metrics and GET /health. */
export async function listenHttp(
  host: string,
  port: number,
  page: MetricsPage,
): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer((request, response) => {
    const path = (request.url ?? "").split("?", 1)[0];
    if (request.method !== "GET" || (path !== "/metrics" && path !== "/health")) {
      response.writeHead(404).end("GET /metrics or /health\n");
      return;
    }
    if (path === "/health") {
      response.writeHead(200, { "content-type": "application/json" }).end('{"status":"ok"}\n');
      return;
    }
    page.render().then(
      (text) => response.writeHead(200, { "content-type": page.contentType }).end(text),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  server.maxConnections = 64;
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  return { server, port: (server.address() as AddressInfo).port };
}
