import { GantryError } from "../../base/errors.ts";
import { isDigest } from "../../oci/digest-format.ts";

/** A piece of a file, compressed on its own at [offset, end) of the blob, and there `inner` bytes in. */
export interface Chunk {
  /** Where in the file, and how long. */
  readonly at: number;
  readonly size: number;
  readonly offset: number;
  readonly end: number;
  readonly inner: number;
  readonly digest: string;
  /** Nothing but zeros: there is nothing in the blob. */
  readonly isZeros: boolean;
}

export interface FileNode {
  readonly ino: number;
  /** Type and permissions. */
  mode: number;
  uid: number;
  gid: number;
  size: number;
  seconds: number;
  nanoseconds: number;
  /** As Linux's userspace has it. */
  device: number;
  links: number;
  target: string;
  readonly xattrs: Map<string, Buffer>;
  readonly children: Map<string, FileNode> | undefined;
  readonly parent: FileNode | undefined;
  chunks: readonly Chunk[];
}

export interface FileTree {
  /** By their number less one: the root is the first. */
  readonly nodes: readonly FileNode[];
  readonly root: FileNode;
  readonly hasRoot: boolean;
  /** Bytes of all files. */
  readonly size: number;
  /** The end of what is to be fetched ahead; 0 for nothing. */
  readonly landmark: number;
}

export const TYPE = {
  mask: 0o170000,
  reg: 0o100000,
  dir: 0o040000,
  symlink: 0o120000,
  char: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
} as const;

const MOST_ENTRIES = 500_000;
const MOST_CHUNKS = 2_000_000;
const MAX_CHUNK = 16 << 20;
/** As ext4 says it of a short one. */
const FOLDER_SIZE = 4096;
const MAX_NAME = 255;
const MAX_PATH = 4095;
const MAX_XATTR = 64 << 10;
const OPAQUE = "trusted.overlay.opaque";
const LANDMARK = ".prefetch.landmark";

interface RawEntry {
  readonly name?: unknown;
  readonly type?: unknown;
  readonly [key: string]: unknown;
}

interface RawChunk {
  readonly at: number;
  readonly size: number;
  readonly offset: number;
  readonly inner: number;
  readonly digest: string;
  readonly isZeros: boolean;
}

/**
 * Reads a table of contents whose digest was verified, which says who wrote it and not that he means well. `end` is
 * where the files' bytes end in the blob. Whatever is odd is refused with `unsupported`: the ordinary pull has the last
 * word on such layers.
 */
export function readTree(json: Uint8Array, end: number): FileTree {
  return new TreeReader(end).read(entriesOf(json));
}

function entriesOf(json: Uint8Array): readonly RawEntry[] {
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString("utf8"));
  } catch {
    throw bad("it is no JSON");
  }
  const { entries, version } = (document ?? {}) as { readonly entries?: unknown; readonly version?: unknown };
  if (version !== 1) throw bad("its version is not 1");
  if (!Array.isArray(entries)) throw bad("it has no entries");
  if (entries.length > MOST_ENTRIES) throw bad(`it has more than ${MOST_ENTRIES} entries`);
  for (const entry of entries) if (typeof entry !== "object" || entry === null) throw bad("an entry is no object");
  return entries as RawEntry[];
}

class TreeReader {
  readonly #end: number;
  readonly #nodes: FileNode[] = [];
  readonly #root: FileNode;
  readonly #offsets: number[] = [];
  readonly #chunks = new Map<FileNode, RawChunk[]>();
  readonly #told = new Set<FileNode>();
  #count = 0;
  #size = 0;
  #landmark = 0;

  constructor(end: number) {
    this.#end = end;
    this.#root = this.#make(TYPE.dir, undefined);
  }

  read(entries: readonly RawEntry[]): FileTree {
    let last: { readonly name: string; readonly node: FileNode } | undefined;
    for (const entry of entries) {
      const name = text(entry.name, "a name", MAX_PATH);
      if (entry.type === "chunk") {
        if (last?.name !== name) throw bad(`a piece of ${shown(name)} does not follow its file`);
        this.#addChunk(last.node, entry, name);
        continue;
      }
      const node = this.#add(entry, name);
      last = node === undefined ? undefined : { name, node };
    }
    this.#settleChunks();
    return {
      nodes: this.#nodes,
      root: this.#root,
      hasRoot: this.#told.has(this.#root),
      size: this.#size,
      landmark: this.#landmark,
    };
  }

