import { BLOCK, invalidHeader, MOST_SPECIAL, type Segment } from "./entry.ts";
import { number } from "./header.ts";
import { decimal } from "./pax.ts";

/** Makes segments of offsets and lengths in turn, refusing maps that don't describe `size` bytes of file. */
export function segmentsOf(numbers: readonly number[], size: number, stored: number): Segment[] {
  if (numbers.length % 2 !== 0) throw invalidHeader("sparse map");
  const segments: Segment[] = [];
  let end = 0;
  let sum = 0;
  for (let at = 0; at < numbers.length; at += 2) {
    const [offset = 0, length = 0] = [numbers[at], numbers[at + 1]];
    if (offset < end || offset + length > size) throw invalidHeader("sparse map");
    end = offset + length;
    sum += length;
    // Writers mark the end of a file that ends in a hole by a segment of no length.
    if (length > 0) segments.push({ offset, length });
  }
  if (sum !== stored) throw invalidHeader("sparse map");
  return segments;
}

/** GNU's old format: four pairs in the header itself, 21 in each block that follows while the last said so. */
export class OldSparseMap {
  readonly numbers: number[] = [];
  readonly size: number;
  more: boolean;
  #bytes = 0;

  constructor(header: Buffer, at: number) {
    this.size = number(header, at + 483, 12, "sparse size");
    this.more = this.#take(header, at + 386, 4, at + 482);
  }

  extend(block: Buffer, at: number): void {
    this.#bytes += BLOCK;
    if (this.#bytes > MOST_SPECIAL) throw invalidHeader("sparse map too long");
    this.more = this.#take(block, at, 21, at + 504);
  }

  #take(block: Buffer, at: number, pairs: number, flag: number): boolean {
    for (let pair = 0; pair < pairs; pair++) {
      const start = at + pair * 24;
      if (block[start] === 0) break;
      this.numbers.push(number(block, start, 12, "sparse map"), number(block, start + 12, 12, "sparse map"));
    }
    return block[flag] !== 0;
  }
}

/** PAX 1.0: decimal lines in front of the data, a count and then that many pairs, filled up to a whole block. */
export class PaxSparseMap {
  readonly numbers: number[] = [];
  bytes = 0;
  #expected: number | undefined;
  #line = "";

  /** True when the map is complete with this block. */
  extend(block: Buffer, at: number): boolean {
    this.bytes += BLOCK;
    if (this.bytes > MOST_SPECIAL) throw invalidHeader("sparse map too long");
    for (const char of block.toString("latin1", at, at + BLOCK)) {
      if (char !== "\n") {
        this.#line += char;
        if (this.#line.length > 20) throw invalidHeader("sparse map");
        continue;
      }
      const value = decimal(this.#line, "sparse map");
      this.#line = "";
      if (this.#expected === undefined) this.#expected = value * 2;
      else this.numbers.push(value);
      if (this.numbers.length === this.#expected) return true;
    }
    return false;
  }
}
