import { posix } from "node:path";
import { Readable } from "node:stream";
import { cancelOnAbort } from "../base/abort.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { decompress } from "../oci/compression.ts";
import { sha256Of } from "../oci/digest.ts";
import type { Descriptor, ImageConfig } from "../oci/image.ts";
import { MAX_DOCUMENT } from "../oci/image-config.ts";
import type { Reference } from "../oci/reference.ts";
import { readBody, readTar, type TarMember } from "../oci/tar/reader.ts";
import type { ClaimScope } from "./claims.ts";
import type { ImageContext } from "./ports.ts";

/** Small members stay in memory up to this many bytes each, and altogether; the others go to the content store. */
const SMALL = 1 << 20;
const ALL_SMALL = 32 << 20;
const MAX_MEMBERS = 100_000;
const MAX_LINKS = 16;

interface StoredFile {
  readonly digest: string;
  readonly size: number;
  /** Undefined for a blob of the content store. */
  readonly bytes?: Buffer;
}

/** An image of an archive, read and not yet loaded. */
export interface ArchivedImage {
  readonly configBytes: Uint8Array;
  readonly config: ImageConfig;
  /** Names of the layers' files in the archive, bottom first: as many as the config has diff ids. */
  readonly layers: readonly { readonly file: string; readonly descriptor?: Descriptor }[];
  readonly manifestBytes?: Uint8Array;
  readonly names: readonly Reference[];
}

/**
 * The members of an archive of images, whatever their order was: read once from the stream, links between them
 * resolved by their names alone. Large files are blobs of the content store already.
 */
export class ImageArchive {
  readonly #context: ImageContext;
  readonly #files = new Map<string, StoredFile>();
  readonly #links = new Map<string, string>();
  #inMemory = 0;

  private constructor(context: ImageContext) {
    this.#context = context;
  }

  /** Reads an archive, compressed or not, to its end. Rejects with one sentence if it is broken. */
  static async read(
    context: ImageContext,
    scope: ClaimScope,
    source: Readable,
    signal?: AbortSignal,
  ): Promise<ImageArchive> {
    const archive = new ImageArchive(context);
    using _source = cancelOnAbort(signal, source);
    const { stream } = await decompress(source);
    using _stream = cancelOnAbort(signal, stream);
    try {
      for await (const member of readTar(stream)) await archive.#keep(member, scope, signal);
    } catch (error) {
      if (error instanceof GantryError && error.kind === "invalid") {
        throw new GantryError("invalid", `cannot read the archive: ${messageOf(error)}`, { cause: error });
      }
      throw error;
    } finally {
      stream.destroy();
    }
    return archive;
  }

  has(name: string): boolean {
    return this.#find(name) !== undefined;
  }

  /** Names of the folders at the top that hold a file of this name. */
  foldersWith(file: string): string[] {
    const ends = [...this.#files.keys()].filter((name) => name.endsWith(`/${file}`));
    return ends.map((name) => posix.dirname(name)).filter((folder) => !folder.includes("/"));
  }

  /** A document; `invalid` if it is missing or larger than documents are. */
  async document(name: string): Promise<Buffer> {
    const file = this.#get(name);
    return file.bytes ?? (await this.#context.content.readBlob(file.digest, MAX_DOCUMENT));
  }

  /** A file's digest and size. */
  stat(name: string): { readonly digest: string; readonly size: number } {
    return this.#get(name);
  }

  /** A file from its beginning; may be opened more than once. */
  open(name: string): Readable {
    const file = this.#get(name);
    return file.bytes === undefined ? this.#context.content.open(file.digest) : Readable.from([file.bytes]);
  }

  /** Makes sure that the file is a blob of the content store. */
  async store(name: string, scope: ClaimScope): Promise<void> {
    const file = this.#get(name);
    if (file.bytes === undefined) return;
    await this.#context.content.writeBytes(file.bytes, { digest: file.digest });
    scope.noteBlob(file.digest);
  }

  #get(name: string): StoredFile {
    const file = this.#find(name);
    if (file === undefined) throw new GantryError("invalid", `cannot read the archive: it has no file ${name}`);
    return file;
  }

  #find(name: string): StoredFile | undefined {
    let path = inside(name);
    for (let hops = 0; hops < MAX_LINKS; hops++) {
      const target = this.#links.get(path);
      if (target === undefined) return this.#files.get(path);
      path = target;
    }
    throw new GantryError("invalid", `cannot read the archive: ${name} is a link without an end`);
  }

  async #keep(member: TarMember, scope: ClaimScope, signal: AbortSignal | undefined): Promise<void> {
    const { entry } = member;
    const path = inside(entry.name);
    if (this.#files.size + this.#links.size >= MAX_MEMBERS) {
      throw new GantryError("invalid", `it has more than ${MAX_MEMBERS} members`);
    }
    this.#files.delete(path);
    this.#links.delete(path);
    if (entry.type === "symlink") this.#links.set(path, inside(posix.join("/", posix.dirname(path), entry.linkName)));
    else if (entry.type === "hardlink") this.#links.set(path, inside(entry.linkName));
    else if (entry.type === "file") this.#files.set(path, await this.#keepFile(path, member, scope, signal));
  }

  async #keepFile(
    path: string,
    member: TarMember,
    scope: ClaimScope,
    signal: AbortSignal | undefined,
  ): Promise<StoredFile> {
    const { size } = member.entry;
    if (size <= SMALL && this.#inMemory + size <= ALL_SMALL) {
      this.#inMemory += size;
      const bytes = await readBody(member, SMALL);
      return { digest: sha256Of(bytes), size, bytes };
    }
    const named = /^blobs\/sha256\/([a-f0-9]{64})$/.exec(path)?.[1];
    const blob = await this.#context.content.write(member.body, {
      ...(named !== undefined && { digest: `sha256:${named}` }),
      ...(signal !== undefined && { signal }),
      size,
    });
    scope.noteBlob(blob.digest);
    return blob;
  }
}

/** A member's name without what leads out of the archive. */
function inside(name: string): string {
  return posix.resolve("/", name).slice(1);
}
