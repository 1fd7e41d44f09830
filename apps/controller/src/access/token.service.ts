import { Inject, Injectable } from "@nestjs/common";
import { errors, type JWTPayload, jwtVerify } from "jose";
import type { Logger } from "pino";
import { CONFIG, type Config, type OidcConfig } from "../config.js";
import { ProblemError } from "../http/problem-error.js";
import { LOGGER } from "../obs/logger.js";
import type { KeyHolder } from "./key.service.js";
import { IssuerDown, OidcIssuer } from "./oidc-issuer.js";
import { actorName, holderId, roleOf } from "./token-claims.js";

/** Asymmetric ones only: with a shared secret whoever can check a token can make one. */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
const CLOCK_TOLERANCE_S = 30;

/** Bearer tokens of the configured OIDC issuer. */
@Injectable()
export class TokenService {
  private readonly oidc: OidcConfig | null;
  private readonly issuer: OidcIssuer | null;
  /** Told already: many tokens may come while the issuer is away. */
  private toldOf: IssuerDown | null = null;

  constructor(
    @Inject(CONFIG) config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.oidc = config.oidc;
    this.issuer = config.oidc && new OidcIssuer(config.oidc.issuer);
  }

  /**
   * Who holds a token; null when no issuer is configured.
   * @throws ProblemError 401 saying what is wrong with it, 403 when it carries no role, 503 while the issuer cannot be asked
   */
  async holderOf(token: string): Promise<KeyHolder | null> {
    if (!this.oidc || !this.issuer) return null;
    const { issuer, audience, roleClaim, roles } = this.oidc;
    let claims: JWTPayload;
    try {
      const verified = await jwtVerify(token, this.issuer.key, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE_S,
        requiredClaims: ["exp", "sub"],
      });
      claims = verified.payload;
    } catch (error) {
      throw this.refusal(error, this.oidc);
    }
    const name = actorName(claims, issuer);
    const role = roleOf(claims, roleClaim, roles);
    if (role === null) {
      throw new ProblemError("forbidden", `The token of ${name} carries no role in its claim ${roleClaim}.`);
    }
    return { keyId: holderId(issuer, claims.sub!), name, role, agent: null };
  }

  private refusal(error: unknown, { issuer, audience }: OidcConfig): unknown {
    const refused = (detail: string) => new ProblemError("unauthenticated", detail);
    if (error instanceof IssuerDown) {
      if (error !== this.toldOf) this.logger.warn({ event: "oidc_issuer_down", issuer, err: error });
      this.toldOf = error;
      return new ProblemError("unavailable", `${error.message} API keys still work.`);
    }
    if (error instanceof errors.JWTExpired) {
      const at = typeof error.payload.exp === "number" ? error.payload.exp * 1_000 : Number.NaN;
      const since = Number.isFinite(at) ? ` at ${new Date(at).toISOString()}` : "";
      return refused(`The token has expired${since}.`);
    }
    if (error instanceof errors.JWTClaimValidationFailed) {
      if (error.claim === "aud") return refused(`The token is not for audience ${audience}.`);
      if (error.claim === "iss") return refused(`The token is not of issuer ${issuer}.`);
      if (error.claim === "nbf") return refused("The token is not valid yet.");
      return refused(`The token's claim ${error.claim} is missing or not valid.`);
    }
    if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) {
      return refused(`The token is signed with a key that is none of ${issuer}'s.`);
    }
    if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported) {
      return refused(`The token's algorithm is not allowed; these are: ${ALGORITHMS.join(", ")}.`);
    }
    if (error instanceof errors.JWSSignatureVerificationFailed) {
      return refused("The token's signature is not valid.");
    }
    return error instanceof errors.JOSEError ? refused("The token is not a valid JWT.") : error;
  }
}
