/** Certificates of a test's own: authorities, and what they sign. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generate } from "selfsigned";

export interface Signed {
  readonly cert: string;
  readonly key: string;
}

const DAY_MS = 86_400_000;

export async function authority(commonName: string): Promise<Signed> {
  const made = await generate([{ name: "commonName", value: commonName }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
  return { cert: made.cert, key: made.private };
}

export interface Leaf {
  readonly commonName: string;
  readonly dns?: readonly string[];
  readonly ip?: string;
  /** From now; negative: it has expired. */
  readonly days?: number;
}

export async function signedBy(ca: Signed, { commonName, dns = [], ip, days = 1 }: Leaf): Promise<Signed> {
  const names = [
    ...dns.map((value) => ({ type: 2 as const, value })),
    ...(ip === undefined ? [] : [{ type: 7 as const, ip }]),
  ];
  const made = await generate([{ name: "commonName", value: commonName }], {
    keyType: "ec",
    algorithm: "sha256",
    ca,
    notBeforeDate: new Date(Date.now() - 10 * DAY_MS),
    notAfterDate: new Date(Date.now() + days * DAY_MS),
    extensions: [
      { name: "basicConstraints", cA: false },
      { name: "keyUsage", digitalSignature: true },
      { name: "extKeyUsage", serverAuth: true, clientAuth: true },
      ...(names.length === 0 ? [] : [{ name: "subjectAltName" as const, altNames: names }]),
    ],
  });
  return { cert: made.cert, key: made.private };
}

/** A folder for PEM files. A file is replaced as a whole, as a mounted secret is. */
export class PemFolder {
  readonly path = mkdtempSync(join(tmpdir(), "fulcrum-pki-"));

  write(name: string, text: string): string {
    const file = join(this.path, name);
    writeFileSync(`${file}.new`, text, { mode: 0o600 });
    renameSync(`${file}.new`, file);
    return file;
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
