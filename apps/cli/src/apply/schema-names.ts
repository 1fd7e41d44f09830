/** What a pool's file may hold at a place, for "did you mean": read from the contract's own JSON Schema. */
import { poolInput } from "@fulcrum/contracts/pools.js";
import { z } from "zod";

interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
}

const ROOT = z.toJSONSchema(poolInput, { io: "input", reused: "inline", target: "draft-2020-12" }) as Schema;

/** Field names that may stand at the path, of every variant that there is. */
export function knownFields(path: readonly PropertyKey[]): string[] {
  return [...new Set(schemasAt(path).flatMap(({ properties }) => Object.keys(properties ?? {})))];
}

/** Values that may stand at the path, where only certain ones may. */
export function knownValues(path: readonly PropertyKey[]): string[] {
  const values = schemasAt(path).flatMap((schema) => [
    ...(schema.enum ?? []),
    ...(schema.const === undefined ? [] : [schema.const]),
  ]);
  return [...new Set(values.filter((value): value is string => typeof value === "string"))];
}

function schemasAt(path: readonly PropertyKey[]): Schema[] {
  let at = variants(ROOT);
  for (const part of path) {
    at = at.flatMap(({ properties, items }) => {
      const next = typeof part === "number" ? items : properties?.[String(part)];
      return next === undefined ? [] : variants(next);
    });
  }
  return at;
}

/** A schema and all that it is made of; those with a name of their own stand elsewhere in the document. */
function variants(schema: Schema): Schema[] {
  const named = schema.$ref === undefined ? undefined : ROOT.$defs?.[schema.$ref.split("/").at(-1)!];
  if (named !== undefined) return [schema, ...variants(named)];
  const inner = [...(schema.anyOf ?? []), ...(schema.oneOf ?? []), ...(schema.allOf ?? [])];
  return [schema, ...inner.flatMap(variants)];
}
