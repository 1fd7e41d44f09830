/** Whether the controller and the engines answer. Nothing here throws. */
import { agentRoutes } from "@fulcrum/contracts/agent-routes.js";
import { type AgentConfig, ConfigError, readKey } from "../config.js";
import { withDeadline } from "../deadline.js";
import { ReadError } from "../reader/engine-reader.js";
import { fetchText } from "../reader/fetch-text.js";
import type { ControllerFacts, EngineFacts } from "./doctor-facts.js";

const MAX_PAGE_BYTES = 10_000_000;

export async function controllerFacts(
  config: AgentConfig,
  envKey: string | undefined,
): Promise<ControllerFacts> {
  const { url, keyFile, requestTimeoutMs } = config.controller;
  let key: string;
  try {
    key = readKey(keyFile, envKey);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { url, answer: "no_key", detail: error.message, clockAheadMs: null };
  }
  const query = new URLSearchParams({ agent: config.agent, waitMs: "0" });
  const address = `${url.replace(/\/+$/, "")}${agentRoutes.getAssignments.path}?${query.toString()}`;
  try {
    return await withDeadline({ limitMs: requestTimeoutMs }, async (signal) => {
      const headers = { authorization: `Bearer ${key}`, accept: "application/json" };
      const response = await fetch(address, { headers, signal, redirect: "error" });
      await response.body?.cancel();
      return { url, ...judgeAnswer(response), clockAheadMs: clockAhead(response) };
    });
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { url, answer: "unreachable", detail: String(cause), clockAheadMs: null };
  }
}

function judgeAnswer({ status, headers }: Response): Pick<ControllerFacts, "answer" | "detail"> {
  if (status === 401 || status === 403)
    return { answer: "key_refused", detail: `answers, and refuses the key (${status})` };
  const isJson = /json/.test(headers.get("content-type") ?? "");
  // 404 comes after the key was accepted: this agent has not registered yet.
  if ((status === 200 || status === 404) && isJson)
    return { answer: "ok", detail: "answers, and takes the key" };
  return { answer: "unexpected", detail: `answered ${status}` };
}

function clockAhead({ headers }: Response): number | null {
  const theirs = Date.parse(headers.get("date") ?? "");
  if (Number.isNaN(theirs)) return null;
  // The header has whole seconds, cut off.
  const ahead = Date.now() - theirs;
  return ahead >= 0 && ahead < 1_000 ? 0 : ahead;
}

/** Every metrics page of every instance, at once. */
export function engineFacts({ instances }: AgentConfig): Promise<EngineFacts[]> {
  return Promise.all(
    instances.map(async ({ instance, driver, reader }) => {
      const urls = [...(reader.url === undefined ? [] : [reader.url]), ...(reader.urls ?? [])];
      const pages = await Promise.all(urls.map((url) => pageFacts(url, reader.timeoutMs)));
      return { instance, driver: driver.type, pages };
    }),
  );
}

async function pageFacts(url: string, timeoutMs: number): Promise<EngineFacts["pages"][number]> {
  const { signal } = new AbortController();
  try {
    const { text } = await fetchText({ url, timeoutMs, maxBytes: MAX_PAGE_BYTES, signal });
    const samples = text.split("\n").filter((line) => /^[A-Za-z_:]\S*(\{.*\})?\s+\S+/.test(line)).length;
    return { url, samples, problem: null };
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    return { url, samples: null, problem: error.message };
  }
}
