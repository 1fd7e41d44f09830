import type { Route } from "@fulcrum/contracts/route.js";
import type { Role } from "@fulcrum/contracts/resources.js";
import { type CanActivate, type ExecutionContext, Inject, Injectable } from "@nestjs/common";
import { Reflector } from "@nestjs/core";
import { ROUTE } from "../http/handles.js";
import { ProblemError } from "../http/problem-error.js";
import type { CallerRequest } from "./caller.js";
import { KeyService } from "./key.service.js";

/** What each role may do. An agent key speaks the agent API and nothing else, so that a leaked one changes no SLO. */
const GRANTS: Record<Role, readonly Role[]> = {
  viewer: ["viewer"],
  operator: ["viewer", "operator"],
  admin: ["viewer", "operator", "admin"],
  agent: ["agent"],
};

/** Every handler that is bound to a route needs a key with at least the route's role. */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(
    @Inject(Reflector) private readonly reflector: Reflector,
    @Inject(KeyService) private readonly keys: KeyService,
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
    return true;
  }

  private async authenticate(header: string | undefined) {
    if (!header) throw new ProblemError("unauthenticated", "Send Authorization: Bearer <key>.");
    const match = /^Bearer\s+(\S{1,256})$/i.exec(header);
    const holder = match ? await this.keys.holderOf(match[1]!) : null;
    if (!holder) throw new ProblemError("unauthenticated", "The API key is unknown or was revoked.");
    return holder;
  }
}
