import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import { sha256Of } from "../../oci/digest.ts";
import { parseNormalized, setDefaultDomain } from "../../oci/reference.ts";
import type { Registries } from "../../remote/registry.ts";
import { type TocClaim, tocClaim } from "../claim.ts";
import type { LayerOrder } from "../protocol.ts";
import { BlobCache } from "./blob-cache.ts";
import type { ChunkCache } from "./chunk-cache.ts";
import { inflate } from "./inflate.ts";
import { checked, fetchToc, type Toc, tocJson } from "./toc.ts";
import { type Chunk, type FileNode, type FileTree, readTree, TYPE } from "./tree.ts";

/** Longest wait of a reader for the network. */
const LIMIT_MS = 30_000;
/** What is fetched of /etc before a layer counts as there: the engine reads users and groups. */
const MOST_SETTINGS = 4 << 20;
const LONGEST_SETTING = 256 << 10;
/** Layers that are fetched whole at once: it costs one request. */
const SMALL_LAYER = 256 << 10;
const MOST_AHEAD = 64 << 20;
const AHEAD_STEP = 4 << 20;
const MOST_HOPS = 8;
const MOST_LOADS = 16;

export interface LayerPorts {
  readonly registries: Registries;
  readonly chunks: ChunkCache;
  /** Something had to be fetched. */
  readonly onFetch: () => void;
  readonly onFailure: (message: string) => void;
}

/** One layer's files, by its table of contents and by ranges of its blob. */
export class Layer {
  readonly order: LayerOrder;
  readonly tree: FileTree;
  readonly #claim: TocClaim;
  readonly #blob: BlobCache;
  readonly #ports: LayerPorts;
  readonly #queue: (() => void)[] = [];
  #busy = 0;
  #isClosed = false;

  private constructor(order: LayerOrder, claim: TocClaim, tree: FileTree, blob: BlobCache, ports: LayerPorts) {
    this.order = order;
    this.tree = tree;
    this.#claim = claim;
    this.#blob = blob;
    this.#ports = ports;
  }

  /**
   * Reads the table of contents, from the disk if it is there, and checks it; fetches what must be there at a start.
   * `unsupported` for a layer that can't be served, and for a registry that knows no ranges.
   */
  static async open(order: LayerOrder, ports: LayerPorts, options: { readonly isAgain: boolean }): Promise<Layer> {
    const claim = tocClaim(order.blob);
    if (claim === undefined) throw new GantryError("unsupported", "the layer has no table of contents");
    mkdirSync(order.folder, { recursive: true, mode: 0o700 });
    setDefaultDomain(order.defaultDomain);
    const { size } = order.blob;
    const blob = new BlobCache({
      size,
      path: join(order.folder, "cache"),
      wholePath: order.blobPath,
      growingPath: order.partialPath,
      limitMs: Math.min(LIMIT_MS, order.settings.silence),
      fetch: (from, to, signal) => fetchRange(ports.registries, order, from, to, signal),
      onFetch: ports.onFetch,
    });
    try {
      const toc = await findToc(order, claim, blob);
      const tree = readTree(await tocJson(claim, toc), toc.end);
      const layer = new Layer(order, claim, tree, blob, ports);
      if (!options.isAgain) await layer.#fetchFirst();
      layer.#fetchAhead();
      return layer;
    } catch (error) {
      blob.close();
      throw error;
    }
  }

  /** Bytes of a file, verified. With `local` they are not waited for where they would have to be fetched. */
  async read(node: FileNode, offset: number, size: number, options: { readonly local: boolean }): Promise<Buffer> {
    const end = Math.min(node.size, offset + size);
    if (offset >= end) return Buffer.alloc(0);
    const parts: Buffer[] = [];
    const { chunks } = node;
    for (let index = chunkAt(chunks, offset); index < chunks.length; index++) {
      const chunk = chunks[index]!;
      if (chunk.at >= end) break;
      const from = Math.max(0, offset - chunk.at);
      const to = Math.min(chunk.size, end - chunk.at);
      parts.push(chunk.isZeros ? Buffer.alloc(to - from) : (await this.#chunk(chunk, options)).subarray(from, to));
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  close(): void {
    this.#isClosed = true;
    this.#ports.chunks.forget(this);
    this.#blob.close();
  }

  #chunk(chunk: Chunk, options: { readonly local: boolean }): Promise<Buffer> {
    return this.#ports.chunks.get(this, chunk, options.local, () =>
      options.local ? this.#load(chunk, options) : this.#inTurn(() => this.#load(chunk, options)),
    );
  }

  /** So many pieces at a time: each is in memory as a whole. */
  async #inTurn<T>(act: () => Promise<T>): Promise<T> {
    while (this.#busy >= MOST_LOADS) await new Promise<void>((resolve) => this.#queue.push(resolve));
    this.#busy++;
    try {
      return await act();
    } finally {
      this.#busy--;
      this.#queue.shift()?.();
    }
  }

  async #load(chunk: Chunk, options: { readonly local: boolean }): Promise<Buffer> {
    const bytes = await this.#unpack(chunk, options);
    if (bytes !== undefined) return bytes;
    // What is on the disk was cut short by a crash, or isn't this blob: once from the registry.
    this.#blob.forget(chunk.offset, chunk.end);
    const again = await this.#unpack(chunk, options);
    if (again !== undefined) return again;
    this.#blob.forget(chunk.offset, chunk.end);
    throw new GantryError("invalid", "what the registry sent is not what the layer's table of contents says");
  }

  /** Undefined for other bytes than the digest says. */
  async #unpack(chunk: Chunk, options: { readonly local: boolean }): Promise<Buffer | undefined> {
    const packed = await this.#blob.read(chunk.offset, chunk.end, options);
    const packing = this.#claim.form === "estargz" ? "gzip" : "zstd";
    const plain = await inflate(packed, packing, chunk.inner + chunk.size).catch(() => undefined);
    const bytes = plain?.subarray(chunk.inner);
    return bytes !== undefined && sha256Of(bytes) === chunk.digest ? bytes : undefined;
  }

