import type { Route } from "@fulcrum/contracts/route.js";
import type { Role } from "@fulcrum/contracts/resources.js";
import { type CanActivate, type ExecutionContext, Inject, Injectable } from "@nestjs/common";
import { Reflector } from "@nestjs/core";
import { CONFIG, type Config } from "../config.js";
import { ROUTE } from "../http/handles.js";
import { ProblemError } from "../http/problem-error.js";
import type { FastifyReply } from "fastify";
import { agentCertificateOf } from "../http/tls.js";
import { Authenticator } from "./authenticator.js";
import type { CallerRequest } from "./caller.js";

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
    @Inject(Authenticator) private readonly authenticator: Authenticator,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const route = this.reflector.get<Route | undefined>(ROUTE, context.getHandler());
    if (!route?.role) return true;
    const request = context.switchToHttp().getRequest<CallerRequest>();
    const holder = await this.authenticator.holderOf(request.headers.authorization);
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
}
