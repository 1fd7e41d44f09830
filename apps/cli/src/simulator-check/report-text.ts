import { errorPct, errorText, nearness, valueText, type Comparison } from "./comparison.js";
import type { CheckReport } from "./run-check.js";
import type { FigureTable, Section } from "./section.js";
import { SPEED_RATE_PER_S, SPEED_TARGET } from "./speed.js";

/** The report as JSON has it: every comparison with its error and how near it is. */
export function reportJson(report: CheckReport): unknown {
  return {
    ...report,
    sections: report.sections.map((section) => ({
      ...section,
      comparisons: section.comparisons.map((comparison) => ({
        ...comparison,
        errorPct: errorPct(comparison),
        nearness: nearness(comparison),
      })),
    })),
  };
}

/** The report as Markdown. */
export function reportMarkdown(report: CheckReport): string {
  const parts = [
    "# How far the simulator can be trusted",
    "Written by `fulcrum simulator check --out docs/simulator.md`; every number below was simulated by that command. References are measured or published figures with their source; a figure is **fitted** where it helped to choose the profile's numbers, so that agreement proves nothing, and **predicted** otherwise. Close is within 10 % (attainment: 5 points), rough within 30 % (15 points), anything else is off.",
    `Profile under check: \`${report.profile.name}\`. ${report.profile.sources}`,
    `Lengths: ${report.data.join(". ")}.`,
    "## In short",
    bullets(summary(report)),
    ...report.sections.flatMap(sectionParts),
    "## Speed",
    speedText(report),
  ];
  return `${parts.join("\n\n")}\n`;
}

/** One line for each section, then everything that is off, then what the conclusions depend on. */
export function summary(report: CheckReport): string[] {
  const verdicts = report.sections.flatMap(({ title, verdict }) =>
    verdict === "" ? [] : [`${title}. ${verdict}`],
  );
  const off = report.sections
    .flatMap((section) => section.comparisons)
    .filter((comparison) => nearness(comparison) === "off");
  const list = off.map((each) => `${each.what} (${each.standing}; ${errorText(each)})`).join("; ");
  const offLine = off.length === 0 ? "No figure is off." : `Off, ${off.length} figures: ${list}.`;
  const dependence = report.sections.filter(({ comparisons }) => comparisons.length === 0);
  return [...verdicts, offLine, ...dependence.flatMap(({ findings }) => findings), speedText(report)];
}

/** Whole numbers of this and the target: the ratio differs from machine to machine. */
export function speedText({ speed }: Pick<CheckReport, "speed">): string {
  const { timesRealTime, requests } = speed;
  const reached = timesRealTime >= SPEED_TARGET ? "reached" : "missed";
  return `${Number(timesRealTime.toPrecision(2))} simulated seconds in a second of one core at ${SPEED_RATE_PER_S} requests/s on (100,100), ${requests} requests, on the machine that wrote this (target ${SPEED_TARGET}: ${reached}).`;
}

function sectionParts(section: Section & { readonly verdict: string }): string[] {
  const { title, how, comparisons, tables, findings, verdict } = section;
  return [
    `## ${title}`,
    how.join(" "),
    ...(comparisons.length === 0 ? [] : [comparisonTable(comparisons), verdict, sourcesLine(comparisons)]),
    ...tables.flatMap((table) => [`${table.caption}:`, tableMarkdown(table)]),
    ...(findings.length === 0 ? [] : [bullets(findings)]),
  ];
}

function comparisonTable(comparisons: readonly Comparison[]): string {
  return tableMarkdown({
    caption: "",
    columns: ["figure", "reference", "simulated", "seeds", "error", "standing", "verdict"],
    rows: comparisons.map((comparison) => [
      comparison.what,
      valueText(comparison.unit, comparison.reference),
      valueText(comparison.unit, comparison.simulated),
      comparison.note ?? "",
      errorText(comparison),
      comparison.standing,
      nearness(comparison),
    ]),
  });
}

function sourcesLine(comparisons: readonly Comparison[]): string {
  const sources = [...new Set(comparisons.map((comparison) => comparison.source))];
  return `References: ${sources.join("; ")}.`;
}

function bullets(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join("\n");
}

/** A Markdown table with its cells padded, as the formatter leaves it. */
function tableMarkdown({ columns, rows }: FigureTable): string {
  const used = columns.map((_, i) => rows.some((row) => (row[i] ?? "") !== ""));
  const keep = (cells: readonly string[]) =>
    cells.filter((_, i) => used[i] === true).map((cell) => cell.replaceAll("|", "\\|"));
  const [head, ...body] = [keep(columns), ...rows.map(keep)];
  const widths = (head ?? []).map((cell, i) =>
    Math.max(3, cell.length, ...body.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, i) => (cells[i] ?? "").padEnd(width)).join(" | ")} |`;
  return [
    line(head ?? []),
    `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`,
    ...body.map(line),
  ].join("\n");
}
