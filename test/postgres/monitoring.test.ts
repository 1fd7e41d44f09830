import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";

import { foldCounts } from "@fulcrum/controller/budgets/fold.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { poolBody, registrationEntry } from "../support/wire.js";

const fixture = useControllers();
const SOON = { timeout: 20_000, interval: 100 };
const docker = new URL("../../docker/", import.meta.url);

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

const rules = (
  parse(readFileSync(new URL("prometheus/rules.yaml", docker), "utf8")) as { groups: { rules: Rule[] }[] }
).groups.flatMap((group) => group.rules);

const dashboard = JSON.parse(readFileSync(new URL("grafana/dashboards/fulcrum.json", docker), "utf8")) as {
  panels: { id: number; title: string; targets: { expr: string }[] }[];
  templating: { list: { query: string }[] };
};

/** Metrics of Fulcrum that an expression reads, and what other rules record. */
function namesIn(expr: string): string[] {
  return expr.match(/\bfulcrum[_:][a-z0-9_:]+/g) ?? [];
}

let samples: Map<string, string[]>;
let types: Map<string, string>;

beforeAll(async () => {
  await fixture.controller.ask("createPool", { body: poolBody("watched") });
  const agent = new TestAgent(fixture.controller, "watched-agent");
  await agent.register(registrationEntry("watched-i", "watched"));
  await agent.report("watched-i");
  await vi.waitFor(async () => {
    await foldCounts(fixture.controller.source, Date.now());
    const { requests } = await fixture.controller.ask("getBudget", { params: { pool: "watched" } });
    expect(requests).toBeGreaterThan(0);
  }, SOON);
  const text = await (await fetch(`${fixture.controller.url}/metrics`)).text();
  samples = new Map();
  for (const line of text.split("\n").filter((each) => each !== "" && !each.startsWith("#"))) {
    const name = /^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(line)![0];
    samples.set(name, [...(samples.get(name) ?? []), line]);
  }
  types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name!, type!]));
});

/** A histogram's series have its name and an ending. */
function exists(name: string): boolean {
  const histogram = /^(.*)_(?:bucket|sum|count)$/.exec(name)?.[1];
  return types.has(name) || (histogram !== undefined && types.get(histogram) === "histogram");
}

describe("every metric that is named is one of a real controller", () => {
  const recorded = new Set(rules.flatMap(({ record }) => (record ? [record] : [])));

  test.each(rules.map((rule) => [rule.alert ?? rule.record!, rule] as const))("rule %s", (_, { expr }) => {
    for (const name of namesIn(expr)) expect(recorded.has(name) || exists(name), name).toBe(true);
  });

  test.each(dashboard.panels.map((panel) => [panel.title, panel] as const))("panel %s", (_, { targets }) => {
    const names = targets.flatMap(({ expr }) => namesIn(expr));
    expect(names).not.toEqual([]);
    for (const name of names) expect(exists(name), name).toBe(true);
  });

  test("the dashboard's variable", () => {
    for (const { query } of dashboard.templating.list)
      for (const name of namesIn(query)) expect(exists(name), name).toBe(true);
  });
});

test("an alert says how bad it is, and what it is about", () => {
  for (const { alert, labels, annotations } of rules.filter((rule) => rule.alert)) {
    expect(["page", "ticket"], alert).toContain(labels?.["severity"]);
    expect(annotations?.["summary"], alert).toBeTruthy();
  }
});

test("an engine that is dead behind a live agent pages; messages that were given up long ago do not fire for ever", () => {
  const rule = (name: string) => rules.find(({ alert }) => alert === name);
  expect(rule("FulcrumInstancesStale")).toMatchObject({
    expr: expect.stringContaining("fulcrum_instances_stale"),
    labels: { severity: "page" },
  });
  expect(rule("FulcrumWebhookDeadLetters")!.expr).toBe("max(delta(fulcrum_webhook_deliveries_dead[1d])) > 0");
});

test("rates are taken of counters only", () => {
  const expressions = [
    ...rules.map(({ expr }) => expr),
    ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
  ];
  for (const [, name] of expressions.join("\n").matchAll(/(?:rate|increase)\((\w+)/g)) {
    const base = name!.replace(/_bucket$/, "");
    expect(["counter", "histogram"], name).toContain(types.get(base));
  }
});

test("a pool's promise, budget, burn and thresholds are told with its name", () => {
  for (const name of [
    "fulcrum_slo_requests_total",
    "fulcrum_slo_requests_within_total",
    "fulcrum_slo_budget_remaining_share",
  ])
    expect(samples.get(name)).toEqual([expect.stringContaining('{pool="watched"}')]);
  expect(samples.get("fulcrum_slo_target_share")).toEqual(['fulcrum_slo_target_share{pool="watched"} 0.9']);
  const windows = (samples.get("fulcrum_slo_burn_rate") ?? []).map(
    (line) => /window="(\w+)"/.exec(line)?.[1] ?? "",
  );
  expect(windows.toSorted()).toEqual(["1h", "30m", "3d", "5m", "6h"]);
  const alerts = (samples.get("fulcrum_slo_burn_threshold") ?? []).map(
    (line) => /alert="(\w+)"/.exec(line)?.[1],
  );
  expect(alerts).toEqual(["burn_1h", "burn_6h", "burn_3d"]);
});
