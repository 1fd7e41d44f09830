import { defineConfig } from "vitest/config";

// Tests read the workspaces' sources (package.json "source" condition), so that no build is needed;
// process tests spawn the built apps, which is why `npm test` builds first.
// Not "module": Node itself is given these too, and what some packages name so (OpenTelemetry's API) only a bundler can load.
const conditions = ["source", "node", "development|production"];
const shared = { resolve: { conditions }, ssr: { resolve: { conditions } } };

export default defineConfig({
  test: {
    projects: [
      {
        // Pure rules: no Postgres, no processes, no sockets.
        ...shared,
        test: {
          name: "unit",
          // One kind after the other: processes under test must not wait for the unit tests' CPU.
          sequence: { groupOrder: 1 },
          include: ["libs/*/src/**/*.test.ts", "apps/*/src/**/*.test.ts", "test/tidy/**/*.test.ts"],
          exclude: ["**/*.pg.test.ts", "**/*.process.test.ts", "**/node_modules/**"],
          // Some simulate hours: on a machine that is busy with other work the usual 5 s are not enough.
          testTimeout: 60_000,
        },
      },
      {
        // Against a real Postgres (and Redis where redis-server is found).
        ...shared,
        test: {
          name: "postgres",
          sequence: { groupOrder: 2 },
          include: ["libs/*/src/**/*.pg.test.ts", "apps/*/src/**/*.pg.test.ts", "test/postgres/**/*.test.ts"],
          globalSetup: ["test/support/postgres-server.ts"],
          testTimeout: 30_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
        },
      },
      {
        // Real processes: kills, restarts, the demo.
        ...shared,
        test: {
          name: "process",
          sequence: { groupOrder: 3 },
          include: [
            "libs/*/src/**/*.process.test.ts",
            "apps/*/src/**/*.process.test.ts",
            "test/process/**/*.test.ts",
          ],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 1,
        },
      },
      {
        // The page in a real Chromium on a real controller; skipped where there is no Chromium.
        ...shared,
        test: {
          name: "browser",
          sequence: { groupOrder: 4 },
          include: ["test/browser/**/*.test.ts"],
          globalSetup: ["test/support/postgres-server.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 1,
        },
      },
    ],
  },
});