  /** The node that pieces may follow; undefined for what is no file of the layer. */
  #add(entry: RawEntry, name: string): FileNode | undefined {
    const parts = partsOf(name);
    const base = parts.pop();
    if (base === undefined) {
      if (entry.type !== "dir") throw bad("its root is no folder");
      this.#describe(this.#root, entry, TYPE.dir, name);
      return undefined;
    }
    if (parts.length === 0 && base === LANDMARK) this.#landmark = number(entry.offset, "an offset", this.#end);
    const folder = this.#folder(parts, name);
    if (base === ".wh..wh..opq") {
      folder.xattrs.set(OPAQUE, Buffer.from("y"));
      return undefined;
    }
    if (base.startsWith(".wh.")) {
      const gone = base.slice(4);
      if (gone === "" || gone === "." || gone === ".." || gone.startsWith(".wh."))
        throw bad(`${shown(name)} deletes nothing`);
      // overlayfs's mark of a deletion: a character device 0:0.
      this.#place(folder, gone, this.#make(TYPE.char, folder), name);
      return undefined;
    }
    if (entry.type === "hardlink") {
      this.#link(folder, base, entry, name);
      return undefined;
    }
    const type = typeof entry.type === "string" && Object.hasOwn(TYPE, entry.type) ? entry.type : "";
    if (type === "" || type === "mask") throw bad(`${shown(name)} is of no type that a layer has`);
    const kind = TYPE[type as keyof typeof TYPE];
    const known = folder.children!.get(base);
    if (known?.children !== undefined && kind === TYPE.dir && !this.#told.has(known)) {
      this.#describe(known, entry, kind, name);
      return undefined;
    }
    const node = this.#make(kind, folder);
    this.#place(folder, base, node, name);
    this.#describe(node, entry, kind, name);
    if (kind === TYPE.reg && node.size > 0) this.#addChunk(node, entry, name);
    return node;
  }

  #make(type: number, parent: FileNode | undefined): FileNode {
    const isFolder = type === TYPE.dir;
    const node: FileNode = {
      ino: this.#nodes.length + 1,
      mode: isFolder ? type | 0o755 : type,
      uid: 0,
      gid: 0,
      size: isFolder ? FOLDER_SIZE : 0,
      seconds: 0,
      nanoseconds: 0,
      device: 0,
      links: isFolder ? 2 : 1,
      target: "",
      xattrs: new Map(),
      children: isFolder ? new Map() : undefined,
      parent,
      chunks: [],
    };
    this.#nodes.push(node);
    return node;
  }

  /** Folders that no entry tells of are there nevertheless, as in an archive. */
  #folder(parts: readonly string[], name: string): FileNode {
    let here = this.#root;
    for (const part of parts) {
      let next = here.children!.get(part);
      if (next === undefined) {
        next = this.#make(TYPE.dir, here);
        here.children!.set(part, next);
        if (this.#nodes.length > MOST_ENTRIES) throw bad(`it has more than ${MOST_ENTRIES} files`);
      }
      if (next.children === undefined) throw bad(`${shown(name)} lies in what is no folder`);
      here = next;
    }
    return here;
  }

  #place(folder: FileNode, base: string, node: FileNode, name: string): void {
    if (folder.children!.has(base)) throw bad(`${shown(name)} is there twice`);
    folder.children!.set(base, node);
  }

  #link(folder: FileNode, base: string, entry: RawEntry, name: string): void {
    let node: FileNode | undefined = this.#root;
    for (const part of partsOf(text(entry.linkName, "a link's target", MAX_PATH))) node = node?.children?.get(part);
    const type = (node?.mode ?? 0) & TYPE.mask;
    if (node === undefined || type === TYPE.dir || (type === TYPE.char && node.device === 0)) {
      throw bad(`${shown(name)} is a link to nothing that could be linked`);
    }
    this.#place(folder, base, node, name);
    node.links++;
  }

  #describe(node: FileNode, entry: RawEntry, type: number, name: string): void {
    this.#told.add(node);
    const mode = number(entry.mode, "a mode", 0o177777) & 0o7777;
    // Linux knows no other of links.
    node.mode = type | (type === TYPE.symlink ? 0o777 : mode);
    node.uid = number(entry.uid, "an owner", 2 ** 32 - 2);
    node.gid = number(entry.gid, "a group", 2 ** 32 - 2);
    [node.seconds, node.nanoseconds] = timeOf(entry.modtime);
    if (type === TYPE.reg) {
      node.size = number(entry.size, "a size", Number.MAX_SAFE_INTEGER);
      this.#size += node.size;
      if (this.#size > Number.MAX_SAFE_INTEGER) throw bad("its files are too long");
    }
    if (type === TYPE.symlink) {
      node.target = text(entry.linkName, "a link's target", MAX_PATH);
      if (node.target === "") throw bad(`${shown(name)} is a link to nothing`);
      node.size = Buffer.byteLength(node.target);
    }
    if (type === TYPE.char || type === TYPE.block) {
      const major = number(entry.devMajor, "a device", 0xfff);
      const minor = number(entry.devMinor, "a device", 0xfffff);
      if (major === 0 && minor === 0) throw bad(`${shown(name)} is overlayfs's own mark`);
      node.device = ((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0;
    }
    if (entry.xattrs == null) return;
    if (typeof entry.xattrs !== "object") throw bad(`the attributes of ${shown(name)} are none`);
    for (const [key, value] of Object.entries(entry.xattrs)) {
      if (
        /^(trusted|user)\.overlay\./.test(key) ||
        key === "" ||
        key.includes("\0") ||
        Buffer.byteLength(key) > MAX_NAME
      ) {
        throw bad(`${shown(name)} has an attribute that a layer can't have`);
      }
      if (typeof value !== "string" || value.length > MAX_XATTR)
        throw bad(`an attribute of ${shown(name)} is too long`);
      node.xattrs.set(key, Buffer.from(value, "base64"));
    }
  }

  #addChunk(node: FileNode, entry: RawEntry, name: string): void {
    if ((node.mode & TYPE.mask) !== TYPE.reg) throw bad(`${shown(name)} is no file and has pieces`);
    if (++this.#count > MOST_CHUNKS) throw bad(`it has more than ${MOST_CHUNKS} pieces`);
    const at = number(entry.chunkOffset, "a piece's place", node.size);
    const size = number(entry.chunkSize, "a piece's size", node.size) || node.size - at;
    const isZeros = entry.chunkType === "zeros";
    const offset = number(entry.offset, "an offset", this.#end);
    const inner = number(entry.innerOffset, "an offset", MAX_CHUNK);
    const digest = entry.chunkDigest ?? (at === 0 && size === node.size ? entry.digest : undefined);
    if (!isZeros) {
      if (typeof digest !== "string" || !isDigest(digest) || !digest.startsWith("sha256:")) {
        throw bad(`a piece of ${shown(name)} has no digest`);
      }
      if (inner + size > MAX_CHUNK) throw bad(`a piece of ${shown(name)} is longer than ${MAX_CHUNK} bytes`);
      this.#offsets.push(offset);
    }
    if (entry.endOffset !== undefined) this.#offsets.push(number(entry.endOffset, "an offset", this.#end));
    const chunk = { at, size, offset, inner, digest: isZeros ? "" : (digest as string), isZeros };
    const chunks = this.#chunks.get(node);
    if (chunks === undefined) this.#chunks.set(node, [chunk]);
    else chunks.push(chunk);
  }

  /** What is compressed on its own ends where the next begins. */
  #settleChunks(): void {
    const offsets = Float64Array.from([...this.#offsets, this.#end]).sort();
    for (const node of this.#nodes) {
      if ((node.mode & TYPE.mask) !== TYPE.reg) continue;
      let at = 0;
      const chunks: Chunk[] = [];
      for (const chunk of this.#chunks.get(node) ?? []) {
        if (chunk.at !== at) throw bad("a file's pieces leave a gap");
        at += chunk.size;
        const end = chunk.isZeros ? chunk.offset : firstAbove(offsets, chunk.offset);
        if (!chunk.isZeros && (end === undefined || end - chunk.offset > MAX_CHUNK)) {
          throw bad("a piece lies where no files are, or is too long");
        }
        chunks.push({ ...chunk, end: end ?? chunk.offset });
      }
      if (at !== node.size) throw bad("a file's pieces are not as long as it is");
      node.chunks = chunks;
    }
    this.#chunks.clear();
  }
}

function firstAbove(sorted: Float64Array, value: number): number | undefined {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return sorted[low];
}

function partsOf(name: string): string[] {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  for (const part of parts) {
    if (part === "..") throw bad(`${shown(name)} is outside of the layer`);
    if (Buffer.byteLength(part) > MAX_NAME) throw bad(`${shown(name)} is too long`);
  }
  return parts;
}

/** A name whose bytes are no UTF-8 came with a replacement: what it really is only the archive knows. */
function text(value: unknown, what: string, limit: number): string {
  if (typeof value !== "string" || value.includes("\0") || value.includes("\ufffd") || !value.isWellFormed()) {
    throw bad(`${what} is none`);
  }
  if (Buffer.byteLength(value) > limit) throw bad(`${what} is too long`);
  return value;
}

function number(value: unknown, what: string, most: number): number {
  if (value === undefined || value === null) return 0;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= most) return value;
  throw bad(`${what} is ${JSON.stringify(value)?.slice(0, 40)}`);
}

function timeOf(value: unknown): [seconds: number, nanoseconds: number] {
  if (typeof value !== "string" || value === "") return [0, 0];
  const milliseconds = Date.parse(value);
  if (Number.isNaN(milliseconds)) throw bad("a time is none");
  const fraction = /\.(\d{1,9})/.exec(value)?.[1] ?? "";
  return [Math.floor(milliseconds / 1000), Number(fraction.padEnd(9, "0"))];
}

function shown(name: string): string {
  return JSON.stringify(name.slice(0, 80));
}

function bad(why: string): GantryError {
  return new GantryError("unsupported", `cannot use the layer's table of contents: ${why}`);
}
