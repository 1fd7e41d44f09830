/**
 * `missing_binary`: no nvidia-cuda-mps-control. `no_daemon`: nothing answers in this pipe directory.
 * `timeout`: the tool hung and was killed. `bad_answer`: it said what nobody expects. `fault`: the server is in FAULT.
 * `ambiguous_server`: several servers (v3), and nothing says which is ours.
 */
export type MpsErrorCode =
  | "missing_binary"
  | "no_daemon"
  | "timeout"
  | "bad_answer"
  | "fault"
  | "ambiguous_server";

export class MpsError extends Error {
  override readonly name = "MpsError";
  constructor(
    readonly code: MpsErrorCode,
    message: string,
  ) {
    super(message);
  }
}
