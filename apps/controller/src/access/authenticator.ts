import { Inject, Injectable } from "@nestjs/common";
import { ProblemError } from "../http/problem-error.js";
import { type KeyHolder, KeyService } from "./key.service.js";
import { TokenService } from "./token.service.js";

/** A key holds 46 characters; tokens may be as long as a header gets through proxies. */
const MAX_KEY = 256;
const MAX_TOKEN = 8_192;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** Who sends a request: by an API key, or by a token of the OIDC issuer. */
@Injectable()
export class Authenticator {
  constructor(
    @Inject(KeyService) private readonly keys: KeyService,
    @Inject(TokenService) private readonly tokens: TokenService,
  ) {}

  /** @throws ProblemError 401 saying what is wrong, and whatever TokenService.holderOf throws */
  async holderOf(header: string | undefined): Promise<KeyHolder> {
    if (!header) throw new ProblemError("unauthenticated", "Send Authorization: Bearer <key>.");
    const given = /^Bearer\s+(\S+)$/i.exec(header)?.[1] ?? "";
    const holder =
      JWT.test(given) && given.length <= MAX_TOKEN
        ? await this.tokens.holderOf(given)
        : await this.byKey(given);
    if (!holder) throw new ProblemError("unauthenticated", "The API key is unknown or was revoked.");
    return holder;
  }

  /** Whether a request that was let in would still be: not once its key is revoked or its token has expired. */
  async isStillIn(header: string): Promise<boolean> {
    try {
      await this.holderOf(header);
      return true;
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      // While the issuer is away nobody can say so.
      return error.code === "unavailable";
    }
  }

  private async byKey(key: string): Promise<KeyHolder | null> {
    return key === "" || key.length > MAX_KEY ? null : this.keys.holderOf(key);
  }
}
