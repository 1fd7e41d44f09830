/** What a failure of the database means for whoever asked. */

/** Class 08 connection, 57P0x shutting down or crashed, 53300 too many connections, and node's socket errors. */
const AWAY =
  /^(08...|57P0[123]|53300|ECONNREFUSED|ECONNRESET|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/;
const AWAY_MESSAGE =
  /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|not queryable|the database system is/i;

export function isDatabaseAway(error: unknown): boolean {
  const { code, message, driverError } = (error ?? {}) as {
    code?: unknown;
    message?: unknown;
    driverError?: unknown;
  };
  if (typeof code === "string" && AWAY.test(code)) return true;
  if (typeof message === "string" && AWAY_MESSAGE.test(message)) return true;
  return driverError !== undefined && driverError !== error && isDatabaseAway(driverError);
}

/** 23505: a unique index said no. */
export function violatesUnique(error: unknown, index?: string): boolean {
  const driver = ((error as { driverError?: unknown } | null)?.driverError ?? error) as {
    code?: unknown;
    constraint?: unknown;
  };
  return driver?.code === "23505" && (index === undefined || driver.constraint === index);
}

/**
 * 22003 and 22008: a number or a time that no column holds; 22021 and 22P05: a NUL character in a text.
 * Only a request brings such values, so they are its fault.
 */
export function isValueNotStorable(error: unknown): boolean {
  const driver = ((error as { driverError?: unknown } | null)?.driverError ?? error) as { code?: unknown };
  return typeof driver?.code === "string" && /^22(003|008|021|P05)$/.test(driver.code);
}

/** 40001 serialisation failure, 40P01 deadlock: the same transaction may be run again. */
export function isRetryable(error: unknown): boolean {
  const driver = ((error as { driverError?: unknown } | null)?.driverError ?? error) as { code?: unknown };
  return driver?.code === "40001" || driver?.code === "40P01";
}
