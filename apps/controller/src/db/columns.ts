import type { ValueTransformer } from "typeorm";

/** bigint columns come back as text; all of ours stay below 2^53. */
export const toNumber: ValueTransformer = {
  to: (value: number | null) => value,
  from: (value: string | null) => (value === null ? null : Number(value)),
};
