import type { EntityManager } from "typeorm";
import type { AuditRecord } from "../audit/append-audit.js";
import type { InstanceRow } from "../fleet/fleet.rows.js";
import { addSteps, audited, openReconfigurations } from "./open-reconfiguration.js";
import { ReconfigurationRow } from "./reconfiguration.rows.js";
import { agentsOf, type Aftermath, NOTHING } from "./reconfiguration.service.js";

/** The change that an instance runs now, if it is verified and was decided by a policy. */
export async function changeInForce(
  manager: EntityManager,
  { id, generation }: InstanceRow,
): Promise<ReconfigurationRow | null> {
  const last = await manager.findOne(ReconfigurationRow, {
    where: { instanceId: id },
    order: { generation: "DESC" },
  });
  const stands = last?.generation === generation && last.kind === "decision" && last.state === "verified";
  return stands ? last : null;
}

/**
 * Takes back a change that was verified: the allocation before it becomes a new generation, and the change counts as
 * rolled back, so that the next one waits, and longer each time. The caller holds the instance's lock and appends the audit.
 */
export async function takeBackVerified(
  manager: EntityManager,
  instance: InstanceRow,
  change: ReconfigurationRow,
  why: string,
  offerTimeoutMs: number,
): Promise<Aftermath> {
  const { poolId, instanceId, decisionId, traceparent } = change;
  const { generation: before, ...to } = change.fromAllocation;
  const from = { ...change.toAllocation, generation: change.generation };
  const of = { poolId, instanceId, decisionId, traceparent };
  const back = { ...of, kind: "rollback", reason: "ROLLBACK", from, to } as const;
  const opened = (await openReconfigurations(manager, [back], offerTimeoutMs)).get(instanceId);
  if (!opened) return NOTHING;
  const now = new Date();
  const ended = { state: "rolled_back", endedAt: now, failure: why } as const;
  await manager.update(ReconfigurationRow, { id: change.id }, ended);
  await addSteps(manager, [{ of: change, at: now, step: "rolled_back", detail: why }]);
  const after = { ...audited({ ...to, generation: opened.generation }), reconfiguration: change.id, why };
  const record: AuditRecord = {
    action: "reconfiguration.rolled_back",
    subject: `instance/${instance.name}`,
    before: audited(from),
    after: { ...after, restored: before },
  };
  return {
    watch: [opened.deadlineAt.getTime()],
    wake: await agentsOf(manager, instanceId),
    audit: [record],
  };
}
