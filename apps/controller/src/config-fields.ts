/** Variables that hold more than a word or a number. */
import { z } from "zod";

/** Roles that a token may carry. Agents have keys. */
const ROLES = ["viewer", "operator", "admin"] as const;

export type PersonRole = (typeof ROLES)[number];

export type RoleMap = Readonly<Record<string, PersonRole>>;

/** Enough for a company's groups. */
const MAX_PAIRS = 100;

export function isPersonRole(value: string): value is PersonRole {
  return (ROLES as readonly string[]).includes(value);
}

/** A token read or changed on the way is a key to the fleet: plain http only inside this machine. */
export const httpsOrLoopback = z
  .url({ protocol: /^https?$/, error: "must be an https:// URL" })
  .refine(
    (text) => isHttpsOrLoopback(text),
    "must be https://; http:// is for 127.0.0.1, [::1] and localhost only",
  );

export function isHttpsOrLoopback(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === "https:" || ["127.0.0.1", "[::1]", "localhost"].includes(hostname);
}

/** `group=role` pairs with commas between them. A group holds no comma; what follows the last = is the role. */
export const oidcRoles = z.string().transform((text, context): RoleMap => {
  const entries = pairsOf(text).map((pair): [string, string] => {
    const at = pair.lastIndexOf("=");
    return [pair.slice(0, Math.max(0, at)).trim(), pair.slice(at + 1).trim()];
  });
  const bad = entries.find(([group, role]) => group === "" || !isPersonRole(role));
  if (bad || entries.length === 0 || entries.length > MAX_PAIRS) {
    const message = `must be 1..${MAX_PAIRS} pairs such as sre=operator,staff=viewer with the roles ${ROLES.join(", ")}`;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  }
  return Object.fromEntries(entries) as RoleMap;
});

/** As OpenTelemetry writes it: `name=value` pairs with commas between them, values percent-encoded. */
export const otlpHeaders = z.string().transform((text, context): Record<string, string> => {
  const headers: Record<string, string> = {};
  for (const pair of pairsOf(text)) {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*([\x21-\x7e]+)$/.exec(pair);
    const value = match && decoded(match[2]!);
    if (!match || value === null) {
      context.addIssue({ code: "custom", message: "must be pairs such as authorization=Bearer%20abc" });
      return z.NEVER;
    }
    headers[match[1]!.toLowerCase()] = value;
  }
  return headers;
});

function pairsOf(text: string): string[] {
  return text
    .split(",")
    .map((pair) => pair.trim())
    .filter((pair) => pair !== "");
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
