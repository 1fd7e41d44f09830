import * as agentApi from "./agent-api.js";
import { defineRoutes } from "./route.js";

export const agentRoutes = defineRoutes({
  register: {
    method: "POST",
    path: "/agent/v1/register",
    summary: "Register an agent and its instances",
    tag: "agent API",
    role: "agent",
    body: agentApi.registration,
    status: 200,
    answer: agentApi.registrationAnswer,
  },
  report: {
    method: "POST",
    path: "/agent/v1/report",
    summary: "Report windows; answers with assignments",
    tag: "agent API",
    role: "agent",
    body: agentApi.report,
    status: 200,
    answer: agentApi.reportAnswer,
  },
  getAssignments: {
    method: "GET",
    path: "/agent/v1/assignments",
    summary: "Long poll for assignments",
    tag: "agent API",
    role: "agent",
    query: agentApi.assignmentsQuery,
    status: 200,
    answer: agentApi.assignmentsAnswer,
    etag: true,
    also: { 304: "Nothing changed within waitMs (send If-None-Match)." },
  },
  acknowledge: {
    method: "POST",
    path: "/agent/v1/acks",
    summary: "Acknowledge steps of a reconfiguration, per rank",
    tag: "agent API",
    role: "agent",
    body: agentApi.ackRequest,
    status: 200,
    answer: agentApi.ackAnswer,
  },
});
