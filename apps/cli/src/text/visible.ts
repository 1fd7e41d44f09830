import { CONTROL } from "@fulcrum/contracts/primitives.js";

/**
 * What a terminal obeys instead of showing it, but for line breaks and tabs: control characters (an escape sequence begins
 * with one), what turns the direction of text around, and the two separators that are line breaks to some.
 */
export const UNSAFE = new RegExp(CONTROL, "gu");

/** Others' text for a terminal: what it would obey is written as \uXXXX. */
export function visible(text: string): string {
  return text.replace(UNSAFE, escaped);
}

/** As `visible`, on one line: text that cannot pretend to be the next one. */
export function oneLine(text: string): string {
  return visible(text.replace(/\s*[\r\n\u2028\u2029]+\s*/g, " "));
}

export function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
