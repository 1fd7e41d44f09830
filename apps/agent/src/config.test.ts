import { describe, expect, test } from "vitest";
import { ConfigError, parseConfig, readKey } from "./config.js";

const GOOD = `
agent: node-a
controller: { url: http://127.0.0.1:7070, keyFile: ./agent.key }
stateDir: ./state
instances:
  - instance: chat-0
    pool: chat
    ranks: [0]
    rankCount: 1
    reader: { type: sglang, url: http://127.0.0.1:9101/metrics }
    driver: { type: engine-sim, socket: ./x.sock }
`;

const messageOf = (text: string): string => {
  try {
    parseConfig(text, "/etc/fulcrum/agent.yaml");
    return "none";
  } catch (error) {
    return error instanceof ConfigError ? error.message : String(error);
  }
};

describe("the agent's configuration", () => {
  test("takes paths relative to its file, and fills in what is usual", () => {
    const config = parseConfig(GOOD, "/etc/fulcrum/agent.yaml");
    expect(config).toMatchObject({ windowMs: 1_000, statusPort: null, stateDir: "/etc/fulcrum/state" });
    expect(config.controller.keyFile).toBe("/etc/fulcrum/agent.key");
    expect(config.instances[0]?.driver).toMatchObject({ socket: "/etc/fulcrum/x.sock" });
    const tls = "tls: { caFile: ca.crt, certFile: /pki/a.crt, keyFile: a.key }";
    const secure = GOOD.replace("http://127.0.0.1:7070,", `https://controller:7070, ${tls},`);
    expect(parseConfig(secure, "/etc/fulcrum/agent.yaml").controller.tls).toEqual({
      caFile: "/etc/fulcrum/ca.crt",
      certFile: "/pki/a.crt",
      keyFile: "/etc/fulcrum/a.key",
    });
  });

  test.each<[string, [string, string], RegExp]>([
    ["an unknown field", ["agent: node-a", "agent: node-a\nwindow: 5"], /window/],
    ["an unknown field deep inside", ["rankCount: 1", "rankCount: 1\n    rank: 0"], /instances\.0: .*rank/],
    ["a name that is not one", ["node-a", "Node_A!"], /agent: must be 1..63/],
    ["a rank beyond the count", ["ranks: [0]", "ranks: [1]"], /instances\.0\.ranks: must be below rankCount/],
    ["a rank named twice", ["ranks: [0]", "ranks: [0, 0]"], /ranks: must not repeat/],
    ["a reader that is not known", ["type: sglang", "type: guess"], /instances\.0\.reader\.type/],
    ["a URL that is not HTTP", ["http://127.0.0.1:9101/metrics", "ftp://x"], /reader\.url: must be an http/],
    ["a window that is too short", ["stateDir", "windowMs: 1\nstateDir"], /windowMs: .*50/],
    [
      "a socket path that the system cannot hold",
      ["./x.sock", `/tmp/${"x".repeat(120)}`],
      /driver\.socket: .*107/,
    ],
    [
      "a certificate without its key",
      ["http://127.0.0.1:7070,", "https://c:7070, tls: { certFile: a.crt },"],
      /controller\.tls\.keyFile: goes with certFile/,
    ],
    [
      "TLS files where nothing is encrypted",
      ["7070,", "7070, tls: { caFile: a.crt },"],
      /controller\.url: must be https/,
    ],
    ["text that is not YAML", ["agent: node-a", "agent: [node-a"], /is not YAML/],
    [
      "a GPU that is none",
      ["rankCount: 1", "rankCount: 1\n    gpus: [64]"],
      /gpus\.0: must be an index from 0/,
    ],
    [
      "a GPU named twice",
      ["rankCount: 1", "rankCount: 1\n    gpus: [0, 0]"],
      /gpus: must not name a GPU twice/,
    ],
    [
      "a pipe directory that is not absolute",
      ["stateDir", "gpuWatch: { mps: { pipeDirectory: ./mps } }\nstateDir"],
      /gpuWatch\.mps\.pipeDirectory: must be an absolute path/,
    ],
  ])("names %s", (_what, [from, to], message) => {
    expect(messageOf(GOOD.replace(from, to))).toMatch(message);
  });

  test("names an instance that is there twice", () => {
    const twice = `${GOOD}${GOOD.slice(GOOD.indexOf("  - instance"))}`;
    expect(messageOf(twice)).toMatch(/instances: must not name an instance twice/);
  });

  test("prefers the key of the environment, and says what is missing without one", () => {
    expect(readKey("/does/not/exist", " key-1 ")).toBe("key-1");
    expect(() => readKey(undefined, undefined)).toThrow("set controller.keyFile or FULCRUM_AGENT_KEY");
    expect(() => readKey(undefined, "two words")).toThrow("without spaces");
  });
});
