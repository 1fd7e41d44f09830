/** The drivers without workers of their own: a knob, and the part that is the same for all. */
import { join } from "node:path";
import type { z } from "zod";
import type { Clock } from "../clock.js";
import {
  type AdmissionCapConfig,
  admissionCapDriver,
  type admissionCapQuota,
} from "./admission-cap/admission-cap-config.js";
import { AdmissionCapKnob } from "./admission-cap/admission-cap-knob.js";
import { type KvcachedConfig, kvcachedDriver, type kvcachedQuota } from "./kvcached/kvcached-config.js";
import { KvcachedKnob } from "./kvcached/kvcached-knob.js";
import type { PartitionDriver } from "../partition-driver.js";
import { DrainedRestart } from "./restart/drained-restart.js";
import type { EngineRestartConfig } from "./restart/engine-restart.js";
import { type ReadBack, RestartKnob, type SplitFile } from "./restart/restart-knob.js";
import { semiPdEnvFile } from "./semi-pd-static/env-file.js";
import type { SemiPdStaticConfig } from "./semi-pd-static/semi-pd-config.js";
import { SmCountLog } from "./semi-pd-static/sm-count-log.js";
import { pdmuxGroupsFile } from "./sglang-pdmux/groups-file.js";
import { PdmuxHookKnob } from "./sglang-pdmux/hook-knob.js";
import type { SglangPdmuxConfig } from "./sglang-pdmux/pdmux-config.js";
import { smUnits } from "./sglang-pdmux/sm-groups.js";
import type { Knob } from "./staged/knob.js";
import { SplitWithQuota } from "./staged/split-with-quota.js";
import { StagedDriver } from "./staged/staged-driver.js";

export type StagedConfig = KvcachedConfig | AdmissionCapConfig | SemiPdStaticConfig | SglangPdmuxConfig;
export type QuotaConfig = z.infer<typeof kvcachedQuota> | z.infer<typeof admissionCapQuota>;

export interface DriverPlace {
  readonly instance: string;
  /** The agent's; drivers keep files in its folder `drivers`. */
  readonly stateDir: string;
  readonly clock: Clock;
}

export function createStagedDriver(config: StagedConfig, place: DriverPlace): PartitionDriver {
  return new StagedDriver(knobOf(config, place), stateFile(place, config.type));
}

/** Moves the KV quota beside a driver that moves the split. */
export function withQuota(split: PartitionDriver, quota: QuotaConfig, place: DriverPlace): PartitionDriver {
  const config = quota.type === "kvcached" ? kvcachedDriver.parse(quota) : admissionCapDriver.parse(quota);
  return new SplitWithQuota(split, createStagedDriver(config, place));
}

function knobOf(config: StagedConfig, place: DriverPlace): Knob {
  switch (config.type) {
    case "kvcached":
      return new KvcachedKnob(config, stateFile(place, "kvcached-start"));
    case "admission-cap":
      return new AdmissionCapKnob(config);
    case "semi-pd-static": {
      const { logFile, smCount, restart } = config;
      const log = logFile !== undefined && smCount !== undefined ? new SmCountLog(logFile, smCount) : null;
      return restartKnob(semiPdEnvFile(config), restart, log, place);
    }
    case "sglang-pdmux": {
      const { move, smCount, computeCapability } = config;
      const units = smUnits(smCount, computeCapability);
      if (move.kind === "hook") return new PdmuxHookKnob(move, units);
      return restartKnob(pdmuxGroupsFile(move, units), move.restart, null, place);
    }
  }
}

function restartKnob(
  file: SplitFile,
  restart: EngineRestartConfig,
  readBack: ReadBack | null,
  place: DriverPlace,
): RestartKnob {
  return new RestartKnob({
    file,
    restart: new DrainedRestart(restart, place.clock, stateFile(place, "restart")),
    healthUrl: restart.healthUrl,
    healthTimeoutMs: Math.max(1_000, restart.healthPollMs),
    readBack,
  });
}

function stateFile({ stateDir, instance }: DriverPlace, what: string): string {
  return join(stateDir, "drivers", `${instance}.${what}.json`);
}