  /** What must not be waited for later: small layers whole, of others what the engine reads at a start. */
  async #fetchFirst(): Promise<void> {
    const { size: whole } = this.order.blob;
    if (whole <= SMALL_LAYER) {
      await this.#blob.read(0, whole);
      return;
    }
    const wanted: FileNode[] = [];
    let sum = 0;
    for (const node of settingsOf(this.tree)) {
      sum += node.size;
      if (node.size > LONGEST_SETTING || sum > MOST_SETTINGS) break;
      wanted.push(node);
    }
    await Promise.all(wanted.map((node) => this.read(node, 0, node.size, { local: false })));
  }

  /** What the image's maker says that a start needs, while it starts. */
  #fetchAhead(): void {
    const end = Math.min(this.tree.landmark, MOST_AHEAD);
    const run = async (): Promise<void> => {
      for (let at = 0; at < end && !this.#isClosed; at += AHEAD_STEP) {
        await this.#blob.read(at, Math.min(end, at + AHEAD_STEP));
      }
    };
    run().catch((error: unknown) => {
      if (!this.#isClosed) this.#ports.onFailure(`cannot fetch ahead: ${messageOf(error)}`);
    });
  }
}

async function findToc(order: LayerOrder, claim: TocClaim, blob: BlobCache): Promise<Toc> {
  const path = join(order.folder, "toc");
  try {
    const file = readFileSync(path);
    return checked(claim, { bytes: file.subarray(8), end: Number(file.readBigUInt64LE(0)) });
  } catch (error) {
    if (!hasCode(error, "ENOENT", "ERR_OUT_OF_RANGE") && !(error instanceof GantryError)) throw error;
  }
  const toc = await fetchToc(claim, order.blob.size, (from, to) => blob.read(from, to));
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(toc.end));
  writeFileAtomic(path, Buffer.concat([head, toc.bytes]), { mode: 0o600, durable: false });
  return toc;
}

async function* fetchRange(
  registries: Registries,
  { blob, credentials, reference }: LayerOrder,
  from: number,
  to: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const repository = await registries.reading(parseNormalized(reference), credentials, async (one) => one);
  yield* repository.range(blob, from, to, { signal });
}

/** The files of /etc, and those that links there mean: all that the engine itself reads is among them. */
function settingsOf({ root }: FileTree): FileNode[] {
  const found = new Set<FileNode>();
  const etc = root.children?.get("etc");
  const gather = (folder: FileNode, depth: number): void => {
    for (const child of folder.children?.values() ?? []) {
      if (child.children !== undefined && depth < 3) gather(child, depth + 1);
      const file = depth === 0 ? resolve(root, child) : child;
      if (file !== undefined && (file.mode & TYPE.mask) === TYPE.reg) found.add(file);
    }
  };
  if (etc !== undefined) gather(etc, 0);
  return [...found].sort((one, other) => one.size - other.size);
}

/** What a link in this layer means, as far as it is in this layer. */
function resolve(root: FileNode, node: FileNode): FileNode | undefined {
  let here: FileNode | undefined = node;
  for (let hop = 0; here !== undefined && (here.mode & TYPE.mask) === TYPE.symlink; hop++) {
    if (hop === MOST_HOPS) return undefined;
    let at: FileNode | undefined = here.target.startsWith("/") ? root : here.parent;
    for (const part of here.target.split("/")) {
      if (part === "" || part === ".") continue;
      at = part === ".." ? (at?.parent ?? root) : at?.children?.get(part);
    }
    here = at;
  }
  return here;
}

function chunkAt(chunks: readonly Chunk[], offset: number): number {
  let low = 0;
  let high = chunks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { at, size } = chunks[middle]!;
    if (at + size > offset) high = middle;
    else low = middle + 1;
  }
  return low;
}
