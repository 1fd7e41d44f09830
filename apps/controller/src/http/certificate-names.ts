import type { X509Certificate } from "node:crypto";

const NAME = /^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/;

/** What a certificate may name an agent by: its DNS names and its one common name, where they could be an agent's. */
export function certificateNames({
  subject,
  subjectAltName,
}: Pick<X509Certificate, "subject" | "subjectAltName">): string[] {
  const common = (subject ?? "").split("\n").filter((line) => line.startsWith("CN="));
  const names = common.length === 1 ? [common[0]!.slice("CN=".length)] : [];
  return [...new Set([...names, ...dnsNames(subjectAltName ?? "")])].filter((name) => NAME.test(name));
}

/** Node quotes a name that has a comma or a quote in it, so that it cannot pass for two; such names are nobody's. */
function dnsNames(subjectAltName: string): string[] {
  if (subjectAltName.includes('"')) return [];
  return subjectAltName
    .split(", ")
    .filter((entry) => entry.startsWith("DNS:"))
    .map((entry) => entry.slice("DNS:".length).toLowerCase());
}
