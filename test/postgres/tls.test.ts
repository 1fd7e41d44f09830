import { connect, type PeerCertificate } from "node:tls";
import { type Fetch, tlsFetch } from "@fulcrum/agent/tls-fetch.js";
import { ControllerClient, ControllerError } from "@fulcrum/agent/controller-client.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { ADMIN_KEY } from "../support/controller.js";
import { fulcrum } from "../support/cli.js";
import { authority, type Leaf, PemFolder, type Signed, signedBy } from "../support/pki.js";
import { errorsOf, useControllers } from "../support/use-controllers.js";
import { poolBody, registration, registrationEntry } from "../support/wire.js";

const folder = new PemFolder();
const serverCa = await authority("servers");
const agentCa = await authority("agents");
const otherCa = await authority("others");
const server = await signedBy(serverCa, { commonName: "controller", ip: "127.0.0.1" });
const FILES = {
  FULCRUM_TLS_CERT_FILE: folder.write("server.crt", server.cert),
  FULCRUM_TLS_KEY_FILE: folder.write("server.key", server.key),
  FULCRUM_TLS_AGENT_CA_FILE: folder.write("agents.crt", agentCa.cert),
};
const caFile = folder.write("servers.crt", serverCa.cert);
const fixture = useControllers({ env: FILES });
afterAll(() => folder.remove());

const trusting = tlsFetch({ caFile });
const admin = { authorization: `Bearer ${ADMIN_KEY}`, "content-type": "application/json" };
let agentKey = "";

beforeAll(async () => {
  await post("/v1/pools", poolBody("p"));
  const made = await post("/v1/keys", { name: "agents", role: "agent" });
  agentKey = ((await made.json()) as { key: string }).key;
});

function post(path: string, body: unknown): Promise<Response> {
  const init = { method: "POST", headers: admin, body: JSON.stringify(body) };
  return trusting(`${fixture.controller.url}${path}`, init);
}

let written = 0;
async function fetchWith(ca: Signed, leaf: Leaf): Promise<Fetch> {
  const { cert, key } = await signedBy(ca, leaf);
  written += 1;
  return tlsFetch({
    caFile,
    certFile: folder.write(`client-${written}.crt`, cert),
    keyFile: folder.write(`client-${written}.key`, key),
  });
}

function clientWith(fetch: Fetch): ControllerClient {
  const { url } = fixture.controller;
  return new ControllerClient({ url, key: () => agentKey, requestTimeoutMs: 10_000, fetch });
}

/** What the controller refuses the registration of agent a1 with. */
async function refusalOf(fetch: Fetch): Promise<readonly [number | null, string]> {
  const asked = clientWith(fetch).register(registration("a1", [registrationEntry("i1", "p")]));
  const error = await asked.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ControllerError)) throw new Error("it was not refused");
  return [error.status, error.message];
}

describe("https", () => {
  test("is served with the certificate, and not trusted without its CA", async () => {
    expect(fixture.controller.url).toMatch(/^https:/);
    const headers = { authorization: `Bearer ${ADMIN_KEY}` };
    expect((await trusting(`${fixture.controller.url}/v1/pools`, { headers })).status).toBe(200);
    await expect(fetch(`${fixture.controller.url}/healthz`)).rejects.toThrow("fetch failed");
  });

  test("tells who speaks plain http to its port to use https", async () => {
    const plain = fixture.controller.url.replace("https:", "http:");
    const reply = await fetch(`${plain}/v1/pools`);
    const problem = (await reply.json()) as { code: string; detail: string };
    expect([reply.status, problem.code]).toEqual([400, "invalid_request"]);
    expect(problem.detail).toContain("https://");
  });

  test("works from the command line with a CA file, and without one says what is missing", async () => {
    const trusted = await fulcrum(fixture.controller, "--ca-file", caFile, "pools", "list");
    expect([trusted.exitCode, trusted.stdout]).toEqual([0, expect.stringContaining("p ")]);
    const untrusted = await fulcrum(fixture.controller, "pools", "list");
    expect(untrusted.exitCode).toBe(3);
    expect(untrusted.stderr).toContain("not of a CA that is trusted here");
    expect(untrusted.stderr).toContain("--ca-file");
    const alone = await fulcrum(fixture.controller, "--client-cert", caFile, "pools", "list");
    expect([alone.exitCode, alone.stderr]).toEqual([2, expect.stringContaining("--client-key")]);
  });
});

