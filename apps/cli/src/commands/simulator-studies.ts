/** Two small studies in the simulator that docs show the tables of: SLO classes, and how many instances a load needs. */
import type { SloPromise } from "@fulcrum/core/nouns.js";
import { Option, type Command } from "commander";
import { printJson, printLine, terminalWidth, type Io } from "../io.js";
import { tableText } from "../text/table.js";
import { localCommand, numberIn, wholeIn } from "./command.js";

interface StudyOptions {
  readonly chatPerS: number;
  readonly documentsPerS: number;
  readonly durationS: number;
  readonly seed: number;
  readonly scale: readonly number[];
  readonly json?: boolean;
}

interface ReplicasOptions extends Omit<StudyOptions, "scale"> {
  readonly instances: readonly number[];
}

const promise = (ttftMs: number, tpotMs: number, attainmentShare: number): SloPromise => ({
  ttft: { percentile: attainmentShare, boundMs: ttftMs },
  tpot: { percentile: attainmentShare, boundMs: tpotMs },
  attainmentShare,
});

/** Two that want the same SMs: a chat is read along as it comes, of a document the first word is waited for. */
const CHAT = { kind: "chat", promise: promise(4_000, 45, 0.9) };
const DOCUMENTS = { kind: "document", promise: promise(1_500, 200, 0.8) };

export function addSimulatorStudies(group: Command, io: Io): void {
  localCommand<StudyOptions>(
    group,
    {
      usage: "classes",
      summary: "Chat and documents on one instance: what is kept of each with and without SLO classes",
      examples: ["fulcrum simulator classes", "fulcrum simulator classes --scale 1,1.2 --seed 2"],
      options: [
        ...loadOptions(7, 1.4),
        new Option("--scale <list>", "multiples of both rates")
          .argParser(numbersOf)
          .default([0.8, 0.9, 1, 1.1]),
      ],
    },
    async (_args, options) => {
      // Loaded only here: the other commands need no simulator.
      const { classesStudy } = await import("@fulcrum/evaluation/classes-study.js");
      const { bundledProfile, mixedRequests } = await import("../demo/arrivals.js");
      const { chatPerS, documentsPerS, durationS, seed } = options;
      const found = options.scale.map((scale) => {
        const rates = { chat: chatPerS * scale, document: documentsPerS * scale };
        const requests = mixedRequests(rates, seed, durationS * 1_000);
        return {
          scale,
          rows: classesStudy({ profile: bundledProfile(), requests, promises: [CHAT, DOCUMENTS] }),
        };
      });
      if (options.json === true) return printJson(io, found);
      const columns = [
        { title: "load", right: true },
        { title: "promised to" },
        { title: `chat (${percent(CHAT.promise.attainmentShare)})`, right: true },
        { title: `documents (${percent(DOCUMENTS.promise.attainmentShare)})`, right: true },
        { title: "moves", right: true },
      ];
      const cells = found.flatMap(({ scale, rows }) =>
        rows.map(({ slo, shares, moves }) => [String(scale), slo, ...shares.map(percent), String(moves)]),
      );
      printLine(io, tableText(columns, cells, terminalWidth(io)));
    },
  );
  localCommand<ReplicasOptions>(
    group,
    {
      usage: "replicas",
      summary: "One load on more and more instances: what they keep, and how many the model says are needed",
      examples: ["fulcrum simulator replicas", "fulcrum simulator replicas --instances 2,3 --chat-per-s 30"],
      options: [
        ...loadOptions(24, 2.4),
        new Option("--instances <list>", "how many").argParser(numbersOf).default([1, 2, 3, 4, 5]),
      ],
    },
    async (_args, options) => {
      const { replicasStudy } = await import("@fulcrum/evaluation/replicas-study.js");
      const { bundledProfile, mixedRequests } = await import("../demo/arrivals.js");
      const { chatPerS, documentsPerS, durationS, seed, instances } = options;
      const rates = { chat: chatPerS, document: documentsPerS };
      const requests = mixedRequests(rates, seed, durationS * 1_000);
      const slo = promise(2_000, 80, 0.9);
      const rows = replicasStudy({ profile: bundledProfile(), requests, slo, instances });
      if (options.json === true) return printJson(io, rows);
      const columns = ["instances", "kept", "headroom", "needed", "known"].map((title) => ({
        title,
        right: true,
      }));
      const cells = rows.map(({ instances: count, keptShare, headroom, needed, known }) => [
        String(count),
        percent(keptShare),
        headroom === null ? "-" : headroom.toFixed(2),
        String(needed),
        String(known),
      ]);
      printLine(io, tableText(columns, cells, terminalWidth(io)));
    },
  );
}

function loadOptions(chatPerS: number, documentsPerS: number): Option[] {
  const rate = numberIn(0.01, 1_000);
  return [
    new Option("--chat-per-s <r>", "chats per second (ShareGPT's lengths)").argParser(rate).default(chatPerS),
    new Option("--documents-per-s <r>", "documents per second (LongBench's lengths)")
      .argParser(rate)
      .default(documentsPerS),
    new Option("--duration-s <s>", "virtual time; the first 120 s do not count")
      .argParser(wholeIn(180, 3_600))
      .default(600),
    new Option("--seed <n>", "of the arrivals").argParser(wholeIn(0, 4_294_967_295)).default(1),
    new Option("--json", "print the rows as JSON"),
  ];
}

const number = numberIn(0.01, 1_000);

function numbersOf(text: string): readonly number[] {
  return text.split(",").map((part) => number(part));
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
