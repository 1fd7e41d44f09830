import { type ReactNode, useId } from "react";

interface FieldProps {
  readonly label: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly hint?: ReactNode;
  readonly unit?: string;
}

interface TextProps extends FieldProps {
  readonly required?: boolean;
  readonly placeholder?: string;
  readonly type?: "text" | "number" | "password" | "search";
  readonly min?: number;
  readonly max?: number;
  readonly step?: number | "any";
}

export function TextField({ label, value, onChange, hint, unit, type = "text", ...rest }: TextProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <span className="with-unit">
        <input
          id={id}
          type={type}
          value={value}
          autoComplete="off"
          spellCheck={false}
          aria-describedby={hint ? `${id}-hint` : undefined}
          onChange={(event) => onChange(event.target.value)}
          {...rest}
        />
        {unit && <span className="unit">{unit}</span>}
      </span>
      {hint && (
        <small id={`${id}-hint`} className="quiet">
          {hint}
        </small>
      )}
    </div>
  );
}

interface SelectProps extends FieldProps {
  readonly options: readonly (readonly [value: string, label: string])[];
}

export function SelectField({ label, value, onChange, hint, options }: SelectProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map(([option, words]) => (
          <option key={option} value={option}>
            {words}
          </option>
        ))}
      </select>
      {hint && <small className="quiet">{hint}</small>}
    </div>
  );
}

export function ReasonField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return (
    <TextField
      label="Reason"
      required
      value={value}
      onChange={onChange}
      placeholder="why, for whoever reads this later"
    />
  );
}

export function TtlField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return (
    <TextField
      label="For how long"
      value={value}
      onChange={onChange}
      placeholder="until it is ended"
      hint="30m, 2h, 1d, at most 30d; empty: until somebody ends it"
    />
  );
}
