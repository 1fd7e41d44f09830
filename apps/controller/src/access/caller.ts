import { createParamDecorator, type ExecutionContext } from "@nestjs/common";
import type { FastifyRequest } from "fastify";
import type { Actor } from "../audit/append-audit.js";
import { ProblemError } from "../http/problem-error.js";
import type { KeyHolder } from "./key.service.js";

export interface CallerRequest extends FastifyRequest {
  holder?: KeyHolder;
}

export interface Caller {
  readonly holder: KeyHolder;
  readonly actor: Actor;
}

/** Who calls, set by the guard. */
export const FromCaller = createParamDecorator((_: unknown, context: ExecutionContext): Caller => {
  const request = context.switchToHttp().getRequest<CallerRequest>();
  const holder = request.holder;
  if (!holder) throw new ProblemError("unauthenticated", "Send Authorization: Bearer <key>.");
  return { holder, actor: { name: holder.name, keyId: holder.keyId, address: request.ip } };
});

/** An agent key that is bound to one agent may not speak for another. */
export function assertSpeaksFor(caller: Caller, agent: string): void {
  const bound = caller.holder.agent;
  if (bound !== null && bound !== agent) {
    throw new ProblemError(
      "forbidden",
      `This key is bound to agent ${bound} and may not speak for ${agent}.`,
    );
  }
}
