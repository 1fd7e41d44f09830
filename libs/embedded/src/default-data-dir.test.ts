import { describe, expect, test } from "vitest";

import { defaultDataDir } from "./default-data-dir.js";

describe("where the state is kept when nothing is said", () => {
  test.each([
    ["root on Linux", {}, 0, "/root", "linux", "/var/lib/fulcrum"],
    ["root with a state home of its own", { XDG_STATE_HOME: "/x" }, 0, "/root", "linux", "/var/lib/fulcrum"],
    ["root on macOS", {}, 0, "/var/root", "darwin", "/var/lib/fulcrum"],
    ["a person", {}, 1000, "/home/ada", "linux", "/home/ada/.local/state/fulcrum"],
    ["a person with XDG_STATE_HOME", { XDG_STATE_HOME: "/s" }, 1000, "/home/ada", "linux", "/s/fulcrum"],
    [
      "a relative XDG_STATE_HOME",
      { XDG_STATE_HOME: "s" },
      1000,
      "/home/ada",
      "linux",
      "/home/ada/.local/state/fulcrum",
    ],
    [
      "an empty XDG_STATE_HOME",
      { XDG_STATE_HOME: "" },
      1000,
      "/home/ada",
      "linux",
      "/home/ada/.local/state/fulcrum",
    ],
    [
      "a person on macOS",
      { XDG_STATE_HOME: "/s" },
      501,
      "/Users/ada",
      "darwin",
      "/Users/ada/Library/Application Support/fulcrum",
    ],
  ])("%s", (_who, env, uid, homedir, platform, expected) => {
    expect(defaultDataDir(env, uid, homedir, platform)).toBe(expected);
  });
});
