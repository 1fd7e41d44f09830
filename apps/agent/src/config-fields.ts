/** Pieces that configurations share. */
import { isAbsolute } from "node:path";
import { z } from "zod";

export const absolutePath = z
  .string()
  .max(4_095)
  .refine((path) => isAbsolute(path), "must be an absolute path");

export const httpUrl = z.url({ protocol: /^https?$/, error: "must be an http:// or https:// URL" });

/** A command and its arguments, run without a shell. */
export const argv = z
  .array(z.string().min(1).max(4_096), "must be a list: the command and its arguments, no shell")
  .min(1)
  .max(64);

export const durationMs = (least: number, most: number, usual: number) =>
  z.number().min(least).max(most).default(usual);

/** The share of both phases where the split cannot be moved: 100 where the engine has none. */
export const fixedSmPct = z.number().min(1).max(100).default(100);
