import { describe, expect, test } from "vitest";

import { readConfig } from "./config.js";

const DATABASE_URL = "postgres://u:p@127.0.0.1:5432/d";

describe("readConfig", () => {
  test("needs nothing but the database", () => {
    expect(readConfig({ DATABASE_URL })).toEqual({
      databaseUrl: DATABASE_URL,
      redisUrl: null,
      host: "127.0.0.1",
      port: 7070,
      logLevel: "info",
      bootstrapAdminKey: null,
      bodyLimitBytes: 2_097_152,
      dbPoolSize: 10,
      rollout: {
        offerTimeoutMs: 10_000,
        prepareTimeoutMs: 60_000,
        switchTimeoutMs: 20_000,
        verifyTimeoutMs: 10_000,
        maxAttempts: 3,
        retryBackoffMs: 1_000,
      },
      windowRetentionHours: 24,
      decisionRetentionDays: 90,
      auditRetentionMonths: null,
      tls: null,
      oidc: null,
      tracing: null,
    });
  });

  test("reads TLS, an issuer and a collector", () => {
    const config = readConfig({
      DATABASE_URL,
      FULCRUM_TLS_CERT_FILE: "/tls/tls.crt",
      FULCRUM_TLS_KEY_FILE: "/tls/tls.key",
      FULCRUM_OIDC_ISSUER: "https://login.example.com/realms/gpu",
      FULCRUM_OIDC_AUDIENCE: "fulcrum",
      FULCRUM_OIDC_ROLE_CLAIM: "realm_access.roles",
      FULCRUM_OIDC_ROLES: "/groups/sre=operator, staff=viewer",
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318",
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20abc, x-tenant=gpu",
    });
    expect(config.tls).toEqual({ certFile: "/tls/tls.crt", keyFile: "/tls/tls.key", agentCaFile: null });
    expect(config.tracing).toEqual({
      endpoint: "http://collector:4318",
      headers: { authorization: "Bearer abc", "x-tenant": "gpu" },
      serviceName: "fulcrum-controller",
    });
    expect(config.oidc).toEqual({
      issuer: "https://login.example.com/realms/gpu",
      audience: "fulcrum",
      roleClaim: "realm_access.roles",
      roles: { "/groups/sre": "operator", staff: "viewer" },
    });
  });

  test("takes an empty variable as one that is not set", () => {
    expect(readConfig({ DATABASE_URL, PORT: "", REDIS_URL: "", FULCRUM_BOOTSTRAP_ADMIN_KEY: "" })).toEqual(
      readConfig({ DATABASE_URL }),
    );
  });

  test("leaves what is not ours alone", () => {
    expect(readConfig({ DATABASE_URL, PATH: "/bin", FULCRUM_AGENT_NAME: "x" })).toEqual(
      readConfig({ DATABASE_URL }),
    );
  });

  const wrong: [string, string | undefined][] = [
    ["DATABASE_URL", undefined],
    ["DATABASE_URL", ""],
    ["PORT", "65536"],
    ["PORT", "-1"],
    ["PORT", "7070.5"],
    ["PORT", "http"],
    ["LOG_LEVEL", "loud"],
    ["FULCRUM_BOOTSTRAP_ADMIN_KEY", "secret"],
    ["FULCRUM_BOOTSTRAP_ADMIN_KEY", `fk_${"a".repeat(31)}`],
    ["FULCRUM_BODY_LIMIT_BYTES", "1023"],
    ["FULCRUM_BODY_LIMIT_BYTES", "1e12"],
    ["FULCRUM_DB_POOL", "1"],
    ["FULCRUM_OFFER_TIMEOUT_MS", "49"],
    ["FULCRUM_PREPARE_TIMEOUT_MS", "NaN"],
    ["FULCRUM_SWITCH_TIMEOUT_MS", "Infinity"],
    ["FULCRUM_VERIFY_TIMEOUT_MS", "3600001"],
    ["FULCRUM_MAX_ATTEMPTS", "0"],
    ["FULCRUM_RETRY_BACKOFF_MS", "9"],
    ["FULCRUM_WINDOW_RETENTION_HOURS", "0"],
    ["FULCRUM_DECISION_RETENTION_DAYS", "3651"],
    ["FULCRUM_OIDC_ISSUER", "http://login.example.com"],
    ["FULCRUM_OIDC_ISSUER", "login"],
    ["FULCRUM_OIDC_ROLES", "sre=root"],
    ["FULCRUM_OIDC_ROLES", "operator"],
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"],
    ["OTEL_EXPORTER_OTLP_HEADERS", "authorization"],
  ];
  test.each(wrong)("%s=%s is refused by name", (name, value) => {
    expect(() => readConfig({ DATABASE_URL, [name]: value })).toThrow(new RegExp(`^${name}: .+`));
  });

  test.each([
    ["FULCRUM_TLS_KEY_FILE", { FULCRUM_TLS_CERT_FILE: "a" }],
    ["FULCRUM_TLS_CERT_FILE", { FULCRUM_TLS_KEY_FILE: "a" }],
    ["FULCRUM_TLS_CERT_FILE", { FULCRUM_TLS_AGENT_CA_FILE: "a" }],
    ["FULCRUM_OIDC_AUDIENCE", { FULCRUM_OIDC_ISSUER: "http://127.0.0.1:9000" }],
    ["FULCRUM_OIDC_ISSUER", { FULCRUM_OIDC_AUDIENCE: "fulcrum" }],
  ])("asks for %s beside %j", (missing, given) => {
    expect(() => readConfig({ DATABASE_URL, ...given })).toThrow(new RegExp(`^${missing}: is required with`));
  });

  test("names every variable that is wrong, a line each", () => {
    let message = "";
    try {
      readConfig({ PORT: "x", FULCRUM_DB_POOL: "0" });
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message.split("\n").map((line) => line.split(":")[0])).toEqual([
      "DATABASE_URL",
      "PORT",
      "FULCRUM_DB_POOL",
    ]);
  });
});
