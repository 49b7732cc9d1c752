import { closeSync, constants, openSync } from "node:fs";
import { TarParser } from "../oci/tar/parser.ts";
import { Extractor } from "./extractor.ts";
import { namesIn, removeTreeSync } from "./remove-tree.ts";
import type { Extracted, WhiteoutKind } from "./snapshotter.ts";
import { WHITEOUTS } from "./whiteouts.ts";

/** Writes a layer's uncompressed tar into the folder of a draft. Synchronous: for a thread that may wait. */
export class LayerWriter implements Extracted {
  readonly #fd: number;
  readonly #extractor: Extractor;
  readonly #parser: TarParser;

  constructor(folder: string, whiteouts: WhiteoutKind) {
    this.#fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#extractor = new Extractor(this.#fd, WHITEOUTS[whiteouts]);
    this.#parser = new TarParser(this.#extractor);
  }

  get size(): number {
    return this.#extractor.size;
  }

  get hasRoot(): boolean {
    return this.#extractor.hasRoot;
  }

  /** Throws `invalid` for what is wrong with the archive. */
  write(bytes: Buffer): void {
    this.#parser.push(bytes);
  }

  finish(): void {
    this.#parser.finish();
    this.#extractor.finish();
  }

  /** Removes all that was written; nothing can be written any more. */
  empty(): void {
    this.#extractor.close();
    for (const name of namesIn(this.#fd)) removeTreeSync(this.#fd, name);
  }

  /** Call in any case. */
  close(): void {
    this.#extractor.close();
    closeSync(this.#fd);
  }
}
