import { GantryError } from "../../base/errors.ts";
import type { ImageSource } from "../../images/pull-manifest.ts";
import { Digester } from "../../oci/digest.ts";
import { isDigest, parseDigest } from "../../oci/digest-format.ts";
import type { Descriptor } from "../../oci/image.ts";
import { MAX_DOCUMENT } from "../../oci/image-config.ts";
import { readManifest } from "../../remote/document.ts";
import type { SessionContent } from "../session.ts";

/** Takes `name:tag@sha256:…` apart: which of the client's stores, and what of it. */
export function layoutReference(value: string): { readonly store: string; readonly digest: string } {
  const [, store = "", digest = ""] =
    /^(?:\/\/)?([^@]+?)(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@(.+)$/.exec(value) ?? [];
  if (store === "" || !isDigest(digest)) {
    throw new GantryError("invalid", `oci-layout reference "${value}" must have digest`);
  }
  return { store, digest };
}

/** Reads an image out of an OCI layout that a client has. */
export class LayoutSource implements ImageSource {
  readonly #content: SessionContent;
  readonly #signal: AbortSignal;

  constructor(content: SessionContent, signal: AbortSignal) {
    this.#content = content;
    this.#signal = signal;
  }

  async manifest(digest: string): ReturnType<ImageSource["manifest"]> {
    return readManifest(await this.#document(digest), "", digest);
  }

  async document({ digest, size }: Descriptor): Promise<Buffer> {
    const bytes = await this.#document(digest);
    if (bytes.length !== size) throw mismatch(digest);
    return bytes;
  }

  async *read({ digest }: Descriptor, offset: number): AsyncGenerator<Buffer> {
    let left = offset;
    for await (const piece of await this.#content.read(digest, this.#signal)) {
      const skipped = Math.min(left, piece.length);
      left -= skipped;
      if (skipped < piece.length) yield Buffer.from(piece.buffer, piece.byteOffset + skipped, piece.length - skipped);
    }
  }

  /** There is nowhere else to get it. */
  distrust(): boolean {
    return false;
  }

  async #document(digest: string): Promise<Buffer> {
    const digester = new Digester(parseDigest(digest).algorithm);
    const pieces: Uint8Array[] = [];
    for await (const piece of await this.#content.read(digest, this.#signal)) {
      digester.update(piece);
      if (digester.size > MAX_DOCUMENT) {
        throw new GantryError("invalid", `cannot read ${digest}: it is longer than ${MAX_DOCUMENT} bytes`);
      }
      pieces.push(piece);
    }
    if (digester.digest() !== digest) throw mismatch(digest);
    return Buffer.concat(pieces);
  }
}

function mismatch(digest: string): GantryError {
  return new GantryError("invalid", `cannot use ${digest} of the client's OCI layout: its content is not what it says`);
}
