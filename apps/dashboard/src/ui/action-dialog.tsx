/** A dialog that makes one call: its fields, the call as a command, what the controller answers. */
import { type FormEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";
import { ApiError, type ApiRequest, send } from "../api/client.js";
import { Curl, Problem } from "./parts.js";

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

/** The browser's own modal dialog: it keeps the focus, closes on Escape and gives the focus back. */
export function Dialog({ title, onClose, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const label = useId();
  useEffect(() => {
    const element = dialog.current;
    if (element && !element.open) element.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby={label} onClose={onClose}>
      <h2 id={label}>{title}</h2>
      {children}
    </dialog>
  );
}

export interface ActionProps {
  readonly title: string;
  /** What it does, in a sentence, before anything is sent. */
  readonly explain: ReactNode;
  /** Names the deed: "Pause". */
  readonly verb: string;
  readonly danger?: boolean;
  /** The call with what is filled in so far; a string says what is missing instead. */
  readonly request: ApiRequest | string;
  readonly onDone: (answer: unknown) => void;
  readonly onClose: () => void;
  /** What came of it, where the dialog stays to tell. */
  readonly result?: ReactNode;
  readonly children?: ReactNode;
}

export function ActionDialog(props: ActionProps) {
  const { title, explain, verb, danger, request, onDone, onClose, result, children } = props;
  const [error, setError] = useState<ApiError | null>(null);
  const [busy, setBusy] = useState(false);
  const make = async (call: ApiRequest) => {
    setBusy(true);
    setError(null);
    try {
      onDone((await send(call)).data);
    } catch (failure) {
      setError(failure instanceof ApiError ? failure : new ApiError(0, String(failure)));
    }
    setBusy(false);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (typeof request === "string") setError(new ApiError(400, request));
    else void make(request);
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit} noValidate>
        <p>{explain}</p>
        <div className="fields">{children}</div>
        <Problem error={error} />
        {result}
        {typeof request !== "string" && <Curl request={request} />}
        <div className="buttons">
          <button type="button" onClick={onClose}>
            {result ? "Close" : "Cancel"}
          </button>
          <button type="submit" className={danger ? "danger" : "primary"} disabled={busy}>
            {busy ? "Sending …" : verb}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

type ButtonProps = Omit<ActionProps, "onClose" | "onDone" | "result"> & {
  readonly label: string;
  readonly onDone: () => void;
};

/** A small button that asks before it makes its call, and is done with its answer. */
export function ActionButton({ label, onDone, ...action }: ButtonProps) {
  const [open, setOpen] = useState(false);
  const done = () => {
    setOpen(false);
    onDone();
  };
  return (
    <>
      <button type="button" className="small" onClick={() => setOpen(true)}>
        {label}
      </button>
      {open && <ActionDialog {...action} onDone={done} onClose={() => setOpen(false)} />}
    </>
  );
}
