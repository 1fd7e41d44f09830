import { type FormEvent, type ReactNode, useState } from "react";
import { ApiError, type ApiRequest, send } from "../api/client.js";
import { msText } from "../ui/format.js";
import { SelectField, TextField } from "../ui/fields.js";
import { Curl, Problem } from "../ui/parts.js";
import { PreviewTable } from "./preview-table.js";
import {
  type Clash,
  clashesOf,
  type Draft,
  faultsOf,
  type FieldGroup,
  type FieldSpec,
  withField,
} from "./settings-fields.js";

interface EditFormProps<T> {
  readonly title: string;
  readonly base: T;
  readonly etag: string;
  /** May follow what is typed. */
  readonly groups: (base: T, draft: Draft) => readonly FieldGroup<T>[];
  /** The call that saves the draft on what was read. */
  readonly save: (base: T, draft: Draft, etag: string) => ApiRequest;
  /** What of the draft a preview can tell; null: nothing of it changes a decision. */
  readonly preview: (base: T, draft: Draft) => Readonly<Record<string, unknown>> | null;
  readonly previewPath: string;
  /** Reads it again, with its ETag. */
  readonly readAgain: () => Promise<{ readonly value: T; readonly etag: string }>;
  readonly onSaved: () => void;
  /** What one should know of these changes before they are saved. */
  readonly notice?: (base: T, draft: Draft) => ReactNode;
}

interface Conflict<T> {
  readonly value: T;
  readonly etag: string;
  readonly clashes: readonly Clash[];
}

/** The state of a form: what was read, what is typed on it, and what came of saving it. */
function useEdit<T>(props: EditFormProps<T>) {
  const { save, readAgain, onSaved } = props;
  const [base, setBase] = useState({ value: props.base, etag: props.etag });
  const [draft, setDraft] = useState<Draft>({});
  const [error, setError] = useState<ApiError | null>(null);
  const [conflict, setConflict] = useState<Conflict<T> | null>(null);
  const [told, setTold] = useState("");
  const count = Object.keys(draft).length;
  const isTouched = count > 0;
  // While nothing is typed the form shows what was read last.
  const { value, etag } = isTouched ? base : { value: props.base, etag: props.etag };
  const groups = props.groups(value, draft);
  const fields = groups.flatMap((group) => group.fields);
  const faults = faultsOf(fields, draft);
  const type = (key: string, text: string) => {
    if (!isTouched) setBase({ value, etag });
    setTold("");
    const next = withField(fields, value, draft, key, text);
    // A field that the change takes from the form is no change any more.
    const left = new Set(
      props.groups(value, next).flatMap((group) => group.fields.map((field) => field.key)),
    );
    setDraft(Object.fromEntries(Object.entries(next).filter(([one]) => left.has(one))));
  };
  const reset = () => {
    setDraft({});
    setConflict(null);
    setError(null);
  };
  const submit = async (onto: { value: T; etag: string }) => {
    setError(null);
    setConflict(null);
    try {
      await send(save(onto.value, draft, onto.etag));
      reset();
      setTold("Saved.");
      onSaved();
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      if (failure.status !== 412) return setError(failure);
      const now = await readAgain();
      const compared = props.groups(now.value, draft).flatMap((group) => group.fields);
      setConflict({ ...now, clashes: clashesOf(compared, value, now.value, draft) });
    }
    return undefined;
  };
  const takeTheirs = () => {
    reset();
    onSaved();
  };
  return {
    value,
    etag,
    draft,
    groups,
    count,
    isTouched,
    faults,
    error,
    conflict,
    told,
    type,
    reset,
    submit,
    takeTheirs,
  };
}

