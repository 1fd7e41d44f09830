/** OpenAPI 3.1 from the route table; JSON Schemas come out of zod. */
import { z } from "zod";
import { PROBLEMS, problem } from "./problem.js";
import type { Route } from "./route.js";
import { routes } from "./routes.js";

type Json = Record<string, unknown>;

/** Path as OpenAPI writes it: `/v1/pools/{pool}`. */
function openApiPath(path: string): string {
  return path.replace(/:([a-zA-Z]+)/g, "{$1}");
}

/** Schemas with an id become components; every other place refers to them. */
function components(): Json {
  const { schemas } = z.toJSONSchema(z.globalRegistry, {
    uri: (id) => `#/components/schemas/${id}`,
    target: "draft-2020-12",
    // Only bodies that are sent have defaults, so one set of schemas in the input sense serves both ways.
    io: "input",
  }) as { schemas: Record<string, Json> };
  return Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, strip(schema)]));
}

function strip(schema: Json): Json {
  const { $schema: _dialect, $id: _id, ...rest } = schema;
  return rest;
}

function inline(schema: z.ZodType, io: "input" | "output"): Json {
  const id = z.globalRegistry.get(schema)?.id;
  if (id) return { $ref: `#/components/schemas/${id}` };
  const { $defs: _components, ...own } = z.toJSONSchema(schema, { target: "draft-2020-12", io }) as Json;
  return strip(toComponents(own) as Json);
}

/** zod puts registered schemas into `$defs` beside their use; in the document they are components. */
function toComponents(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toComponents);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      key === "$ref" && typeof inner === "string"
        ? inner.replace("#/$defs/", "#/components/schemas/")
        : toComponents(inner),
    ]),
  );
}

function parameters(route: Route): Json[] {
  const list: Json[] = [];
  for (const [where, shape] of [
    ["path", route.params],
    ["query", route.query],
  ] as const) {
    if (!shape) continue;
    for (const [key, schema] of Object.entries(shape.shape)) {
      const required = where === "path" || !(schema as z.ZodType).safeParse(undefined).success;
      list.push({ name: key, in: where, required, schema: inline(schema as z.ZodType, "input") });
    }
  }
  if (route.ifMatch) {
    list.push({
      name: "If-Match",
      in: "header",
      required: route.ifMatch === "required",
      schema: { type: "string" },
    });
  }
  if (route.also?.[304])
    list.push({ name: "If-None-Match", in: "header", required: false, schema: { type: "string" } });
  return list;
}

function operation(name: string, route: Route): Json {
  const headers = route.etag ? { headers: { ETag: { schema: { type: "string" } } } } : {};
  const answers: Record<string, Json> = {
    [route.status]: route.answer
      ? {
          description: "OK",
          ...headers,
          content: { [route.answerType ?? "application/json"]: { schema: inline(route.answer, "output") } },
        }
      : { description: "Done" },
    default: {
      description: "A problem (RFC 9457)",
      content: { "application/problem+json": { schema: inline(problem, "output") } },
    },
  };
  for (const [status, description] of Object.entries(route.also ?? {})) answers[status] = { description };
  return {
    operationId: name,
    summary: route.summary,
    tags: [route.tag],
    ...(route.role ? { security: [{ apiKey: [] }], "x-fulcrum-role": route.role } : { security: [] }),
    parameters: parameters(route),
    ...(route.body
      ? {
          requestBody: {
            required: true,
            content: { "application/json": { schema: inline(route.body, "input") } },
          },
        }
      : {}),
    responses: answers,
  };
}

/** The whole document. Pure: the same build gives the same document. */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Json> = {};
  for (const [name, route] of Object.entries(routes) as [string, Route][]) {
    const path = openApiPath(route.path);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(name, route) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Fulcrum",
      version,
      description:
        "SLO-aware resource controller for LLM serving. Send `Authorization: Bearer <key>`, or a token of " +
        "the OIDC issuer that the controller is set up with. Problem codes: " +
        Object.keys(PROBLEMS).join(", ") +
        ".",
    },
    servers: [{ url: "/" }],
    paths,
    components: {
      schemas: components(),
      securitySchemes: { apiKey: { type: "http", scheme: "bearer" } },
    },
  };
}
