import type { LoggerService } from "@nestjs/common";
import { destination, type Logger, pino } from "pino";

export const LOGGER = Symbol("Logger");

/**
 * JSON lines on standard error: standard output belongs to whoever started us. Synchronous: an asynchronous
 * destination (sonic-boom 4.2) is flushed at exit, and where nobody reads any more, as after a kill -9 of our
 * parent, it tries that for ever on EPIPE, so that the process never ends.
 */
export function createLogger(level: string): Logger {
  return pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    destination({ fd: 2, sync: true }),
  );
}

/** Nest's own messages through pino; its start-up chatter is debug. */
export function nestLogger(logger: Logger): LoggerService {
  const text = (message: unknown) => (typeof message === "string" ? message : JSON.stringify(message));
  return {
    log: (message: unknown) => logger.debug({ event: "nest" }, text(message)),
    debug: (message: unknown) => logger.debug({ event: "nest" }, text(message)),
    verbose: (message: unknown) => logger.trace({ event: "nest" }, text(message)),
    warn: (message: unknown) => logger.warn({ event: "nest" }, text(message)),
    error: (message: unknown) => logger.error({ event: "nest" }, text(message)),
    fatal: (message: unknown) => logger.fatal({ event: "nest" }, text(message)),
  };
}
