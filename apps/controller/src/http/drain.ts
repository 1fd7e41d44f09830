import type { FastifyInstance } from "fastify";

/**
 * Lets a stop end when the last answer is out. Closing cuts only the connections that are idle at that
 * moment; one whose answer comes later (every held poll) would be kept alive for another 72 s.
 */
export function drainOnClose(server: FastifyInstance): void {
  let closing = false;
  server.addHook("preClose", (done) => {
    closing = true;
    done();
  });
  server.addHook("onSend", (_request, reply, payload, done) => {
    if (closing) void reply.header("Connection", "close");
    done(null, payload);
  });
  // For answers whose headers were out before the stop began.
  server.addHook("onResponse", (_request, _reply, done) => {
    if (closing) setImmediate(() => server.server.closeIdleConnections());
    done();
  });
}
