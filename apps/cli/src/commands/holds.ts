import type { Hold, HoldKind } from "@fulcrum/contracts/holds.js";
import { Option, type Command } from "commander";
import type { ApiClient } from "../api/client.js";
import { refuseUnknownFilter } from "../api/explain.js";
import { everyItem } from "../api/pages.js";
import { failed, usageError } from "../failure.js";
import { terminalWidth, type Io } from "../io.js";
import { tableText } from "../text/table.js";
import { oneLine } from "../text/visible.js";
import { agoOf, allocationWords, durationWords } from "../text/words.js";
import { apiCommand, durationMsOf, given, groupCommand } from "./command.js";
import {
  cursorOption,
  instanceOption,
  limitOption,
  listFooter,
  poolOption,
  type ListOptions,
} from "./list-options.js";

interface ScopeOptions {
  readonly all?: boolean;
  readonly pool?: string;
  readonly instance?: string;
  readonly reason: string;
}

/** As many as the controller keeps in force. */
const MOST_HOLDS = 1_000;

/** `fulcrum pause` and `fulcrum resume`: one command, whatever else is down. */
export function addPause(program: Command, io: Io): void {
  apiCommand<ScopeOptions & { ttl?: number }>(
    program,
    io,
    {
      usage: "pause",
      summary: "Stop all moves of the fleet, a pool or an instance",
      examples: [
        'fulcrum pause --all --reason "maintenance"',
        'fulcrum pause --pool chat-8b --ttl 30min --reason "load test"',
      ],
      options: [
        ...scopeOptions(),
        new Option("--ttl <duration>", "30min, 2h, 7d; without it until resumed").argParser(durationMsOf),
      ],
    },
    async ({ api, io, show }, _args, { ttl, reason, ...options }) => {
      const { pool, instance } = scopeOf(options);
      const { body, raw } = await api.call("createPause", {
        body: { pool, instance, reason, ttlMs: ttl ?? null },
      });
      const until = body.until === null ? "until it is resumed" : `ends ${agoOf(body.until, io.now())}`;
      show(raw, () => `paused ${placeWords(body)} (${until}, hold ${body.id})`);
    },
  );
  apiCommand<ScopeOptions>(
    program,
    io,
    {
      usage: "resume",
      summary: "End the pauses of the fleet, a pool or an instance",
      examples: ['fulcrum resume --all --reason "maintenance is over"'],
      options: scopeOptions(),
    },
    async ({ api, show }, _args, { reason, ...options }) => {
      const scope = scopeOf(options);
      const ended: unknown[] = [];
      for (const { id } of await pausesOf(api, scope)) {
        const { raw } = await api.call("endHold", { params: { id }, query: { reason } });
        ended.push(raw);
      }
      const pauses = `${ended.length} pause${ended.length === 1 ? "" : "s"}`;
      show({ items: ended }, () => `resumed ${placeWords(asPlace(scope))}: ended ${pauses}`);
    },
  );
}

export function addHolds(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "holds",
    "Holds: what keeps the policy from moving, and who says so",
    "fulcrum holds list --pool chat-8b",
  );
  addList(group, io);
  apiCommand<{ reason: string }>(
    group,
    io,
    {
      usage: "end <id>",
      summary: "End a hold of any kind",
      examples: ['fulcrum holds end 0199f0c2-… --reason "done"'],
      options: [reasonOption()],
    },
    async ({ api, show }, [id], { reason }) => {
      const { body, raw } = await api.call("endHold", { params: { id: given(id) }, query: { reason } });
      show(raw, () => `ended the ${kindWords(body.kind)} of ${placeWords(body)}`);
    },
  );
  apiCommand<{ cron: string; timeZone: string; duration: number; pool?: string; reason: string }>(
    group,
    io,
    {
      usage: "freeze-window",
      summary: "Pause a pool or the fleet by the clock",
      examples: [
        'fulcrum holds freeze-window --cron "0 22 * * 1-5" --time-zone Europe/Berlin --duration 8h --reason "no changes at night"',
      ],
      options: [
        new Option(
          "--cron <expression>",
          "when it begins: minute hour day month weekday",
        ).makeOptionMandatory(),
        new Option("--time-zone <zone>", "IANA name, such as Europe/Berlin").default("UTC"),
        new Option("--duration <duration>", "how long it lasts, such as 8h")
          .argParser(durationMsOf)
          .makeOptionMandatory(),
        new Option("--pool <pool>", "this pool; without it the whole fleet"),
        reasonOption(),
      ],
    },
    async ({ api, io, show }, _args, { duration, ...options }) => {
      const { body, raw } = await api.call("createFreezeWindow", {
        body: { ...options, durationMs: duration },
      });
      const when = body.holding ? "holds now" : `next ${agoOf(body.window?.from ?? null, io.now())}`;
      show(raw, () => `freeze window for ${placeWords(body)}: ${when} (hold ${body.id})`);
    },
  );
}

