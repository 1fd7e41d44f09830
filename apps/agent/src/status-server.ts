import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface StatusSource {
  status(): Record<string, unknown>;
  renderMetrics(): string;
}

/** Serves /healthz, /metrics and /status on 127.0.0.1. @throws Error when the port is taken */
export async function startStatusServer(source: StatusSource, port: number): Promise<Server> {
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    const send = (status: number, type: string, body: string): void => {
      response.writeHead(status, { "content-type": type, "cache-control": "no-store" });
      response.end(body);
    };
    if (request.method !== "GET") return send(405, "text/plain", "only GET\n");
    if (path === "/healthz") return send(200, "text/plain", "ok\n");
    if (path === "/metrics") return send(200, "text/plain; version=0.0.4", source.renderMetrics());
    if (path === "/status") return send(200, "application/json", JSON.stringify(source.status()));
    send(404, "text/plain", "there are /healthz, /metrics and /status\n");
  });
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return server;
}

export function statusUrl(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
