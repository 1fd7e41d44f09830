import { closeSync, openSync, renameSync, rmSync, writeSync } from "node:fs";

/** A log file starts anew at this size, and one older file is kept: at most twice this on disk. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
const MAX_TAIL_LINES = 30;
const MAX_TAIL_LINE_CHARS = 500;

/** What a child wrote: in a file of bounded size, and its last lines at hand for when it fails. */
export class ChildLog {
  private descriptor: number | null;
  private bytes = 0;
  private readonly last: string[] = [];
  private rest = "";

  constructor(readonly file: string) {
    rmSync(file, { force: true });
    this.descriptor = openSync(file, "a", 0o600);
  }

  write(text: string): void {
    this.keepTail(text);
    if (this.descriptor === null) return;
    if (this.bytes > MAX_FILE_BYTES) this.startAnew();
    this.bytes += writeSync(this.descriptor, text);
  }

  tail(): readonly string[] {
    return this.rest === "" ? [...this.last] : [...this.last, this.rest];
  }

  close(): void {
    if (this.descriptor !== null) closeSync(this.descriptor);
    this.descriptor = null;
  }

  private startAnew(): void {
    if (this.descriptor !== null) closeSync(this.descriptor);
    renameSync(this.file, `${this.file}.1`);
    this.descriptor = openSync(this.file, "a", 0o600);
    this.bytes = 0;
  }

  private keepTail(text: string): void {
    const lines = (this.rest + text).split("\n");
    this.rest = (lines.pop() ?? "").slice(0, MAX_TAIL_LINE_CHARS);
    for (const line of lines) this.last.push(line.slice(0, MAX_TAIL_LINE_CHARS));
    this.last.splice(0, Math.max(0, this.last.length - MAX_TAIL_LINES));
  }
}
