/** Routes of what a page shows while it is open, and of what a change would do. Part of adminRoutes. */
import { z } from "zod";
import * as live from "./live.js";
import { preview, previewInput } from "./preview.js";
import { name } from "./primitives.js";
import { defineRoutes } from "./route.js";

export const liveRoutes = defineRoutes({
  getFleet: {
    method: "GET",
    path: "/v1/fleet",
    summary: "Every instance with its latencies against the SLO and the last two minutes, by name",
    tag: "fleet",
    role: "viewer",
    query: live.fleetQuery,
    status: 200,
    answer: live.fleet,
  },
  streamEvents: {
    method: "GET",
    path: "/v1/events",
    summary:
      "What changes, as server-sent events: window, decision, rollout, hold, proposal, pool, position, reset. " +
      "Last-Event-ID catches up over the last minute",
    tag: "fleet",
    role: "viewer",
    query: live.eventsQuery,
    status: 200,
    answer: z.string(),
    answerType: "text/event-stream",
  },
  getSeries: {
    method: "GET",
    path: "/v1/instances/:instance/series",
    summary: "Latencies, load, split and KV use of an instance over time, in equal steps",
    tag: "instances",
    role: "viewer",
    params: z.strictObject({ instance: name }),
    query: live.seriesQuery,
    status: 200,
    answer: live.series,
  },
  previewPool: {
    method: "POST",
    path: "/v1/pools/:pool/preview",
    summary: "What the policy would decide now under a change of settings; stores nothing",
    tag: "pools",
    role: "operator",
    params: z.strictObject({ pool: name }),
    body: previewInput,
    status: 200,
    answer: preview,
  },
});
