import type { WriteStream } from "node:fs";

/**
 * The tokens that went out, each once. Kept apart from the state that workers go on from, so that a mistake there shows
 * here: a token that was sent already is a repeat and is not sent again, one that comes too early leaves a gap.
 */
export class TokenLog {
  repeated = 0;
  lost = 0;
  private readonly next = new Map<number, number>();

  /** @param file one line per token, `<engine ms>,<request>,<token>`; null: none is written. */
  constructor(private readonly file: WriteStream | null) {}

  /** @returns whether the token goes out. */
  take(id: number, token: number, atMs: number): boolean {
    const expected = this.next.get(id) ?? 0;
    if (token < expected) {
      this.repeated += 1;
      return false;
    }
    this.lost += token - expected;
    this.next.set(id, token + 1);
    this.file?.write(`${atMs.toFixed(3)},${id},${token}\n`);
    return true;
  }

  /** The request is over; one that ends with other than `outputTokens` has lost the rest. */
  close(id: number, outputTokens: number): void {
    this.lost += Math.max(0, outputTokens - (this.next.get(id) ?? 0));
    this.next.delete(id);
  }
}
