import { CreateTables1764000000000 } from "./1764000000000-create-tables.js";
import { CreateWindows1764000000001 } from "./1764000000001-create-windows.js";
import { AddGroupBarrier1764000000002 } from "./1764000000002-add-group-barrier.js";
import { PartitionAudit1764000000003 } from "./1764000000003-partition-audit.js";
import { HoldsAndProposals1764000000004 } from "./1764000000004-holds-and-proposals.js";
import { Outcomes1764000000005 } from "./1764000000005-outcomes.js";

/** Every migration, oldest first; listed by hand, so that none is picked up by accident. */
export const MIGRATIONS = [
  CreateTables1764000000000,
  CreateWindows1764000000001,
  AddGroupBarrier1764000000002,
  PartitionAudit1764000000003,
  HoldsAndProposals1764000000004,
  Outcomes1764000000005,
];
