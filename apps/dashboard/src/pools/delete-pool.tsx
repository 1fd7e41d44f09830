import type { Pool } from "@fulcrum/contracts/pools.js";
import { useState } from "react";
import { ActionDialog } from "../ui/action-dialog.js";
import { TextField } from "../ui/fields.js";
import { navigate } from "../ui/router.js";

/** Bound to the version that was read: what somebody else has changed meanwhile is not deleted unseen. */
export function DeletePoolButton({ pool, etag }: { pool: Pool; etag: string }) {
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState("");
  const isSure = typed === pool.name;
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Delete
      </button>
      {open && (
        <ActionDialog
          title={`Delete pool ${pool.name}`}
          explain={`Its ${pool.instances === 1 ? "instance keeps its split" : `${pool.instances} instances keep their splits`} and nothing decides on them any more. What was decided stays readable until its retention is over. It cannot be undone.`}
          verb="Delete"
          danger
          request={
            isSure
              ? { method: "DELETE", path: `/v1/pools/${encodeURIComponent(pool.name)}`, ifMatch: etag }
              : `Type ${pool.name} to say that you mean this one.`
          }
          onDone={() => navigate("/pools")}
          onClose={() => setOpen(false)}
        >
          <TextField label="Name of the pool" value={typed} onChange={setTyped} required />
        </ActionDialog>
      )}
    </>
  );
}
