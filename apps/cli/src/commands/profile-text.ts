import type { ProfileFit } from "@fulcrum/simulator/profile-fit.js";
import type { CurveFit } from "@fulcrum/simulator/profile-fit-curves.js";
import { sizeOf, type PhaseFit } from "@fulcrum/simulator/profile-fit-phase.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { tableText } from "../text/table.js";

/** What was not measured, and whether it comes from the base or the command line; one line each. */
export function settingsText(base: Profile, settled: Profile): string[] {
  const values: readonly (readonly [string, (profile: Profile) => string])[] = [
    ["GPUs", (p) => `${p.gpus ?? 1}`],
    ["SMs of a GPU / in a TPC", (p) => `${p.smCount} / ${p.smPerTpc}`],
    ["Engine constants, prefill and decode", (p) => `${p.prefill.engineMs} and ${p.decode.engineMs} ms`],
    [
      "Contention: decode beside prefill, prefill beside decode, overlap to prefill",
      ({ contention: c }) => `${c.decodeByPrefill}, ${c.prefillByDecode}, ${c.overlapToPrefill}`,
    ],
    ["KV pool", (p) => `${p.kvTotalTokens} tokens in blocks of ${p.kvBlockTokens}`],
    [
      "Limits",
      (p) => `${p.maxBatch} sequences in a decode batch, ${p.maxBatchedTokens} tokens in a prefill batch`,
    ],
  ];
  return values.map(([name, of]) => {
    const from = of(base) === of(settled) ? `as ${base.name} has it` : "as given with the fit";
    return `${name}: ${of(settled)} (${from})`;
  });
}

/** Above these a fit is called poor: the composed A100 grid fits its 8B decode to 4.5 % and R2 0.976. */
const POOR_MAPE_PCT = 15;
const POOR_R2 = 0.9;

export interface FitTextOptions {
  readonly settings: readonly string[];
  readonly withGrid: boolean;
  readonly out: string;
}

/** The report of `fulcrum profile fit`. */
export function fitText(fit: ProfileFit, options: FitTextOptions): string {
  const lines = ["Kernel milliseconds on all SMs:", ...fit.phases.flatMap(phaseLines)];
  if (options.withGrid) {
    lines.push(
      "  The measured points are in the profile too: the simulator interpolates them, and follows the",
      "  coefficients only beyond their edges.",
    );
  }
  if (fit.curves.length > 0) lines.push("", "Slowdown a/f + b at SM share f:", curveTable(fit.curves));
  lines.push("", "Not measured:", ...options.settings.map((line) => `  ${line}`));
  lines.push("", "A simulation with this profile extrapolates here:");
  lines.push(...fit.extrapolates.map((line) => `  ${line}`), "", `Wrote ${options.out}.`);
  return lines.join("\n");
}

function phaseLines(fit: PhaseFit): string[] {
  const { phase, kernelMs, goodness, ranges } = fit;
  const [k0, k1, k2] = kernelMs.map((value) => Number(value.toPrecision(4)).toString());
  const [size, weight] = phase === "prefill" ? ["tokens", "sumSq"] : ["sequences", "context tokens"];
  const { errorPct } = goodness.worst;
  const unit = phase === "prefill" ? "tokens" : "tokens of context";
  const lines = [
    `  ${phase.padEnd(7)} ${k0} + ${k1} x ${size} + ${k2} x ${weight}`,
    `          ${fit.points} points, R2 ${r2Text(goodness.r2)}, mean error ${goodness.mapePct.toFixed(1)} %, worst ${signed(errorPct)} %`,
    `          measured: batches of ${ranges.batchSize.join("..")}, ${ranges.length.join("..")} ${unit} each`,
  ];
  if (fit.heldAtZero.length > 0)
    lines.push(`          held at zero, a free fit would go below: ${fit.heldAtZero.join(", ")}`);
  if (goodness.mapePct > POOR_MAPE_PCT || (goodness.r2 ?? 1) < POOR_R2)
    lines.push("          This is a poor fit: the form does not describe these measurements.");
  return lines;
}

function curveTable(curves: readonly CurveFit[]): string {
  const columns = ["curve", "a", "b", "R2", "error %", "batches", "medians at share %"].map((title, i) => ({
    title,
    right: i > 0 && i < 6,
  }));
  const rows = curves.map((fit) => [
    `${fit.phase} ${fit.end === "small" ? "<=" : ">="} ${sizeWords(fit)}`,
    fit.curve.a.toFixed(3),
    fit.curve.b.toFixed(3),
    r2Text(fit.r2),
    fit.mapePct.toFixed(1),
    String(fit.batches),
    fit.medians.map(({ smPct, slowdown }) => `${smPct}: ${slowdown.toFixed(2)}`).join("  "),
  ]);
  return tableText(columns, rows, null)
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}

function sizeWords({ phase, curve }: CurveFit): string {
  const size = sizeOf(phase, { batchSize: curve.size, length: 1 });
  return `${size} ${phase === "prefill" ? "tokens" : "sequences"}`;
}

function r2Text(r2: number | null): string {
  return r2 === null ? "-" : r2.toFixed(r2 > 0.99 ? 4 : 3);
}

function signed(value: number): string {
  return `${value < 0 ? "" : "+"}${value.toFixed(1)}`;
}
