/** The parts of a multiplexed stream: 0 and 1 are the output, 2 the errors, 3 what the engine itself has to say. */
export type StreamNumber = 0 | 1 | 2 | 3;

const HEADER = 8;

/**
 * Takes Docker's multiplexed stream apart: frames of a header (stream number, three zero bytes, big-endian length) and
 * a payload. Payloads are handed on as views of the chunks they came in, in pieces, without copying.
 */
export class Demultiplexer {
  readonly #emit: (stream: StreamNumber, data: Buffer) => void;
  readonly #header = Buffer.alloc(HEADER);
  #headerSize = 0;
  #stream: StreamNumber = 1;
  #left = 0;

  constructor(emit: (stream: StreamNumber, data: Buffer) => void) {
    this.#emit = emit;
  }

  /** Throws if the stream isn't one. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const end = Math.min(chunk.length, at + this.#left);
        this.#emit(this.#stream, at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
        this.#left -= end - at;
        at = end;
      } else if (this.#headerSize === 0 && chunk.length - at >= HEADER) {
        this.#begin(chunk, at);
        at += HEADER;
      } else {
        const taken = chunk.copy(this.#header, this.#headerSize, at, at + HEADER - this.#headerSize);
        this.#headerSize += taken;
        at += taken;
        if (this.#headerSize === HEADER) {
          this.#headerSize = 0;
          this.#begin(this.#header, 0);
        }
      }
    }
  }

  #begin(bytes: Buffer, at: number): void {
    const stream = bytes[at] ?? 255;
    if (stream > 3) throw new Error(`Unrecognized input header: ${stream}`);
    this.#stream = stream as StreamNumber;
    this.#left = bytes.readUInt32BE(at + 4);
  }
}
