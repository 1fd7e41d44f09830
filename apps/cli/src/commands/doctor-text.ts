/** The doctor's report for a person: what it found, which drivers can work, what to fix. */
import type { Check, DoctorReport } from "@fulcrum/agent/doctor/doctor-report.js";
import type { GpuFacts } from "@fulcrum/agent/gpu/gpu-facts.js";
import { pairsText, tableText } from "../text/table.js";

const MARKS: Readonly<Record<Check["status"], string>> = { ok: "ok", warn: "warn", fail: "FAIL", skip: "-" };

export function doctorText(report: DoctorReport, width: number | null): string {
  const { facts, checks, drivers, fixes, usable } = report;
  const { hostname, platform, arch, kernel, cpuCount, memoryBytes, nodeVersion } = facts.node;
  const parts = [
    pairsText([
      ["node", `${hostname}, ${platform} ${arch} ${kernel}`],
      ["machine", `${cpuCount} CPUs, ${gibibytes(memoryBytes)}, Node.js ${nodeVersion}`],
    ]),
  ];
  if (facts.gpus.gpus.length > 0) parts.push(gpuTable(facts.gpus.gpus, width));
  parts.push(
    tableText(
      [{ title: "check" }, { title: "" }, { title: "finding" }],
      checks.map(({ id, status, says }) => [id, MARKS[status], says]),
      null,
    ),
    tableText(
      [{ title: "driver" }, { title: "works" }, { title: "because" }],
      drivers.map(({ driver, works, reason }) => [driver, works ? "yes" : "no", reason]),
      null,
    ),
  );
  if (fixes.length > 0) {
    const lines = fixes.map(({ check, command }, i) => `${i + 1}. ${check}: ${command}`);
    parts.push(["What to fix, in this order:", ...lines].join("\n"));
  }
  parts.push(usable ? "An agent can work here." : "An agent cannot work here yet.");
  return parts.join("\n\n");
}

function gpuTable(gpus: readonly GpuFacts[], width: number | null): string {
  const columns = [
    { title: "gpu", right: true },
    { title: "name", cut: true },
    { title: "cc" },
    { title: "sms", right: true },
    { title: "memory", right: true },
    { title: "use", right: true },
    { title: "mode" },
    { title: "mig" },
    { title: "mps", right: true },
    { title: "uuid", cut: true },
  ];
  const rows = gpus.map((gpu) => [
    String(gpu.index),
    gpu.name,
    gpu.computeCapability ? `${gpu.computeCapability.major}.${gpu.computeCapability.minor}` : "?",
    text(gpu.smCount),
    gpu.memoryTotalBytes === null ? "?" : gibibytes(gpu.memoryTotalBytes),
    gpu.utilisationPct === null ? "?" : `${gpu.utilisationPct} %`,
    gpu.computeMode ?? "?",
    gpu.migEnabled === null ? "?" : gpu.migEnabled ? "on" : "off",
    text(gpu.mpsProcesses?.length ?? null),
    gpu.uuid,
  ]);
  return tableText(columns, rows, width);
}

function text(value: number | null): string {
  return value === null ? "?" : String(value);
}

function gibibytes(bytes: number): string {
  return `${Math.round(bytes / 1_073_741_824)} GiB`;
}
