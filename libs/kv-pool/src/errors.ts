export type SegmentErrorCode =
  | "bad_argument"
  | "exists"
  | "not_found"
  | "wrong_size"
  | "bad_magic"
  | "bad_version"
  | "corrupt"
  | "io";

/** The file is not, or cannot become, a segment that this version reads. Nothing was changed. */
export class SegmentError extends Error {
  override readonly name = "SegmentError";
  constructor(
    readonly code: SegmentErrorCode,
    message: string,
  ) {
    super(message);
  }
}

export type PoolErrorCode =
  | "bad_count"
  | "bad_quota"
  | "bad_turn"
  | "block_out_of_range"
  | "double_free"
  | "foreign_block"
  | "repeated_block"
  | "no_slot"
  | "no_such_owner"
  | "owner_active"
  | "detached"
  | "closed";

/** A call that breaks a rule of the pool. Nothing was changed, unless the call's description says otherwise. */
export class PoolError extends Error {
  override readonly name = "PoolError";
  constructor(
    readonly code: PoolErrorCode,
    message: string,
  ) {
    super(message);
  }
}
