import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { type Hardware, smCountOf } from "./role-view.js";

/**
 * HSA_CU_MASK for a share: `<gpu>:<first>-<last>` (rocm.docs.amd.com, "Setting the number of CUs"). The driver spreads
 * the bits over the shader engines in turn (bit i: engine i % 8, unit i / 8; measured on MI210, actuation.md §3.3), so
 * that a run of bits is an even part of each. Prefill takes its run from the low end and decode from the high end:
 * they meet only where the shares sum to more than the device.
 */
export function cuMask(role: WorkerRole, smPct: number, gpuIndex: number, hardware: Hardware): string {
  const units = smCountOf(smPct, hardware);
  const first = role === "prefill" ? 0 : hardware.smCount - units;
  return `${gpuIndex}:${first}-${first + units - 1}`;
}
