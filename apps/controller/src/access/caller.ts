import { createParamDecorator, type ExecutionContext } from "@nestjs/common";
import type { FastifyRequest } from "fastify";
import type { Actor } from "../audit/append-audit.js";
import { ProblemError } from "../http/problem-error.js";
import type { AgentCertificate } from "../http/tls.js";
import type { KeyHolder } from "./key.service.js";

export interface CallerRequest extends FastifyRequest {
  holder?: KeyHolder;
  /** Set on agent routes where agents must have certificates. */
  certificate?: AgentCertificate;
}

export interface Caller {
  readonly holder: KeyHolder;
  readonly actor: Actor;
  readonly certificate: AgentCertificate | null;
}

/** Who calls, set by the guard. */
export const FromCaller = createParamDecorator((_: unknown, context: ExecutionContext): Caller => {
  const request = context.switchToHttp().getRequest<CallerRequest>();
  const holder = request.holder;
  if (!holder) throw new ProblemError("unauthenticated", "Send Authorization: Bearer <key>.");
  const actor = { name: holder.name, keyId: holder.keyId, address: request.ip };
  return { holder, actor, certificate: request.certificate ?? null };
});

/** An agent key that is bound to one agent, and a certificate that names one, may not speak for another. */
export function assertSpeaksFor(caller: Caller, agent: string): void {
  const bound = caller.holder.agent;
  if (bound !== null && bound !== agent) {
    throw new ProblemError(
      "forbidden",
      `This key is bound to agent ${bound} and may not speak for ${agent}.`,
    );
  }
  if (caller.certificate && !caller.certificate.names.includes(agent)) {
    const named = caller.certificate.names.join(", ") || "no agent";
    throw new ProblemError(
      "forbidden",
      `The client certificate names ${named}, which may not speak for ${agent}.`,
    );
  }
}
