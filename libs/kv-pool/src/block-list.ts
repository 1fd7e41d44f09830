import { PoolError } from "./errors.js";
import { countFields, fieldsOf } from "./fields.js";
import { holderOf } from "./map.js";
import { MAP_WORD } from "./layout.js";

/**
 * A caller's list of blocks as map words and masks of fields, checked before anything is changed. Scratch memory of one
 * owner, used again by each call: neighbours of one word, as allocate hands them out, cost one look and one change.
 */
export class BlockList {
  /** Runs [0..runs) of `mapWord` and `fields`; a word may come in several runs, with other fields each. */
  runs = 0;
  readonly mapWord: Int32Array;
  readonly fields: Int32Array;
  /** Fields that the list named already, by map word; all 0 between calls. */
  private readonly named: Int32Array;

  constructor(
    private readonly words: Int32Array,
    private readonly blocks: number,
  ) {
    this.mapWord = new Int32Array(blocks);
    this.fields = new Int32Array(blocks);
    this.named = new Int32Array(words.length - MAP_WORD);
  }

  /**
   * Reads list[0..n).
   * @param id what every block's field must hold.
   * @throws PoolError block_out_of_range, repeated_block, double_free, foreign_block, naming the first such block.
   */
  read(list: Uint32Array, n: number, id: number): void {
    const { words, named, mapWord, fields } = this;
    let runs = 0;
    let fits = true;
    for (let i = 0; i < n && fits;) {
      // `| 0` keeps V8 from taking the numbers for doubles (20 ns a block); from 2^31 on they turn negative.
      let block = list[i]! | 0;
      const word = block >> 3;
      const begin = i;
      let run = 0;
      do {
        run |= 1 << ((block & 7) << 2);
        i += 1;
        if (i === n) break;
        block = list[i]! | 0;
      } while (block >> 3 === word);
      // Checked by the run and not by the block. The padding of the last word is nobody's: its fields hold 15.
      fits =
        word >= 0 &&
        word < named.length &&
        countFields(run) === i - begin &&
        (named[word]! & run) === 0 &&
        (fieldsOf(words[MAP_WORD + word]!, id) & run) === run;
      if (!fits) break;
      named[word]! |= run;
      mapWord[runs] = word;
      fields[runs] = run;
      runs += 1;
    }
    this.runs = runs;
    for (let run = 0; run < runs; run += 1) named[mapWord[run]!] = 0;
    if (!fits) throw this.problem(list.subarray(0, n), id);
  }

  private problem(list: Uint32Array, id: number): PoolError {
    const seen = new Set<number>();
    for (const block of list) {
      if (block >= this.blocks)
        return new PoolError("block_out_of_range", `block ${block} is not below ${this.blocks}`);
      if (seen.has(block)) return new PoolError("repeated_block", `block ${block} is in the list twice`);
      seen.add(block);
      const holder = holderOf(this.words, block);
      if (holder === 0) return new PoolError("double_free", `block ${block} is free already`);
      if (holder !== id)
        return new PoolError(
          "foreign_block",
          `block ${block} is held by slot ${holder - 1}, not by slot ${id - 1}`,
        );
    }
    return new PoolError("foreign_block", "a block of the list changed hands meanwhile and back");
  }
}
