/** Xid errors as NVML tells them: once each, from the moment on at which somebody listens. */
import { deviceHandles, uuidOf } from "./nvml-gpus.js";
import { NVML, NvmlError, type NvmlLibrary } from "./nvml.js";

export interface XidEvent {
  readonly gpu: string;
  /** docs.nvidia.com/deploy/xid-errors */
  readonly xid: number;
}

const EVENT_XID = 8n;
/** nvmlEventData_t: device, type, data (8 bytes each), GPU instance, compute instance (4 each). */
const EVENT_BYTES = 32;
/** A GPU in trouble can tell faster than anybody reads. */
const MAX_EVENTS_PER_LOOK = 100;

export class XidListener {
  private constructor(
    private readonly nvml: NvmlLibrary,
    private readonly set: bigint,
    private readonly uuids: ReadonlyMap<bigint, string>,
  ) {}

  /** null where no GPU of this node tells Xid errors. @throws NvmlError */
  static async listen(nvml: NvmlLibrary): Promise<XidListener | null> {
    const created = Buffer.alloc(8);
    await nvml.must("nvmlEventSetCreate", created);
    const set = created.readBigUInt64LE();
    const uuids = new Map<bigint, string>();
    for (const device of await deviceHandles(nvml)) {
      const uuid = await uuidOf(nvml, device);
      if (uuid !== null && (await nvml.can("nvmlDeviceRegisterEvents", device, EVENT_XID, set))) {
        uuids.set(device, uuid);
      }
    }
    if (uuids.size > 0) return new XidListener(nvml, set, uuids);
    await nvml.call("nvmlEventSetFree", set);
    return null;
  }

  /** What happened since the last look; does not wait. @throws NvmlError */
  async look(): Promise<readonly XidEvent[]> {
    const events: XidEvent[] = [];
    while (events.length < MAX_EVENTS_PER_LOOK) {
      const data = Buffer.alloc(EVENT_BYTES);
      const status = await this.nvml.call("nvmlEventSetWait_v2", this.set, data, 0);
      if (status === NVML.timeout) break;
      if (status !== NVML.ok) {
        throw new NvmlError("failed", `nvmlEventSetWait_v2 answered ${status}`, status);
      }
      const gpu = this.uuids.get(data.readBigUInt64LE(0));
      if (gpu !== undefined && data.readBigUInt64LE(8) === EVENT_XID) {
        events.push({ gpu, xid: Number(data.readBigUInt64LE(16)) });
      }
    }
    return events;
  }

  async close(): Promise<void> {
    await this.nvml.call("nvmlEventSetFree", this.set).catch(() => undefined);
  }
}
