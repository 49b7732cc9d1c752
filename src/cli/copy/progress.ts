import { humanSize } from "../../base/units.ts";
import { complain, writeAll } from "../output/print.ts";

const EVERY_MS = 75;

/** A line on standard error that counts the bytes of a copy; quiet, it counts alone. */
export class CopyProgress {
  readonly #header: string;
  readonly #quiet: boolean;
  #bytes = 0;
  #drawn = Date.now();

  constructor(header: string, quiet: boolean) {
    this.#header = header;
    this.#quiet = quiet;
    if (!quiet) writeAll(2, "Preparing to copy...");
  }

  async *count(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      yield piece;
      this.#bytes += piece.length;
      if (this.#quiet || Date.now() - this.#drawn < EVERY_MS) continue;
      this.#drawn = Date.now();
      writeAll(2, `\r\x1b[2K${this.#header}${humanSize(this.#bytes, 3)}`);
    }
  }

  /** Takes the line away; tells of a copy that went well how much it was. */
  end(destination: string | undefined): void {
    if (this.#quiet) return;
    writeAll(2, "\r\x1b[2K");
    if (destination !== undefined) complain(`Successfully copied ${humanSize(this.#bytes, 3)} to ${destination}`);
  }
}
