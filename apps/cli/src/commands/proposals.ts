import type { Proposal, ProposalState } from "@fulcrum/contracts/proposals.js";
import { Option, type Command } from "commander";
import { refuseUnknownFilter } from "../api/explain.js";
import { terminalWidth, type Io } from "../io.js";
import { pairsText, tableText } from "../text/table.js";
import { agoOf, allocationWords, latencyWords } from "../text/words.js";
import { apiCommand, given, groupCommand } from "./command.js";
import {
  cursorOption,
  instanceOption,
  limitOption,
  listFooter,
  poolOption,
  type ListOptions,
} from "./list-options.js";

const STATES: readonly ProposalState[] = [
  "open",
  "approved",
  "rejected",
  "expired",
  "superseded",
  "outdated",
];

export function addProposals(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "proposals",
    "Proposals: moves of pools in mode recommend that wait for people",
    "fulcrum proposals list --state open",
  );
  addReads(group, io);
  apiCommand<{ comment?: string }>(
    group,
    io,
    {
      usage: "approve <id>",
      summary: "Approve a proposal; with enough keys it is applied",
      examples: ['fulcrum proposals approve 0199f0c2-… --comment "looks right"'],
      options: [new Option("--comment <text>", "it is kept with the vote")],
    },
    async ({ api, show }, [id], { comment }) => {
      const { body, raw } = await api.call("approveProposal", {
        params: { id: given(id) },
        body: { comment: comment ?? null },
      });
      show(raw, () => approvedWords(body));
    },
  );
  apiCommand<{ reason: string }>(
    group,
    io,
    {
      usage: "reject <id>",
      summary: "Reject a proposal",
      examples: ['fulcrum proposals reject 0199f0c2-… --reason "a load test is running"'],
      options: [new Option("--reason <text>", "why; it is kept with the vote").makeOptionMandatory()],
    },
    async ({ api, show }, [id], { reason }) => {
      const { body, raw } = await api.call("rejectProposal", { params: { id: given(id) }, body: { reason } });
      show(raw, () => `rejected: ${body.instance} stays at ${allocationWords(body.from)}`);
    },
  );
}

function addReads(group: Command, io: Io): void {
  apiCommand<ListOptions & { state?: ProposalState }>(
    group,
    io,
    {
      usage: "list",
      summary: "Search proposals, newest first",
      examples: ["fulcrum proposals list --state open", "fulcrum proposals list --pool chat-8b"],
      options: [
        poolOption(),
        instanceOption(),
        new Option("--state <state>", STATES.join(", ")).choices(STATES),
        limitOption(),
        cursorOption(),
      ],
    },
    async ({ api, io, show }, _args, query) => {
      const { body, raw } = await api.call("listProposals", { query: { ...query } });
      if (body.items.length === 0) await refuseUnknownFilter(api, query);
      show(raw, () => proposalTable(body.items, io) + listFooter(body.nextCursor));
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "get <id>",
      summary: "Show a proposal with its votes",
      examples: ["fulcrum proposals get 0199f0c2-…"],
    },
    async ({ api, io, show }, [id]) => {
      const { body, raw } = await api.call("getProposal", { params: { id: given(id) } });
      show(raw, () => proposalText(body, io.now()));
    },
  );
}

function approvals({ votes }: Proposal): number {
  return votes.filter(({ verdict, counts }) => verdict === "approve" && counts).length;
}

function approvedWords(proposal: Proposal): string {
  const { instance, to, generation, required } = proposal;
  if (generation !== null)
    return `approved: ${instance} goes to ${allocationWords(to)} as generation ${generation}`;
  const missing = required - approvals(proposal);
  return `${approvals(proposal)} of ${required} keys have approved; ${missing} other key${missing === 1 ? "" : "s"} must too`;
}

function endWords({ state, expiresAt, endedAt }: Proposal, nowMs: number): string {
  return state === "open" ? `expires ${agoOf(expiresAt, nowMs)}` : `${state} ${agoOf(endedAt, nowMs)}`;
}

function proposalTable(proposals: readonly Proposal[], io: Io): string {
  if (proposals.length === 0) return "no proposals match";
  return tableText(
    [
      { title: "made" },
      { title: "instance" },
      { title: "from" },
      { title: "to" },
      { title: "approved" },
      { title: "state" },
      { title: "message", cut: true },
      { title: "id" },
    ],
    proposals.map((each) => [
      agoOf(each.createdAt, io.now()),
      each.instance,
      allocationWords(each.from),
      allocationWords(each.to),
      `${approvals(each)} of ${each.required}`,
      endWords(each, io.now()),
      each.message,
      each.id,
    ]),
    terminalWidth(io),
  );
}

function proposalText(proposal: Proposal, nowMs: number): string {
  const { predicted } = proposal;
  return pairsText([
    ["proposal", proposal.id],
    ["instance", `${proposal.instance} of pool ${proposal.pool}`],
    ["from", `${allocationWords(proposal.from)}, generation ${proposal.basedOnGeneration}`],
    ["to", allocationWords(proposal.to)],
    ["why", proposal.message],
    [
      "predicted",
      predicted === null
        ? "-"
        : `TTFT ${latencyWords(predicted.ttftMs)}, TPOT ${latencyWords(predicted.tpotMs)}`,
    ],
    ["decision", proposal.decision],
    ["state", endWords(proposal, nowMs)],
    ["made", proposal.generation === null ? "-" : `generation ${proposal.generation}`],
    ["approved", `${approvals(proposal)} of ${proposal.required} keys`],
    ...proposal.votes.map(({ verdict, actor, at, comment, counts }): [string, string] => [
      counts ? verdict : `${verdict}, not counted`,
      `${actor}, ${agoOf(at, nowMs)}${counts ? "" : ", key revoked since"}${comment === null ? "" : `: ${comment}`}`,
    ]),
  ]);
}
