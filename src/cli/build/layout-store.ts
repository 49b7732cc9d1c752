import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode } from "../../base/errors.ts";

/** The blobs of an OCI layout on this machine, for `oci-layout://` contexts and caches of type local. */
export class LayoutStore {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** Makes an empty layout where there is none. */
  prepare(): this {
    mkdirSync(join(this.#root, "blobs", "sha256"), { recursive: true });
    mkdirSync(join(this.#root, "ingest"), { recursive: true });
    writeFileSync(join(this.#root, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    return this;
  }

  size(digest: string): number {
    try {
      return statSync(this.#path(digest)).size;
    } catch (error) {
      if (hasCode(error, "ENOENT")) throw new GantryError("not-found", `content ${digest}: not found`);
      throw error;
    }
  }

  read(digest: string, offset: number, size: number): AsyncIterable<Uint8Array> {
    const end = size === 0 ? undefined : offset + size - 1;
    return createReadStream(this.#path(digest), {
      start: offset,
      ...(end !== undefined && { end }),
      highWaterMark: 1 << 20,
    });
  }

  /** A blob to be written piece by piece; nothing is seen of it before it is whole and its digest is right. */
  ingest(expected: string): Ingest {
    return new Ingest(join(this.#root, "ingest"), expected, this.#path(expected));
  }

  #path(digest: string): string {
    const [, algorithm, hex] = /^(sha256):([a-f0-9]{64})$/.exec(digest) ?? [];
    if (hex === undefined) throw new GantryError("invalid", `invalid digest ${JSON.stringify(digest.slice(0, 100))}`);
    return join(this.#root, "blobs", algorithm!, hex);
  }
}

let counter = 0;

export class Ingest {
  readonly #aside: string;
  readonly #expected: string;
  readonly #target: string;
  readonly #hash = createHash("sha256");
  readonly #stream: ReturnType<typeof createWriteStream>;
  #failure: Error | undefined;
  #offset = 0;

  constructor(folder: string, expected: string, target: string) {
    this.#aside = join(folder, `${process.pid}-${++counter}`);
    this.#expected = expected;
    this.#target = target;
    this.#stream = createWriteStream(this.#aside, { flags: "wx" });
    this.#stream.on("error", (error) => {
      this.#failure = error;
    });
  }

  get offset(): number {
    return this.#offset;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#hash.update(bytes);
    this.#offset += bytes.length;
    if (!this.#stream.write(bytes)) await new Promise<void>((resolve) => this.#stream.once("drain", resolve));
  }

  async commit(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#stream.once("error", reject);
      this.#stream.end(resolve);
    });
    const digest = `sha256:${this.#hash.digest("hex")}`;
    if (digest !== this.#expected) {
      this.abort();
      throw new GantryError("invalid", `unexpected commit digest ${digest}, expected ${this.#expected}`);
    }
    renameSync(this.#aside, this.#target);
  }

  abort(): void {
    this.#stream.destroy();
    rmSync(this.#aside, { force: true });
  }
}
