/** Looks at what each driver would move, as the driver itself reads it, and moves nothing. Nothing here throws. */
import type { AgentConfig } from "../config.js";
import { admissionCapDriver, type AdmissionCapConfig } from "../driver/admission-cap/admission-cap-config.js";
import { AdmissionCapKnob } from "../driver/admission-cap/admission-cap-knob.js";
import { type KvcachedConfig, kvcachedDriver } from "../driver/kvcached/kvcached-config.js";
import { readSegment } from "../driver/kvcached/segment.js";
import { segmentPlace } from "../driver/kvcached/segment-place.js";
import { DriverError } from "../partition-driver.js";
import type { EngineRestartConfig } from "../driver/restart/engine-restart.js";
import { readSplitFile, type SplitFile } from "../driver/restart/restart-knob.js";
import { semiPdEnvFile } from "../driver/semi-pd-static/env-file.js";
import { pdmuxGroupsFile } from "../driver/sglang-pdmux/groups-file.js";
import { PdmuxHookKnob } from "../driver/sglang-pdmux/hook-knob.js";
import type { SglangPdmuxConfig } from "../driver/sglang-pdmux/pdmux-config.js";
import { smUnits } from "../driver/sglang-pdmux/sm-groups.js";
import { requestJson } from "../driver/staged/json-request.js";
import type { PartFacts, PartProblem } from "./doctor-facts.js";
import type { KvcachedPlace } from "./local-facts.js";

type Driver = AgentConfig["instances"][number]["driver"];
type Quota = NonNullable<Extract<Driver, { type: "mps-respawn" }>["quota"]>;

/** What is asked of one part; null where there is nothing to ask from outside. */
interface Look {
  readonly target: string;
  readonly look: () => Promise<PartProblem | null>;
}

const HEALTH_TIMEOUT_MS = 5_000;

export async function partFacts({ instances }: AgentConfig): Promise<PartFacts[]> {
  const found = await Promise.all(
    instances.flatMap(({ instance, driver }) => {
      const quota = "quota" in driver ? driver.quota : undefined;
      return [
        partOf(instance, "driver", driver.type, lookOfDriver(driver)),
        partOf(instance, "quota", quota?.type ?? "", quota ? lookOfQuota(quota) : null),
      ];
    }),
  );
  return found.filter((part) => part !== null);
}

/** Of drivers and quotas, wherever the configuration names one. */
export function kvcachedPlaces({ instances }: AgentConfig): KvcachedPlace[] {
  return instances.flatMap(({ driver }) => {
    const quota = "quota" in driver ? driver.quota : undefined;
    return [driver, quota].filter((part) => part?.type === "kvcached");
  });
}

async function partOf(
  instance: string,
  part: PartFacts["part"],
  type: string,
  look: Look | null,
): Promise<PartFacts | null> {
  return look && { instance, part, type, target: look.target, problem: await look.look() };
}

function lookOfDriver(driver: Driver): Look | null {
  switch (driver.type) {
    case "kvcached":
      return kvcached(driver);
    case "admission-cap":
      return admissionCap(driver);
    case "semi-pd-static":
      return restart(semiPdEnvFile(driver), driver.restart);
    case "sglang-pdmux":
      return pdmux(driver);
    case "engine-sim":
    case "mps-respawn":
    case "rocm-cu-mask":
      return null;
  }
}

function lookOfQuota(quota: Quota): Look | null {
  if (quota.type === "kvcached") return kvcached(kvcachedDriver.parse(quota));
  return quota.type === "admission-cap" ? admissionCap(admissionCapDriver.parse(quota)) : null;
}

function kvcached(config: KvcachedConfig): Look {
  const { folder, segment, pageBytes, layers, kvBuffers } = config;
  const start = `start the engine with ENABLE_KVCACHED=true KVCACHED_AUTOPATCH=1 KVCACHED_IPC_NAME=${segment.replace(/\*$/, "")}`;
  return {
    target: `${folder}/${segment}`,
    look: () =>
      asked(`${start}, or set segment and folder to what ls ${folder} shows`, async () => {
        const { limitBytes } = await readSegment(await segmentPlace(segment, config));
        const bundleBytes = pageBytes * layers * kvBuffers;
        if (limitBytes >= bundleBytes) return null;
        const says = `${segment}: its limit ${limitBytes} bytes is below one bundle of ${bundleBytes} bytes`;
        return { status: "fail", says, fix: "set layers, kvBuffers and pageBytes as the engine's" };
      }),
  };
}

function admissionCap(config: AdmissionCapConfig): Look {
  return {
    target: config.url,
    look: () => answers(config.url, "The admission cap", () => new AdmissionCapKnob(config).probe()),
  };
}

function pdmux({ move, smCount, computeCapability }: SglangPdmuxConfig): Look {
  const units = smUnits(smCount, computeCapability);
  if (move.kind === "restart") return restart(pdmuxGroupsFile(move, units), move.restart);
  return {
    target: move.url,
    look: () => answers(move.url, "The hook of SGLang's pdmux", () => new PdmuxHookKnob(move, units).probe()),
  };
}

function restart(file: SplitFile, { healthUrl, allowRestart }: EngineRestartConfig): Look {
  return {
    target: healthUrl,
    look: async () => {
      const unread = await asked(`correct ${file.path}, or take it away`, async () => {
        await readSplitFile(file);
        return null;
      });
      if (unread) return unread;
      const unwell = await asked(`curl -sSi ${healthUrl}`, async () => {
        const { status } = await requestJson({ method: "GET", url: healthUrl, timeoutMs: HEALTH_TIMEOUT_MS });
        if (status === 200) return null;
        return { status: "fail", says: `${healthUrl} answered ${status}`, fix: `curl -sSi ${healthUrl}` };
      });
      if (unwell || allowRestart) return unwell;
      const says = `${file.driver} moves by a restart only, and driver.restart.allowRestart is not set`;
      return { status: "warn", says, fix: "set driver.restart.allowRestart: true" };
    },
  };
}

function answers(url: string, section: string, ask: () => Promise<unknown>): Promise<PartProblem | null> {
  return asked(`curl -sSi ${url}, which must answer as docs/engines.md "${section}" says`, async () => {
    await ask();
    return null;
  });
}

async function asked(fix: string, look: () => Promise<PartProblem | null>): Promise<PartProblem | null> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof DriverError)) throw error;
    return { status: "fail", says: error.message, fix };
  }
}
