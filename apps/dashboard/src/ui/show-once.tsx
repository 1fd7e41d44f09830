import { useState } from "react";
import { Dialog } from "./action-dialog.js";

interface ShowOnceProps {
  readonly title: string;
  /** A key or a secret. */
  readonly text: string;
  readonly onClose: () => void;
}

/** What the controller tells this once: of a key it keeps a hash only, of a secret nothing that it would show. */
export function ShowOnce({ title, text, onClose }: ShowOnceProps) {
  const [copied, setCopied] = useState(false);
  const copy = () => {
    navigator.clipboard.writeText(text).then(
      () => setCopied(true),
      () => undefined,
    );
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <p>Copy it now: it is not shown again.</p>
      <pre className="once">{text}</pre>
      <div className="buttons">
        <button type="button" onClick={copy}>
          {copied ? "Copied" : "Copy"}
        </button>
        <button type="button" className="primary" onClick={onClose}>
          I have it
        </button>
      </div>
    </Dialog>
  );
}