describe("an agent's certificate", () => {
  test.each([
    ["in its common name", { commonName: "a1" }],
    ["in a DNS name", { commonName: "node-17", dns: ["x.example.com", "a1"] }],
  ])("lets it in that is named %s, also through a long poll", async (_where, leaf) => {
    const client = clientWith(await fetchWith(agentCa, leaf));
    const answer = await client.register(registration("a1", [registrationEntry("i1", "p")]));
    expect(answer.instances.map(({ instance }) => instance)).toEqual(["i1"]);
    const { signal } = new AbortController();
    const first = await client.pollAssignments({ agent: "a1", waitMs: 0, etag: null, signal });
    expect(first.answer?.assignments).toHaveLength(1);
    const again = await client.pollAssignments({ agent: "a1", waitMs: 0, etag: first.etag, signal });
    expect(again).toEqual({ answer: null, etag: first.etag });
  });

  test("is needed on agent routes and only there", async () => {
    const [status, message] = await refusalOf(trusting);
    expect(status).toBe(401);
    expect(message).toContain("none was sent");
    expect((await post("/v1/pauses", {})).status).toBe(400);
  });

  test.each([
    ["another CA's", otherCa, { commonName: "a1" }, 401, "not signed by that CA"],
    ["an expired one", agentCa, { commonName: "a1", days: -1 }, 401, "has expired"],
    ["another agent's", agentCa, { commonName: "a2" }, 403, "names a2"],
    ["one of a host", agentCa, { commonName: "Node A1", dns: ["a1.example.com"] }, 403, "a1.example.com"],
  ])("is refused when it is %s", async (_what, ca, leaf, status, words) => {
    const refused = await refusalOf(await fetchWith(ca, leaf));
    expect(refused).toEqual([status, expect.stringContaining(words)]);
  });

  test("does not stand in for the key", async () => {
    const send = await fetchWith(agentCa, { commonName: "a1" });
    const { url } = fixture.controller;
    const client = new ControllerClient({ url, key: () => "fk_no", requestTimeoutMs: 10_000, fetch: send });
    await expect(client.register(registration("a1", []))).rejects.toMatchObject({ status: 401 });
  });
});

describe("a certificate that is replaced on disk", () => {
  test("is served without a restart; what cannot be used changes nothing", async () => {
    folder.write("server.crt", "no certificate\n");
    await expect
      .poll(() => fixture.controller.logged.map(({ event }) => event), { timeout: 20_000 })
      .toContain("tls_reload_failed");
    expect((await served()).subject.CN).toBe("controller");
    const renewed = await signedBy(serverCa, { commonName: "renewed", ip: "127.0.0.1" });
    folder.write("server.key", renewed.key);
    folder.write("server.crt", renewed.cert);
    await expect.poll(async () => (await served()).subject.CN, { timeout: 20_000 }).toBe("renewed");
    expect(errorsOf(fixture.controller.logged)).toEqual([]);
  });

  test("a new agents' CA refuses those of the old one, also on connections that were open", async () => {
    const old = await fetchWith(agentCa, { commonName: "a1" });
    await clientWith(old).register(registration("a1", [registrationEntry("i1", "p")]));
    folder.write("agents.crt", otherCa.cert);
    await expect.poll(async () => refusalOf(old).catch(() => null), { timeout: 20_000 }).not.toBeNull();
    expect((await refusalOf(old))[0]).toBe(401);
    const current = clientWith(await fetchWith(otherCa, { commonName: "a1" }));
    await current.register(registration("a1", [registrationEntry("i1", "p")]));
  });
});

function served(): Promise<PeerCertificate> {
  const { hostname, port } = new URL(fixture.controller.url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), ca: serverCa.cert }, () => {
      resolve(socket.getPeerCertificate());
      socket.destroy();
    });
    socket.once("error", reject);
  });
}
