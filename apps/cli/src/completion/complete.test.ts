import { PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import { createProgram } from "../program.js";
import { complete } from "./complete.js";

const io = {
  stdin: new PassThrough(),
  stdout: new PassThrough(),
  stderr: new PassThrough(),
  env: {},
  now: () => 0,
};
const program = createProgram(io);
const at = (line: string) => {
  const words = line.split(" ");
  return complete(program, words.slice(1, -1), words.at(-1) ?? "");
};
const values = (line: string) => at(line).candidates.map(({ value }) => value);

describe("completion", () => {
  test.each([
    ["fulcrum po", ["pools"]],
    ["fulcrum pools ", ["list", "get", "export", "create", "set", "delete", "help"]],
    ["fulcrum pools create chat --mode o", ["observe"]],
    ["fulcrum pools create chat --mode = enf", ["enforce"]],
    ["fulcrum --url http://x pools l", ["list"]],
    ["fulcrum completion ", ["bash", "zsh", "fish"]],
    ["fulcrum apply --pr", ["--prune"]],
    ["fulcrum nonsense ", []],
  ])("%s", (line, want) => expect(values(line).toSorted()).toEqual(want.toSorted()));

  test.each([
    ["fulcrum pools get c", "pools"],
    ["fulcrum decisions list --pool ", "pools"],
    ["fulcrum instances get ", "instances"],
    ["fulcrum pause --instance ", "instances"],
    ["fulcrum pools list ", null],
    ["fulcrum pools get chat ", null],
  ])("%s asks for names of %s", (line, named) => expect(at(line).named).toBe(named));

  test("files where a file's name is asked for, and only there", () => {
    expect(at("fulcrum apply -f ").files).toBe(true);
    expect(at("fulcrum --ca-file ").files).toBe(true);
    expect(at("fulcrum pools get ").files).toBe(false);
  });

  test("shows no command that is hidden", () => {
    expect(values("fulcrum ")).not.toContain("__complete");
  });
});
