/** Whether the controller and the engines answer. Nothing here throws. */
import { agentRoutes } from "@fulcrum/contracts/agent-routes.js";
import { systemClock } from "../clock.js";
import { type AgentConfig, ConfigError, readKey } from "../config.js";
import { withDeadline } from "../deadline.js";
import { createReader } from "../reader/create-reader.js";
import { ReadError } from "../reader/engine-reader.js";
import { tlsAdvice, tlsFetch } from "../tls-fetch.js";
import type { ControllerFacts, EngineFacts } from "./doctor-facts.js";

export async function controllerFacts(
  config: AgentConfig,
  envKey: string | undefined,
): Promise<ControllerFacts> {
  const { url, keyFile, tls, requestTimeoutMs } = config.controller;
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
      const response = await tlsFetch(tls)(address, { headers, signal, redirect: "error" });
      await response.body?.cancel();
      return { url, ...judgeAnswer(response), clockAheadMs: clockAhead(response) };
    });
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const advice = tlsAdvice(cause);
    const detail = `${String(cause)}${advice ? ` (${advice})` : ""}`;
    return { url, answer: "unreachable", detail, clockAheadMs: null };
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

/** One scrape of every instance, by the reader that the agent would use. */
export function engineFacts({ instances }: AgentConfig): Promise<EngineFacts[]> {
  return Promise.all(
    instances.map(async (config) => {
      const { instance, driver, reader } = config;
      const urls = [...(reader.url === undefined ? [] : [reader.url]), ...(reader.urls ?? [])];
      const quota = "quota" in driver && driver.quota ? driver.quota.type : null;
      const known = { instance, driver: driver.type, quota, reader: reader.type, urls };
      return { ...known, ...(await readingFacts(config)) };
    }),
  );
}

async function readingFacts(
  config: AgentConfig["instances"][number],
): Promise<Pick<EngineFacts, "series" | "problem" | "notes">> {
  try {
    const { series, notes = [] } = await createReader(config, systemClock).scrape(
      new AbortController().signal,
    );
    return { series: series.size, problem: null, notes };
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    const { code, message } = error;
    return { series: null, problem: { code, message }, notes: [] };
  }
}
