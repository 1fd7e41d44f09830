import {
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
  errors,
} from "jose";
import { z } from "zod";
import { isHttpsOrLoopback } from "../config-fields.js";

const TIMEOUT_MS = 5_000;
/** The issuer's keys and addresses are read again after this long. */
const KEYS_MS = 600_000;
/** While the issuer is away its last keys serve so long: an outage of minutes locks nobody out who has a token. */
const GRACE_MS = 3_600_000;
const DISCOVERY_MS = 3_600_000;
/** A key that is not known is looked for at most this often, whoever sends how many tokens. */
const LOOK_AGAIN_MS = 5_000;
/** An issuer that did not answer is not asked again for so long: nobody waits for it in a queue. */
const DOWN_MS = 2_000;
const MAX_ANSWER_BYTES = 1_048_576;

const discovery = z.object({ issuer: z.string(), jwks_uri: z.url() });

/** The issuer cannot be asked, or answers what it must not. */
export class IssuerDown extends Error {
  override readonly name = "IssuerDown";
}

/** An issuer's signing keys: found by its discovery document, kept, and read again when it changes them. */
export class OidcIssuer {
  private found: { readonly uri: string; readonly keys: JWTVerifyGetKey; readonly untilMs: number } | null =
    null;
  private finding: Promise<JWTVerifyGetKey> | null = null;
  private last: { readonly keys: JWTVerifyGetKey; readonly atMs: number } | null = null;
  private down: { readonly why: IssuerDown; readonly untilMs: number } | null = null;

  constructor(private readonly issuer: string) {}

  /** For jose: the key that a token names. @throws IssuerDown, or jose's own when no key fits */
  readonly key: JWTVerifyGetKey = async (header, token) => {
    const keys = await this.keys();
    try {
      return await keys(header, token);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
        throw error;
      if (error instanceof errors.JOSENotSupported) throw error;
      return this.lastKey(this.asDown(error), header, token);
    }
  };

  /** Among the keys that were known when it last answered; one that is not among them may be a new one. */
  private async lastKey(down: IssuerDown, ...asked: Parameters<JWTVerifyGetKey>) {
    if (this.last === null || Date.now() - this.last.atMs > GRACE_MS) throw down;
    try {
      return await this.last.keys(...asked);
    } catch {
      throw down;
    }
  }

  private async keys(): Promise<JWTVerifyGetKey> {
    if (this.found && this.found.untilMs > Date.now()) return this.found.keys;
    this.finding ??= this.find().finally(() => {
      this.finding = null;
    });
    try {
      return await this.finding;
    } catch (error) {
      // Where its keys lie is known from before, and they are kept for a while of their own.
      if (this.found) return this.found.keys;
      throw error;
    }
  }

  private async find(): Promise<JWTVerifyGetKey> {
    const address = `${this.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
    const told = discovery.safeParse(await this.json(address));
    if (!told.success) throw this.asDown(`${address} is no discovery document`);
    const { issuer, jwks_uri: uri } = told.data;
    if (issuer !== this.issuer) throw this.asDown(`${address} is of issuer ${issuer}`);
    if (!isHttpsOrLoopback(uri)) throw this.asDown(`its keys at ${uri} are not under https`);
    const keys = uri === this.found?.uri ? this.found.keys : this.keysAt(uri);
    this.found = { uri, keys, untilMs: Date.now() + DISCOVERY_MS };
    return keys;
  }

  private keysAt(uri: string): JWTVerifyGetKey {
    return createRemoteJWKSet(new URL(uri), {
      timeoutDuration: TIMEOUT_MS,
      cooldownDuration: LOOK_AGAIN_MS,
      cacheMaxAge: KEYS_MS,
      [customFetch]: async (url) => {
        const text = await this.text(url);
        this.remember(text);
        return new Response(text);
      },
    });
  }

  private remember(text: string): void {
    try {
      this.last = { keys: createLocalJWKSet(JSON.parse(text) as JSONWebKeySet), atMs: Date.now() };
    } catch {
      // jose says what is wrong with it where it reads it itself.
    }
  }

  private async json(url: string): Promise<unknown> {
    const text = await this.text(url);
    try {
      return JSON.parse(text);
    } catch {
      throw this.asDown(`${url} is no JSON`);
    }
  }

  private async text(url: string): Promise<string> {
    if (this.down && this.down.untilMs > Date.now()) throw this.down.why;
    try {
      const response = await fetch(url, {
        headers: { accept: "application/json" },
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (response.status !== 200) throw new Error(`${url} answered ${response.status}`);
      const text = await boundedText(response);
      this.down = null;
      return text;
    } catch (error) {
      throw this.asDown(error);
    }
  }

  private asDown(cause: unknown): IssuerDown {
    if (cause instanceof IssuerDown) return cause;
    const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
    const text = reason instanceof Error ? reason.message : String(reason);
    const why = new IssuerDown(`The issuer ${this.issuer} cannot be asked: ${text}.`, { cause });
    this.down = { why, untilMs: Date.now() + DOWN_MS };
    return why;
  }
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`${response.url} is over ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
