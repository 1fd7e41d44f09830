import {
  type ArgumentsHost,
  Catch,
  type ExceptionFilter,
  HttpException,
  Inject,
  Injectable,
} from "@nestjs/common";
import { PROBLEMS, type Problem, type ProblemCode } from "@fulcrum/contracts/problem.js";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Logger } from "pino";
import { isDatabaseAway, isValueNotStorable } from "../db/sqlstate.js";
import { LOGGER } from "../obs/logger.js";
import { ProblemError, problemOf } from "./problem-error.js";

/** Every failure leaves as problem details (RFC 9457). Only what we did not foresee is logged as an error. */
@Catch()
@Injectable()
export class ProblemFilter implements ExceptionFilter {
  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const request = host.switchToHttp().getRequest<FastifyRequest>();
    const problem = toProblem(error, request.url.split("?")[0]);
    if (problem.status >= 500) {
      this.logger.error({ event: "request_failed", method: request.method, path: request.url, err: error });
    }
    sendProblem(problem, reply);
  }
}

export function sendProblem(problem: Problem, reply: Pick<FastifyReply, "status">): void {
  const answer = reply.status(problem.status);
  if (problem.status === 401) void answer.header("WWW-Authenticate", "Bearer");
  if (problem.status === 503) void answer.header("Retry-After", "1");
  void answer.header("Content-Type", "application/problem+json").send(JSON.stringify(problem));
}

export function toProblem(error: unknown, path: string | undefined): Problem {
  if (error instanceof ProblemError) return error.toProblem(path);
  if (isDatabaseAway(error))
    return problemOf("unavailable", "The database cannot be reached; try again.", { path });
  if (isValueNotStorable(error)) {
    const detail = "A value cannot be stored: a number or time out of range, or a text with a NUL character.";
    return problemOf("invalid_request", detail, { path });
  }
  const status = statusOf(error);
  const message = error instanceof Error ? error.message : String(error);
  if (status === 413) return problemOf("body_too_large", message, { path });
  if (status === 415) return problemOf("unsupported_media_type", message, { path });
  if (status === 404) return problemOf("not_found", message, { path });
  if (status !== null && status >= 400 && status < 500) return problemOf(codeOf(status), message, { path });
  return problemOf("internal", "Something went wrong in the controller; its log says what.", { path });
}

/** Nest's own exceptions carry getStatus(), Fastify's (body too large, bad JSON) statusCode. */
function statusOf(error: unknown): number | null {
  if (error instanceof HttpException) return error.getStatus();
  const status = (error as { statusCode?: unknown } | null)?.statusCode;
  return typeof status === "number" ? status : null;
}

function codeOf(status: number): ProblemCode {
  const found = Object.entries(PROBLEMS).find(([, problem]) => problem.status === status);
  return (found?.[0] as ProblemCode | undefined) ?? "invalid_request";
}
