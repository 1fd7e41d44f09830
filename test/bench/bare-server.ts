/** The baseline: a bare Fastify route that parses the same body and answers. */
import fastify from "fastify";

const server = fastify({ bodyLimit: 2 * 1_024 * 1_024 });
server.post("/agent/v1/report", (request) => {
  const { instances } = request.body as { instances: unknown[] };
  return { accepted: instances.length };
});
const url = await server.listen({ port: 0, host: "127.0.0.1" });
process.stdin.resume();
process.stdin.once("end", () => process.exit(0));
process.stdout.write(`${JSON.stringify({ event: "ready", url })}\n`);
