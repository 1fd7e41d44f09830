import { countFields, fieldsOf } from "./fields.js";
import { JOURNAL, MAP_WORD, SLOT, slotWord } from "./layout.js";
import { replaceFields } from "./map.js";

/**
 * Moving leases from one slot to another changes two words, the map and the giver's `moved`, and the process that does
 * it may be killed in between. So it writes down first what it is about to do; whoever takes the file lock next finishes
 * the books. Everything here runs under the file lock.
 */
export interface Adoption {
  readonly words: Int32Array;
  readonly from: number;
  readonly to: number;
}

/**
 * Moves the chosen fields of one map word that the giver still holds. The taker must be charged with them before: a sum
 * that sees them leave the giver must see them with the taker (accounting.ts).
 * @returns the mask of those that moved.
 */
export function adoptFields({ words, from, to }: Adoption, mapWord: number, chosen: number): number {
  const movedAt = slotWord(from) + SLOT.moved;
  const before = Atomics.load(words, movedAt);
  const intended = fieldsOf(Atomics.load(words, MAP_WORD + mapWord), from + 1) & chosen;
  if (intended === 0) return 0;
  Atomics.store(words, JOURNAL.to, to);
  Atomics.store(words, JOURNAL.from, from);
  Atomics.store(words, JOURNAL.mapWord, mapWord);
  Atomics.store(words, JOURNAL.fields, intended);
  Atomics.store(words, JOURNAL.movedBefore, before);
  Atomics.store(words, JOURNAL.valid, 1);
  // The giver may free some meanwhile: fewer change then, and only those that did hold the taker afterwards.
  const moved = replaceFields(words, MAP_WORD + mapWord, intended, from + 1, to + 1);
  Atomics.store(words, movedAt, (before + countFields(moved)) | 0);
  Atomics.store(words, JOURNAL.valid, 0);
  return moved;
}

/**
 * Finishes what a killed process had begun under the file lock. The taker is dead, so the fields that it meant to move
 * and that hold it now are those that it moved: none or all that the giver had not freed. May itself be cut short and
 * done again.
 */
export function recoverAdoption(words: Int32Array): void {
  if (Atomics.load(words, JOURNAL.valid) === 0) return;
  const map = Atomics.load(words, MAP_WORD + Atomics.load(words, JOURNAL.mapWord));
  const moved = fieldsOf(map, Atomics.load(words, JOURNAL.to) + 1) & Atomics.load(words, JOURNAL.fields);
  const movedAt = slotWord(Atomics.load(words, JOURNAL.from)) + SLOT.moved;
  Atomics.store(words, movedAt, (Atomics.load(words, JOURNAL.movedBefore) + countFields(moved)) | 0);
  Atomics.store(words, JOURNAL.valid, 0);
}
