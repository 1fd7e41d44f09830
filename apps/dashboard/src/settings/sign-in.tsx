import { type FormEvent, useState } from "react";
import { TextField } from "../ui/fields.js";

export function SignIn({ refused, onKey }: { refused: boolean; onKey: (key: string) => void }) {
  const [key, setKey] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (key.trim() !== "") onKey(key.trim());
  };
  return (
    <main className="sign-in">
      <h1>Fulcrum</h1>
      <p>Who splits each GPU between prefill and decode, and why.</p>
      <form onSubmit={submit}>
        {refused && (
          <p className="problem" role="alert">
            The controller does not accept this key.
          </p>
        )}
        <TextField
          label="API key"
          type="password"
          value={key}
          onChange={setKey}
          placeholder="fk_…"
          hint="It stays in this tab and is forgotten when the tab is closed."
        />
        <button type="submit" className="primary">
          Sign in
        </button>
      </form>
      <p className="quiet">
        A viewer's key shows everything; changes need an operator's. An admin makes keys:{" "}
        <code>fulcrum keys create</code>.
      </p>
    </main>
  );
}
