import { z } from "zod";
import { httpsOrLoopback, oidcRoles, otlpHeaders, type RoleMap } from "./config-fields.js";

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
  FULCRUM_TLS_CERT_FILE: z.string().min(1).optional(),
  FULCRUM_TLS_KEY_FILE: z.string().min(1).optional(),
  /** Agents must then show a certificate of this CA with their name in it. */
  FULCRUM_TLS_AGENT_CA_FILE: z.string().min(1).optional(),
  FULCRUM_OIDC_ISSUER: httpsOrLoopback.optional(),
  FULCRUM_OIDC_AUDIENCE: z.string().min(1).max(500).optional(),
  FULCRUM_OIDC_ROLE_CLAIM: z.string().min(1).max(200).default("fulcrum_role"),
  /** What the claim's values mean, such as sre=operator,staff=viewer; unset: they are roles. */
  FULCRUM_OIDC_ROLES: oidcRoles.optional(),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/, error: "must be an http:// or https:// URL" })
    .optional(),
  OTEL_EXPORTER_OTLP_HEADERS: otlpHeaders.optional(),
  OTEL_SERVICE_NAME: z.string().min(1).max(200).default("fulcrum-controller"),
});

/** What must be given together. */
const complete = environment.superRefine((value, context) => {
  const needs = (given: keyof typeof value, needed: readonly (keyof typeof value)[]) => {
    if (value[given] === undefined) return;
    for (const name of needed) {
      if (value[name] === undefined)
        context.addIssue({ code: "custom", path: [name], message: `is required with ${given}` });
    }
  };
  needs("FULCRUM_TLS_CERT_FILE", ["FULCRUM_TLS_KEY_FILE"]);
  needs("FULCRUM_TLS_KEY_FILE", ["FULCRUM_TLS_CERT_FILE"]);
  needs("FULCRUM_TLS_AGENT_CA_FILE", ["FULCRUM_TLS_CERT_FILE", "FULCRUM_TLS_KEY_FILE"]);
  needs("FULCRUM_OIDC_ISSUER", ["FULCRUM_OIDC_AUDIENCE"]);
  needs("FULCRUM_OIDC_AUDIENCE", ["FULCRUM_OIDC_ISSUER"]);
  needs("FULCRUM_OIDC_ROLES", ["FULCRUM_OIDC_ISSUER"]);
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
  /** null: plain http. */
  readonly tls: TlsConfig | null;
  /** null: API keys only. */
  readonly oidc: OidcConfig | null;
  /** null: no traces are made. */
  readonly tracing: TracingConfig | null;
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

export interface TlsConfig {
  readonly certFile: string;
  readonly keyFile: string;
  /** null: agents need no certificate. */
  readonly agentCaFile: string | null;
}

export interface OidcConfig {
  /** Exactly as it stands in `iss`. */
  readonly issuer: string;
  readonly audience: string;
  /** A claim's name, or a path with dots into claims. */
  readonly roleClaim: string;
  /** From the claim's values to roles; null: the values are roles. */
  readonly roles: RoleMap | null;
}

export interface TracingConfig {
  /** Of the collector; traces go to /v1/traces below it. */
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly serviceName: string;
}

export const CONFIG = Symbol("Config");

/** Throws an Error that names every variable that is wrong, with its bound. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
  const parsed = complete.safeParse(given);
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
    tls: tlsOf(value),
    oidc: oidcOf(value),
    tracing: tracingOf(value),
  };
}

type Environment = z.infer<typeof environment>;

function tlsOf(value: Environment): TlsConfig | null {
  const { FULCRUM_TLS_CERT_FILE: certFile, FULCRUM_TLS_KEY_FILE: keyFile } = value;
  if (certFile === undefined || keyFile === undefined) return null;
  return { certFile, keyFile, agentCaFile: value.FULCRUM_TLS_AGENT_CA_FILE ?? null };
}

function oidcOf(value: Environment): OidcConfig | null {
  const { FULCRUM_OIDC_ISSUER: issuer, FULCRUM_OIDC_AUDIENCE: audience } = value;
  if (issuer === undefined || audience === undefined) return null;
  return {
    issuer,
    audience,
    roleClaim: value.FULCRUM_OIDC_ROLE_CLAIM,
    roles: value.FULCRUM_OIDC_ROLES ?? null,
  };
}

function tracingOf(value: Environment): TracingConfig | null {
  const endpoint = value.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (endpoint === undefined) return null;
  const headers = value.OTEL_EXPORTER_OTLP_HEADERS ?? {};
  return { endpoint, headers, serviceName: value.OTEL_SERVICE_NAME };
}
