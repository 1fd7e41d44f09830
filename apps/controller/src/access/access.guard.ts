import type { Route } from "@fulcrum/contracts/route.js";
import type { Role } from "@fulcrum/contracts/resources.js";
import { type CanActivate, type ExecutionContext, Inject, Injectable } from "@nestjs/common";
import { Reflector } from "@nestjs/core";
import { CONFIG, type Config } from "../config.js";
import { ROUTE } from "../http/handles.js";
import { ProblemError } from "../http/problem-error.js";
import type { FastifyReply } from "fastify";
import { agentCertificateOf } from "../http/tls.js";
import type { CallerRequest } from "./caller.js";
import { type KeyHolder, KeyService } from "./key.service.js";
import { TokenService } from "./token.service.js";

/** A key holds 46 characters; tokens may be as long as a header gets through proxies. */
const MAX_KEY = 256;
const MAX_TOKEN = 8_192;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** What each role may do. An agent key speaks the agent API and nothing else, so that a leaked one changes no SLO. */
const GRANTS: Record<Role, readonly Role[]> = {
  viewer: ["viewer"],
  operator: ["viewer", "operator"],
  admin: ["viewer", "operator", "admin"],
  agent: ["agent"],
};

/**
 * Every handler that is bound to a route needs a key, or a token of the OIDC issuer, with at least the route's role.
 * Where agents must have certificates, their routes need one on top.
 */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(
    @Inject(Reflector) private readonly reflector: Reflector,
    @Inject(KeyService) private readonly keys: KeyService,
    @Inject(TokenService) private readonly tokens: TokenService,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const route = this.reflector.get<Route | undefined>(ROUTE, context.getHandler());
    if (!route?.role) return true;
    const request = context.switchToHttp().getRequest<CallerRequest>();
    const holder = await this.authenticate(request.headers.authorization);
    if (!GRANTS[holder.role].includes(route.role)) {
      throw new ProblemError(
        "forbidden",
        `This needs role ${route.role}; the key "${holder.name}" has role ${holder.role}.`,
      );
    }
    request.holder = holder;
    if (route.role === "agent" && this.config.tls?.agentCaFile) {
      // A refused one is not shown again on this connection: the next one may bring another.
      void context.switchToHttp().getResponse<FastifyReply>().header("Connection", "close");
      request.certificate = agentCertificateOf(request.raw.socket, Date.now());
      void context.switchToHttp().getResponse<FastifyReply>().removeHeader("Connection");
    }
    return true;
  }

  private async authenticate(header: string | undefined): Promise<KeyHolder> {
    if (!header) throw new ProblemError("unauthenticated", "Send Authorization: Bearer <key>.");
    const given = /^Bearer\s+(\S+)$/i.exec(header)?.[1] ?? "";
    const holder =
      JWT.test(given) && given.length <= MAX_TOKEN
        ? await this.tokens.holderOf(given)
        : await this.byKey(given);
    if (!holder) throw new ProblemError("unauthenticated", "The API key is unknown or was revoked.");
    return holder;
  }

  private async byKey(key: string): Promise<KeyHolder | null> {
    return key === "" || key.length > MAX_KEY ? null : this.keys.holderOf(key);
  }
}