/** Edits one resource: nothing is sent before it is saved, and not over what somebody else has saved meanwhile. */
export function EditForm<T>(props: EditFormProps<T>) {
  const { title, save } = props;
  const edit = useEdit(props);
  const { value, etag, draft, groups, count, isTouched, faults, conflict } = edit;
  const isWhole = isTouched && faults.length === 0;
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    if (isWhole) void edit.submit({ value, etag });
  };
  return (
    <form className="card" aria-label={title} onSubmit={onSubmit} noValidate>
      <h2>{title}</h2>
      {groups.map((group) => (
        <Group key={group.heading ?? ""} heading={group.heading} isOpen={group.isOpen ?? false}>
          {group.fields.map((field) => (
            <Field key={field.key} field={field} base={value} draft={draft} onType={edit.type} />
          ))}
        </Group>
      ))}
      {isTouched && props.notice?.(value, draft)}
      {faults.length > 0 && (
        <p className="problem" role="alert">
          {faults.join(" ")}
        </p>
      )}
      <Problem error={edit.error} />
      {conflict && (
        <ConflictBox
          conflict={conflict}
          onMine={() => void edit.submit(conflict)}
          onTheirs={edit.takeTheirs}
        />
      )}
      <div className="buttons">
        <button type="submit" className="primary" disabled={!isWhole}>
          Save
        </button>
        <button type="button" disabled={!isTouched} onClick={edit.reset}>
          Undo
        </button>
        <span role="status" className="quiet">
          {isTouched ? `${count} ${count === 1 ? "change" : "changes"}, not saved` : edit.told}
        </span>
      </div>
      {isWhole && (
        <>
          <PreviewTable path={props.previewPath} change={props.preview(value, draft)} />
          <Curl request={save(value, draft, etag)} />
        </>
      )}
    </form>
  );
}

interface GroupProps {
  readonly heading: string | null;
  readonly isOpen: boolean;
  readonly children: ReactNode;
}

function Group({ heading, isOpen, children }: GroupProps) {
  if (heading === null) return <div className="fields across">{children}</div>;
  return (
    <details className="group" open={isOpen}>
      <summary>{heading}</summary>
      <div className="fields across">{children}</div>
    </details>
  );
}

interface OneFieldProps<T> {
  readonly field: FieldSpec<T>;
  readonly base: T;
  readonly draft: Draft;
  readonly onType: (key: string, text: string) => void;
}

function Field<T>({ field, base, draft, onType }: OneFieldProps<T>) {
  const before = field.read(base);
  const value = draft[field.key] ?? before;
  const long = field.unit === "ms" && Number(value) >= 2_000 ? msText(Number(value)) : undefined;
  const was = field.key in draft ? `was ${before === "" ? "empty" : before}` : (field.hint ?? long);
  const onChange = (text: string) => onType(field.key, text);
  if (field.options) {
    return (
      <SelectField label={field.label} value={value} options={field.options} onChange={onChange} hint={was} />
    );
  }
  return (
    <TextField
      label={field.label}
      type={field.isText ? "text" : "number"}
      step="any"
      value={value}
      onChange={onChange}
      {...(field.unit === undefined ? {} : { unit: field.unit })}
      {...(was === undefined ? {} : { hint: was })}
    />
  );
}

interface ConflictProps {
  readonly conflict: Conflict<unknown>;
  readonly onMine: () => void;
  readonly onTheirs: () => void;
}

function ConflictBox({ conflict: { clashes }, onMine, onTheirs }: ConflictProps) {
  return (
    <div className="problem" role="alert">
      <p>
        <b>Somebody else changed it meanwhile.</b> Nothing of yours was saved.
      </p>
      <table>
        <thead>
          <tr>
            <th scope="col">Field</th>
            <th scope="col">When you began</th>
            <th scope="col">Now</th>
            <th scope="col">Yours</th>
          </tr>
        </thead>
        <tbody>
          {clashes.map(({ label, before, theirs, yours }) => (
            <tr key={label}>
              <th scope="row">{label}</th>
              <td>{before}</td>
              <td>
                <b>{theirs}</b>
              </td>
              <td>{yours ?? "not touched"}</td>
            </tr>
          ))}
          {clashes.length === 0 && (
            <tr>
              <td colSpan={4}>None of these fields: another part of the pool was changed.</td>
            </tr>
          )}
        </tbody>
      </table>
      <div className="buttons">
        <button type="button" onClick={onTheirs}>
          Take theirs
        </button>
        <button type="button" className="primary" onClick={onMine}>
          Save mine on top
        </button>
      </div>
    </div>
  );
}
