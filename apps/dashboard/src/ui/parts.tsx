/** Small pieces that several pages show. */
import { type ReactNode, useEffect, useState, useSyncExternalStore } from "react";
import type { ApiError, ApiRequest } from "../api/client.js";
import { curlOf } from "../api/client.js";
import { ageText, timeText } from "./format.js";

let nowMs = Date.now();
const ticking = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function tick(changed: () => void): () => void {
  ticking.add(changed);
  timer ??= setInterval(() => {
    nowMs = Date.now();
    ticking.forEach((one) => one());
  }, 1_000);
  return () => {
    ticking.delete(changed);
    if (ticking.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The time, each second; one timer for all. */
export function useNow(): number {
  return useSyncExternalStore(tick, () => nowMs);
}

export function Age({ at }: { at: string | number }) {
  const now = useNow();
  return (
    <time dateTime={new Date(at).toISOString()} title={timeText(at)}>
      {ageText(at, now)}
    </time>
  );
}

export type Tone = "bad" | "warn" | "good" | "quiet";

const SIGNS: Readonly<Record<Tone, string>> = { bad: "▲", warn: "!", good: "✓", quiet: "•" };

/** A state in words with a sign of its own shape: never colour alone. */
export function Tag({ tone, children }: { tone: Tone; children: ReactNode }) {
  return (
    <span className={`tag tag-${tone}`}>
      <span aria-hidden="true">{SIGNS[tone]} </span>
      {children}
    </span>
  );
}

/** Why something cannot be shown or was not done, with each field and its bound. */
export function Problem({ error }: { error: ApiError | null }) {
  if (error === null) return null;
  const fields = error.problem?.errors ?? [];
  return (
    <div className="problem" role="alert">
      <p>
        {error.message}
        {error.passes ? " Trying again." : ""}
      </p>
      {fields.length > 0 && (
        <ul>
          {fields.map(({ field, message }) => (
            <li key={field + message}>
              <code>{field}</code>: {message}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

export function Loading({ error }: { error: ApiError | null }) {
  return error ? <Problem error={error} /> : <p className="quiet">Loading …</p>;
}

/** The call that a button makes, for a shell. */
export function Curl({ request }: { request: ApiRequest }) {
  const text = curlOf(request, location.origin);
  const [copied, setCopied] = useState(false);
  useEffect(() => setCopied(false), [text]);
  const copy = () => {
    navigator.clipboard.writeText(text).then(
      () => setCopied(true),
      () => undefined,
    );
  };
  return (
    <details className="curl">
      <summary>The same as a command</summary>
      <pre>{text}</pre>
      <button type="button" className="small" onClick={copy}>
        {copied ? "Copied" : "Copy"}
      </button>
    </details>
  );
}

export function PageHead({ title, children }: { title: string; children?: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Fulcrum`;
  }, [title]);
  return (
    <header className="page-head">
      <h1>{title}</h1>
      {children}
    </header>
  );
}

export function Empty({ children }: { children: ReactNode }) {
  return <p className="empty">{children}</p>;
}

/** A column's name; `number`: its cells are figures; `hidden`: said to screen readers only, over cells of buttons. */
type Head = string | { readonly number: string } | { readonly hidden: string };

interface TableProps {
  readonly heads: readonly Head[];
  readonly nowrap?: boolean;
  readonly children: ReactNode;
}

/** A table that scrolls sideways by itself where the screen is narrow. */
export function Table({ heads, nowrap, children }: TableProps) {
  return (
    <div className="wide">
      <table className={nowrap ? "nowrap" : undefined}>
        <thead>
          <tr>
            {heads.map((head) => (
              <HeadCell key={JSON.stringify(head)} head={head} />
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

function HeadCell({ head }: { head: Head }) {
  if (typeof head === "string") return <th scope="col">{head}</th>;
  if ("hidden" in head)
    return (
      <th scope="col">
        <span className="hidden">{head.hidden}</span>
      </th>
    );
  return (
    <th scope="col" className="number">
      {head.number}
    </th>
  );
}
