import { readFileSync } from "node:fs";
import type { Server as HttpServer } from "node:http";
import type { Server as HttpsServer, ServerOptions } from "node:https";
import type { Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import type { Logger } from "pino";
import type { TlsConfig } from "../config.js";
import { certificateNames } from "./certificate-names.js";
import { ProblemError } from "./problem-error.js";

/** Certificates are looked at this often, so that one that was renewed is served without a restart. */
const LOOK_MS = 2_000;
/** The first byte of a TLS connection: a handshake record. */
const TLS_HANDSHAKE = 0x16;
/** Who connects and says nothing is let go. */
const FIRST_BYTE_MS = 10_000;

/** A client certificate of the agents' CA. */
export interface AgentCertificate {
  /** Agents that it names, by SAN or common name. */
  readonly names: readonly string[];
}

interface Handshake {
  /** Why there is no certificate to go by; null: there is one. */
  readonly fault: string | null;
  readonly names: readonly string[];
  readonly validToMs: number;
  /** The agents' CA of then is the one of now. */
  readonly isCurrent: () => boolean;
}

/** Of connections to a server that asks for certificates. */
const handshakes = new WeakMap<Socket, Handshake>();

/** @throws ProblemError 401 saying what is wrong with the certificate of a connection */
export function agentCertificateOf(socket: Socket, nowMs: number): AgentCertificate {
  const refused = (why: string) =>
    new ProblemError("unauthenticated", `Agents need a client certificate of the agents' CA here: ${why}.`);
  const handshake = handshakes.get(socket);
  if (!handshake) throw refused("none was sent");
  if (handshake.fault !== null) throw refused(handshake.fault);
  // A connection may live longer than what it was opened with.
  if (nowMs > handshake.validToMs) throw refused("it has expired");
  if (!handshake.isCurrent()) throw refused("the CA was replaced since; connect again");
  return { names: handshake.names };
}

/** TLS of the whole service, from files that are read again when they change. */
export class TlsFiles {
  private loaded: { readonly cert: string; readonly key: string; readonly ca: string | undefined };
  private lastFault = "";
  private caEpoch = 0;

  /** @throws Error naming the file that cannot be read, or why certificate and key do not fit */
  constructor(
    private readonly config: TlsConfig,
    private readonly logger: Logger,
  ) {
    this.loaded = this.read();
  }

  /** For https.createServer. A certificate that is no good is told of in an answer, not by a broken handshake. */
  options(): ServerOptions {
    const asks = this.config.agentCaFile !== null;
    return { ...this.loaded, requestCert: asks, rejectUnauthorized: false };
  }

  serve(server: HttpsServer): void {
    const timer = setInterval(() => this.reload(server), LOOK_MS).unref();
    server.once("close", () => clearInterval(timer));
    if (this.config.agentCaFile !== null) {
      server.on("secureConnection", (socket: TLSSocket) => handshakes.set(socket, this.handshakeOf(socket)));
    }
    server.on("tlsClientError", (error: Error) => {
      this.logger.debug({ event: "tls_handshake_failed", err: error });
    });
    answerPlainHttp(server);
  }

  private handshakeOf(socket: TLSSocket): Handshake {
    const epoch = this.caEpoch;
    const isCurrent = () => epoch === this.caEpoch;
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return { fault: "none was sent", names: [], validToMs: 0, isCurrent };
    const fault = socket.authorized ? null : faultWords(String(socket.authorizationError));
    return {
      fault,
      names: certificateNames(certificate),
      validToMs: Date.parse(certificate.validTo),
      isCurrent,
    };
  }

  private reload(server: HttpsServer): void {
    try {
      const next = this.read();
      this.lastFault = "";
      const { cert, key, ca } = this.loaded;
      if (next.cert === cert && next.key === key && next.ca === ca) return;
      server.setSecureContext(next);
      if (next.ca !== ca) this.caEpoch += 1;
      this.loaded = next;
      this.logger.info({ event: "tls_reloaded", file: this.config.certFile });
    } catch (error) {
      // Half of a pair is written before the other: what is served stays, and the next look may find both.
      const fault = (error as Error).message;
      if (fault !== this.lastFault) this.logger.warn({ event: "tls_reload_failed", why: fault });
      this.lastFault = fault;
    }
  }

  private read() {
    const { certFile, keyFile, agentCaFile } = this.config;
    const cert = readText(certFile, "FULCRUM_TLS_CERT_FILE");
    const key = readText(keyFile, "FULCRUM_TLS_KEY_FILE");
    const ca = agentCaFile === null ? undefined : readText(agentCaFile, "FULCRUM_TLS_AGENT_CA_FILE");
    try {
      createSecureContext({ cert, key, ca });
    } catch (error) {
      const files = [certFile, keyFile, ...(agentCaFile === null ? [] : [agentCaFile])].join(", ");
      throw new Error(`${files} cannot be used for TLS: ${(error as Error).message}`, { cause: error });
    }
    return { cert, key, ca };
  }
}

function readText(file: string, variable: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new Error(`${variable}: ${(error as Error).message}`, { cause: error });
  }
}

function faultWords(code: string): string {
  switch (code) {
    case "CERT_HAS_EXPIRED":
      return "it has expired";
    case "CERT_NOT_YET_VALID":
      return "it is not valid yet";
    case "INVALID_PURPOSE":
      return "it is not made for clients";
    default:
      return `it is not signed by that CA (${code})`;
  }
}

const PLAIN_HTTP = JSON.stringify({
  type: "urn:fulcrum:problem:invalid_request",
  title: "The request is not valid",
  status: 400,
  detail: "This port speaks https: use https:// in the address.",
  code: "invalid_request",
});

/** Whoever speaks plain http to the port gets told so, instead of a connection that breaks. Nothing of it is read. */
function answerPlainHttp(server: HttpsServer): void {
  const secure = server.listeners("connection") as ((this: HttpServer, socket: Socket) => void)[];
  server.removeAllListeners("connection");
  server.on("connection", (socket: Socket) => {
    const giveUp = () => socket.destroy();
    socket.on("error", giveUp);
    socket.setTimeout(FIRST_BYTE_MS, giveUp);
    socket.once("readable", () => {
      const first = socket.read(1) as Buffer | null;
      socket.removeListener("error", giveUp);
      socket.setTimeout(0);
      socket.removeListener("timeout", giveUp);
      if (first === null) return socket.destroy();
      socket.unshift(first);
      if (first[0] === TLS_HANDSHAKE) for (const listener of secure) listener.call(server, socket);
      else refusePlain(socket);
    });
  });
}

function refusePlain(socket: Socket): void {
  socket.on("error", () => socket.destroy());
  const head = [
    "HTTP/1.1 400 Bad Request",
    "Content-Type: application/problem+json",
    `Content-Length: ${Buffer.byteLength(PLAIN_HTTP)}`,
    "Connection: close",
  ];
  socket.resume();
  socket.end(`${head.join("\r\n")}\r\n\r\n${PLAIN_HTTP}`, () => socket.destroySoon());
}
