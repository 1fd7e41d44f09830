/** An OIDC issuer on this machine: discovery, keys that can be changed, and tokens of any content. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";

export interface TokenOptions {
  readonly issuer?: string;
  readonly audience?: string;
  readonly subject?: string;
  /** Seconds from now. */
  readonly expiresInS?: number;
  readonly notBeforeS?: number;
}

export class OidcIssuer {
  requests = 0;
  private keys: { readonly kid: string; readonly privateKey: CryptoKey; readonly jwk: JWK }[] = [];
  private server: Server | null = null;
  private made = 0;
  url = "";

  async start(): Promise<this> {
    await this.rotate();
    this.server = createServer((request, response) => {
      this.requests += 1;
      const body =
        request.url === "/keys"
          ? { keys: this.keys.map(({ jwk }) => jwk) }
          : { issuer: this.url, jwks_uri: `${this.url}/keys` };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => this.server?.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    return this;
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve));
  }

  /** From now on there is one new key and none of those before. */
  async rotate(): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair("ES256");
    this.made += 1;
    const kid = `key-${this.made}`;
    this.keys = [
      { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: "ES256", use: "sig" } },
    ];
  }

  async token(claims: JWTPayload, options: TokenOptions = {}): Promise<string> {
    const [{ kid, privateKey }] = this.keys as [(typeof this.keys)[number]];
    const nowS = Math.floor(Date.now() / 1_000);
    const jwt = new SignJWT(claims)
      .setProtectedHeader({ alg: "ES256", kid })
      .setIssuer(options.issuer ?? this.url)
      .setAudience(options.audience ?? "fulcrum")
      .setSubject(options.subject ?? "u-1")
      .setExpirationTime(nowS + (options.expiresInS ?? 600));
    if (options.notBeforeS !== undefined) jwt.setNotBefore(nowS + options.notBeforeS);
    return jwt.sign(privateKey);
  }
}
