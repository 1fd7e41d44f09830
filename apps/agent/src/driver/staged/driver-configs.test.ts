import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../config.js";

const driverText = (driver: string): string => `
agent: node-a
controller: { url: http://127.0.0.1:7070, keyFile: ./agent.key }
stateDir: ./state
instances:
  - instance: chat-0
    pool: chat
    ranks: [0]
    rankCount: 1
    reader: { type: sglang, url: http://127.0.0.1:9101/metrics }
    driver: ${driver}
`;

const RESTART = `{ command: [systemctl, restart, a], healthUrl: "http://127.0.0.1:1/health" }`;

const withDrain = (drain: string): string =>
  `{ type: semi-pd-static, envFile: /a, restart: { command: [a], healthUrl: "http://a", drain: ${drain} } }`;

const messageOf = (driver: string): string => {
  try {
    parseConfig(driverText(driver), "/etc/fulcrum/agent.yaml");
    return "valid";
  } catch (error) {
    return (error as Error).message;
  }
};

describe("the configuration of a driver", () => {
  test.each([
    "{ type: kvcached, segment: kvcached_a, layers: 32 }",
    "{ type: kvcached, segment: 'kvcached_vLLM_*', layers: 32, share: { budgetBytes: 1024, peers: [b] } }",
    "{ type: admission-cap, url: 'http://127.0.0.1:1/cap', kvTokens: 1000 }",
    `{ type: semi-pd-static, envFile: /etc/a.env, restart: ${RESTART} }`,
    `{ type: sglang-pdmux, smCount: 132, computeCapability: "9.0", move: { kind: restart, configFile: /a.yaml, restart: ${RESTART} } }`,
    `{ type: sglang-pdmux, smCount: 132, computeCapability: "9.0", move: { kind: hook, url: "http://127.0.0.1:1" } }`,
  ])("takes %s", (driver) => {
    expect(messageOf(driver)).toBe("valid");
  });

  test("is valid in every example of docs/engines.md", () => {
    const page = readFileSync(new URL("../../../../../docs/engines.md", import.meta.url), "utf8");
    const examples = [...page.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, text = ""]) => text);
    expect(examples.length).toBeGreaterThan(5);
    for (const example of examples) {
      const instance = example.replaceAll(/^/gm, "    ");
      const text = driverText("").replace(/ {4}reader:[\s\S]*$/, instance);
      expect(() => parseConfig(text, "/etc/fulcrum/agent.yaml")).not.toThrow();
    }
  });

  test.each<[string, string, RegExp]>([
    [
      "a segment that is a path",
      "{ type: kvcached, segment: /dev/shm/a, layers: 1 }",
      /driver\.segment: must be 1\.\.64/,
    ],
    [
      "a page that is none",
      "{ type: kvcached, segment: a, layers: 1, pageBytes: 4096 }",
      /driver\.pageBytes: .*2097152/,
    ],
    ["no layers", "{ type: kvcached, segment: a }", /driver\.layers/],
    [
      "a command line",
      `{ type: semi-pd-static, envFile: /a, restart: { command: "systemctl restart a", healthUrl: "http://a" } }`,
      /driver\.restart\.command: must be a list/,
    ],
    [
      "a relative path",
      `{ type: semi-pd-static, envFile: a.env, restart: ${RESTART} }`,
      /driver\.envFile: must be an absolute path/,
    ],
    [
      "a log without the GPU's size",
      `{ type: semi-pd-static, envFile: /a, logFile: /b, restart: ${RESTART} }`,
      /driver\.smCount: must be the GPU's number/,
    ],
    [
      "a GPU that pdmux does not take",
      `{ type: sglang-pdmux, smCount: 132, computeCapability: "10.0", move: { kind: hook, url: "http://a" } }`,
      /driver\.computeCapability: must be 6\.0\.\.9\.9/,
    ],
    [
      "itself among its peers",
      "{ type: kvcached, segment: a, layers: 1, share: { budgetBytes: 1, peers: [b, a] } }",
      /driver\.share\.peers: must not fit the instance's own segment/,
    ],
    [
      "itself among its peers by a pattern",
      "{ type: kvcached, segment: kvcached_vLLM_*, layers: 1, share: { budgetBytes: 1, peers: [kvcached_*] } }",
      /driver\.share\.peers: must not fit/,
    ],
    [
      "a peer twice",
      "{ type: kvcached, segment: a, layers: 1, share: { budgetBytes: 1, peers: [b, b] } }",
      /driver\.share\.peers: must not name a segment twice/,
    ],
    [
      "a drain that is too short",
      withDrain("{ command: [a], timeoutMs: 1 }"),
      /restart\.drain\.timeoutMs: .*100/,
    ],
    ["a drain by what is no URL", withDrain("{ url: x }"), /restart\.drain\.url: must be an http/],
    ["a drain by a command line", withDrain("{ command: drain a }"), /drain\.command: must be a list/],
    ["a drain of nothing", withDrain("{}"), /restart\.drain: must have either command or url/],
    ["a drain that is a word", withDrain("yes"), /restart\.drain: must be \{ command/],
    ["a gateway that is none", "{ type: admission-cap, url: 'unix:/x' }", /driver\.url: must be an http/],
  ])("names %s", (_what, driver, message) => {
    expect(messageOf(driver)).toMatch(message);
  });
});