function addList(group: Command, io: Io): void {
  apiCommand<ListOptions & { kind?: HoldKind; ended?: boolean }>(
    group,
    io,
    {
      usage: "list",
      summary: "What is in force, newest first; with --ended what was",
      examples: ["fulcrum holds list", "fulcrum holds list --instance chat-8b-0 --ended"],
      options: [
        poolOption(),
        instanceOption(),
        new Option("--kind <kind>", "only of this kind").choices([
          "pause",
          "pin",
          "override",
          "freeze_window",
        ]),
        new Option("--ended", "those that are over"),
        limitOption(),
        cursorOption(),
      ],
    },
    async ({ api, io, show }, _args, { ended, ...query }) => {
      const active = ended === true ? "false" : "true";
      const { body, raw } = await api.call("listHolds", { query: { ...query, active } });
      if (body.items.length === 0) await refuseUnknownFilter(api, query);
      show(raw, () => holdTable(body.items, io) + listFooter(body.nextCursor));
    },
  );
}

function scopeOptions(): Option[] {
  return [
    new Option("--all", "the whole fleet").conflicts(["pool", "instance"]),
    new Option("--pool <pool>", "this pool").conflicts("instance"),
    new Option("--instance <instance>", "this instance"),
    reasonOption(),
  ];
}

function reasonOption(): Option {
  return new Option("--reason <text>", "why; it shows wherever the hold does").makeOptionMandatory();
}

interface Scope {
  readonly pool?: string | undefined;
  readonly instance?: string | undefined;
}

/** Never the whole fleet by omission. @throws CliFailure (usage) */
function scopeOf({ all, pool, instance }: Omit<ScopeOptions, "reason">): Scope {
  if (all !== true && pool === undefined && instance === undefined)
    throw usageError("say what: --all, --pool POOL or --instance INSTANCE");
  return { pool, instance };
}

/** The pauses of exactly that scope. @throws CliFailure naming what else holds when there is none */
async function pausesOf(api: ApiClient, { pool, instance }: Scope): Promise<Hold[]> {
  const query = { active: "true", pool, instance } as const;
  const touching: Hold[] = [];
  for await (const hold of everyItem(api, "listHolds", query, MOST_HOLDS)) touching.push(hold);
  const place = asPlace({ pool, instance });
  const own = touching.filter((hold) => hold.kind === "pause" && placeWords(hold) === placeWords(place));
  if (own.length > 0) return own;
  await refuseUnknownFilter(api, {
    ...(pool === undefined ? {} : { pool }),
    ...(instance === undefined ? {} : { instance }),
  });
  const others = touching
    .slice(0, 10)
    .map(
      (hold) =>
        `${hold.id}: ${kindWords(hold.kind)} of ${placeWords(hold)} by ${oneLine(`${hold.actor}: ${hold.reason}`)}`,
    );
  throw failed(`no pause of ${placeWords(place)} is in force.`, [
    ...others,
    ...(others.length > 0 ? ["`fulcrum holds end ID --reason …` ends one of these."] : []),
  ]);
}

type Place = Pick<Hold, "pool" | "instance">;

function asPlace({ pool, instance }: Scope): Place {
  return { pool: pool ?? null, instance: instance ?? null };
}

function placeWords({ pool, instance }: Place): string {
  if (instance !== null) return `instance ${instance}`;
  return pool === null ? "the fleet" : `pool ${pool}`;
}

function kindWords(kind: HoldKind): string {
  return kind.replace("_", " ");
}

function holdTable(holds: readonly Hold[], io: Io): string {
  if (holds.length === 0) return "nothing is held";
  return tableText(
    [
      { title: "kind" },
      { title: "what" },
      { title: "by" },
      { title: "since" },
      { title: "ends" },
      { title: "reason", cut: true },
      { title: "id" },
    ],
    holds.map((each) => [
      kindWords(each.kind) + (each.allocation === null ? "" : ` ${allocationWords(each.allocation)}`),
      placeWords(each),
      each.actor,
      agoOf(each.from, io.now()),
      endWords(each, io.now()),
      each.endReason === null ? each.reason : `${each.reason}; ended: ${each.endReason}`,
      each.id,
    ]),
    terminalWidth(io),
  );
}

function endWords({ schedule, until, endedAt, endedBy, holding, window }: Hold, nowMs: number): string {
  if (endedAt !== null) return `${agoOf(endedAt, nowMs)}${endedBy === null ? "" : ` by ${endedBy}`}`;
  if (schedule === null) return until === null ? "when ended" : agoOf(until, nowMs);
  const times = `${schedule.cron} ${schedule.timeZone}, ${durationWords(schedule.durationMs)}`;
  const next = window === null ? "never" : agoOf(window.from, nowMs);
  if (!holding) return `next ${next}, ${times}`;
  const end = window?.until ?? null;
  return `holds now, ${end === null ? "without a gap" : `until ${agoOf(end, nowMs)}`}, ${times}`;
}
