import { z } from "zod";

/** The only place that reads the environment. Every variable, its bound and its default. */
const environment = z.object({
  DATABASE_URL: z.string().min(1, "is required, for example postgres://user:password@127.0.0.1:5432/fulcrum"),
  REDIS_URL: z.string().min(1).optional(),
  HOST: z.string().default("127.0.0.1"),
  PORT: z.coerce.number().int().min(0).max(65_535).default(7070),
  LOG_LEVEL: z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"]).default("info"),
  FULCRUM_BOOTSTRAP_ADMIN_KEY: z
    .string()
    .regex(/^fk_[A-Za-z0-9_-]{32,}$/, "must be fk_ and at least 32 url-safe characters")
    .optional(),
  /** 2 MiB holds 256 instances with a few windows each; a window is about 1.5 KB. */
  FULCRUM_BODY_LIMIT_BYTES: z.coerce
    .number()
    .int()
    .min(1_024)
    .max(64 * 1_024 * 1_024)
    .default(2 * 1_024 * 1_024),
  FULCRUM_DB_POOL: z.coerce.number().int().min(2).max(100).default(10),
  FULCRUM_OFFER_TIMEOUT_MS: stepTimeout(10_000),
  FULCRUM_PREPARE_TIMEOUT_MS: stepTimeout(60_000),
  FULCRUM_SWITCH_TIMEOUT_MS: stepTimeout(20_000),
  FULCRUM_VERIFY_TIMEOUT_MS: stepTimeout(10_000),
  FULCRUM_MAX_ATTEMPTS: z.coerce.number().int().min(1).max(20).default(3),
  FULCRUM_RETRY_BACKOFF_MS: z.coerce.number().int().min(10).max(600_000).default(1_000),
  FULCRUM_WINDOW_RETENTION_HOURS: z.coerce
    .number()
    .int()
    .min(1)
    .max(24 * 90)
    .default(24),
  FULCRUM_DECISION_RETENTION_DAYS: z.coerce.number().int().min(1).max(3_650).default(90),
  /** Unset: the audit log is kept for ever. */
  FULCRUM_AUDIT_RETENTION_MONTHS: z.coerce.number().int().min(1).max(1_200).optional(),
});

function stepTimeout(defaultMs: number) {
  return z.coerce.number().int().min(50).max(3_600_000).default(defaultMs);
}

export interface Config {
  readonly databaseUrl: string;
  readonly redisUrl: string | null;
  readonly host: string;
  readonly port: number;
  readonly logLevel: string;
  readonly bootstrapAdminKey: string | null;
  readonly bodyLimitBytes: number;
  readonly dbPoolSize: number;
  readonly rollout: RolloutConfig;
  readonly windowRetentionHours: number;
  readonly decisionRetentionDays: number;
  /** Whole months before the present one that are kept; null: all. */
  readonly auditRetentionMonths: number | null;
}

/** How long a reconfiguration may stay in each step, and how often it is tried. */
export interface RolloutConfig {
  readonly offerTimeoutMs: number;
  readonly prepareTimeoutMs: number;
  readonly switchTimeoutMs: number;
  readonly verifyTimeoutMs: number;
  readonly maxAttempts: number;
  readonly retryBackoffMs: number;
}

export const CONFIG = Symbol("Config");

/** Throws an Error that names every variable that is wrong, with its bound. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
  const parsed = environment.safeParse(given);
  if (!parsed.success) {
    throw new Error(
      parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("\n"),
    );
  }
  const value = parsed.data;
  return {
    databaseUrl: value.DATABASE_URL,
    redisUrl: value.REDIS_URL ?? null,
    host: value.HOST,
    port: value.PORT,
    logLevel: value.LOG_LEVEL,
    bootstrapAdminKey: value.FULCRUM_BOOTSTRAP_ADMIN_KEY ?? null,
    bodyLimitBytes: value.FULCRUM_BODY_LIMIT_BYTES,
    dbPoolSize: value.FULCRUM_DB_POOL,
    rollout: {
      offerTimeoutMs: value.FULCRUM_OFFER_TIMEOUT_MS,
      prepareTimeoutMs: value.FULCRUM_PREPARE_TIMEOUT_MS,
      switchTimeoutMs: value.FULCRUM_SWITCH_TIMEOUT_MS,
      verifyTimeoutMs: value.FULCRUM_VERIFY_TIMEOUT_MS,
      maxAttempts: value.FULCRUM_MAX_ATTEMPTS,
      retryBackoffMs: value.FULCRUM_RETRY_BACKOFF_MS,
    },
    windowRetentionHours: value.FULCRUM_WINDOW_RETENTION_HOURS,
    decisionRetentionDays: value.FULCRUM_DECISION_RETENTION_DAYS,
    auditRetentionMonths: value.FULCRUM_AUDIT_RETENTION_MONTHS ?? null,
  };
}
