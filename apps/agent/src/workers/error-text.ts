/** What went wrong, in a length that fits an acknowledgement. */
export function boundedErrorText(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, 500);
}
