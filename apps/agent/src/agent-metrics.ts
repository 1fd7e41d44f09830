/** The agent's own metrics in Prometheus text format. Labels come from the configuration and from constants. */

type Kind = "counter" | "gauge" | "summary";

const FAMILIES = {
  reports_total: { kind: "counter", help: "Reports by result: sent, failed." },
  acks_total: { kind: "counter", help: "Acknowledged rollout steps by the controller's outcome." },
  windows_total: { kind: "counter", help: "Windows measured." },
  windows_dropped_total: { kind: "counter", help: "Windows lost, by reason." },
  scrape_failures_total: { kind: "counter", help: "Scrapes of the engine that gave no snapshot, by code." },
  rollout_step_seconds: { kind: "summary", help: "Time that the steps of a rollout took." },
  applied_generation: { kind: "gauge", help: "Generation read back from the engine." },
  target_generation: { kind: "gauge", help: "Newest generation assigned." },
  buffered_windows: { kind: "gauge", help: "Windows that wait for the controller." },
  controller_reachable: { kind: "gauge", help: "1 while the controller answers." },
} as const satisfies Record<string, { kind: Kind; help: string }>;

type Family = keyof typeof FAMILIES;
type Labels = Readonly<Record<string, string>>;

export class AgentMetrics {
  private readonly values = new Map<Family, Map<string, { sum: number; count: number }>>();

  add(family: Family, labels: Labels, by = 1): void {
    const value = this.value(family, labels);
    value.sum += by;
    value.count += 1;
  }

  set(family: Family, labels: Labels, to: number): void {
    this.value(family, labels).sum = to;
  }

  render(): string {
    const lines: string[] = [];
    for (const [family, { kind, help }] of Object.entries(FAMILIES)) {
      const name = `fulcrum_agent_${family}`;
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`);
      for (const [labels, { sum, count }] of this.values.get(family as Family) ?? []) {
        if (kind === "summary") lines.push(`${name}_sum${labels} ${sum}`, `${name}_count${labels} ${count}`);
        else lines.push(`${name}${labels} ${sum}`);
      }
    }
    return `${lines.join("\n")}\n`;
  }

  private value(family: Family, labels: Labels): { sum: number; count: number } {
    const series = this.values.get(family) ?? new Map<string, { sum: number; count: number }>();
    this.values.set(family, series);
    const key = labelText(labels);
    const value = series.get(key) ?? { sum: 0, count: 0 };
    series.set(key, value);
    return value;
  }
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([label, value]) => `${label}="${value.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`,
  );
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}
