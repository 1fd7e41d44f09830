import { CreateTables1764000000000 } from "./1764000000000-create-tables.js";
import { CreateWindows1764000000001 } from "./1764000000001-create-windows.js";
import { AddGroupBarrier1764000000002 } from "./1764000000002-add-group-barrier.js";
import { PartitionAudit1764000000003 } from "./1764000000003-partition-audit.js";
import { HoldsAndProposals1764000000004 } from "./1764000000004-holds-and-proposals.js";
import { Outcomes1764000000005 } from "./1764000000005-outcomes.js";
import { BudgetsAndWebhooks1764000000006 } from "./1764000000006-budgets-and-webhooks.js";
import { CanaryAndHindsight1764000000007 } from "./1764000000007-canary-and-hindsight.js";
import { Traces1764000000008 } from "./1764000000008-traces.js";
import { Capacity1764000000009 } from "./1764000000009-capacity.js";
import { AuditMonthsByDatabaseClock1764000000010 } from "./1764000000010-audit-months-by-database-clock.js";
import { StoppedMoves1764000000011 } from "./1764000000011-stopped-moves.js";
import { DeliveryClaims1764000000012 } from "./1764000000012-delivery-claims.js";

/** Every migration, oldest first; listed by hand, so that none is picked up by accident. */
export const MIGRATIONS = [
  CreateTables1764000000000,
  CreateWindows1764000000001,
  AddGroupBarrier1764000000002,
  PartitionAudit1764000000003,
  HoldsAndProposals1764000000004,
  Outcomes1764000000005,
  BudgetsAndWebhooks1764000000006,
  CanaryAndHindsight1764000000007,
  Traces1764000000008,
  Capacity1764000000009,
  AuditMonthsByDatabaseClock1764000000010,
  StoppedMoves1764000000011,
  DeliveryClaims1764000000012,
];
