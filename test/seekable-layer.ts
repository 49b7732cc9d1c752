import { gzipSync, zstdCompressSync } from "node:zlib";
import { sha256, type TarEntry, tarOf } from "./archive.ts";
import { contentOf, type TestLayer } from "./oci-image.ts";

/** A layer that can be read file by file, with the annotations that its row in a manifest has. */
export interface SeekableLayer extends TestLayer {
  readonly annotations: Readonly<Record<string, string>>;
}

export interface SeekableOptions {
  /** Longest piece of a file that is compressed on its own. */
  readonly chunkSize?: number;
  /** Changes the rows of the table of contents before it is written. */
  readonly editToc?: (rows: Record<string, unknown>[]) => unknown[];
  /** Of eStargz: how many entries, from the first on, are to be fetched ahead. */
  readonly prefetched?: number;
}

const CHUNK = 4 << 20;
const TAR_END = 1024;
const BLOCK = 512;
const LANDMARK = Buffer.of(0xf);
const SKIPPABLE = 0x184d2a50;
const TYPES = {
  file: "reg",
  hardlink: "hardlink",
  symlink: "symlink",
  character: "char",
  block: "block",
  directory: "dir",
  fifo: "fifo",
} as const;

/**
 * eStargz (stargz-snapshotter, docs/estargz.md): a gzip member for each chunk of a file, a table of contents as the last
 * file of the archive, and where that begins in the extra field of an empty member at the end.
 */
export function estargzLayerOf(entries: readonly TarEntry[], options: SeekableOptions = {}): SeekableLayer {
  const { prefetched = 0 } = options;
  const mark = { name: prefetched > 0 ? ".prefetch.landmark" : ".no.prefetch.landmark", body: LANDMARK, mode: 0o444 };
  const ordered = [...entries.slice(0, prefetched), mark, ...entries.slice(prefetched)];
  const packer = new Packer((bytes) => gzipSync(bytes));
  const rows = packRows(packer, ordered, { chunkSize: options.chunkSize ?? CHUNK, tellsEnds: false });
  const toc = Buffer.from(JSON.stringify({ version: 1, entries: edited(rows, options) }, undefined, "\t"));
  const tocOffset = packer.cut();
  packer.put(tarOf([{ name: "stargz.index.json", body: toc }]));
  packer.cut();
  const blob = Buffer.concat([packer.packed(), estargzFooter(tocOffset)]);
  const tar = packer.plain();
  return {
    ...contentOf("application/vnd.oci.image.layer.v1.tar+gzip", blob),
    tar,
    diffId: `sha256:${sha256(tar)}`,
    urls: undefined,
    annotations: {
      "containerd.io/snapshot/stargz/toc.digest": `sha256:${sha256(toc)}`,
      "io.containers.estargz.uncompressed-size": `${tar.length}`,
    },
  };
}

/**
 * zstd:chunked (containers/storage, pkg/chunked): a frame for each chunk of a file; behind the archive's frames two that
 * decoders skip, one with the compressed table of contents, one that says where that is.
 */
export function zstdChunkedLayerOf(entries: readonly TarEntry[], options: SeekableOptions = {}): SeekableLayer {
  const packer = new Packer((bytes) => zstdCompressSync(bytes));
  const rows = packRows(packer, entries, { chunkSize: options.chunkSize ?? CHUNK, tellsEnds: true });
  packer.put(Buffer.alloc(TAR_END));
  const frame = packer.cut();
  const toc = Buffer.from(JSON.stringify({ version: 1, entries: edited(rows, options) }));
  const packedToc = zstdCompressSync(toc);
  // From behind the header of the frame that it lies in.
  const position = [frame + 8, packedToc.length, toc.length, 1];
  const footer = Buffer.alloc(40);
  for (const [at, value] of position.entries()) footer.writeBigUInt64LE(BigInt(value), at * 8);
  footer.write("GNUlInUx", 32);
  const blob = Buffer.concat([packer.packed(), skippableFrame(packedToc), skippableFrame(footer)]);
  const tar = packer.plain();
  return {
    ...contentOf("application/vnd.oci.image.layer.v1.tar+zstd", blob),
    tar,
    diffId: `sha256:${sha256(tar)}`,
    urls: undefined,
    annotations: {
      "io.github.containers.zstd-chunked.manifest-position": position.join(":"),
      "io.github.containers.zstd-chunked.manifest-checksum": `sha256:${sha256(packedToc)}`,
    },
  };
}

function edited(rows: object[], { editToc = (all) => all }: SeekableOptions): unknown[] {
  return editToc(rows as Record<string, unknown>[]);
}

/** For `imageOf`: gives the manifest's rows of these layers their annotations. */
export function annotateLayers(layers: readonly TestLayer[]): (manifest: Record<string, unknown>) => unknown {
  const annotations = new Map(
    layers.flatMap((layer) => ("annotations" in layer ? [[layer.digest, layer.annotations]] : [])),
  );
  return (manifest) => ({
    ...manifest,
    layers: (manifest.layers as { readonly digest: string }[]).map((row) => ({
      ...row,
      ...(annotations.has(row.digest) && { annotations: annotations.get(row.digest) }),
    })),
  });
}

/** Bytes in pieces that are compressed on their own, one after the other. */
class Packer {
  readonly #compress: (bytes: Buffer) => Buffer;
  readonly #packed: Buffer[] = [];
  readonly #plain: Buffer[] = [];
  #piece: Buffer[] = [];
  #offset = 0;

  constructor(compress: (bytes: Buffer) => Buffer) {
    this.#compress = compress;
  }

  put(bytes: Buffer): void {
    this.#piece.push(bytes);
    this.#plain.push(bytes);
  }

  /** Ends a piece, if one has begun, and tells where the next begins. */
  cut(): number {
    const piece = Buffer.concat(this.#piece);
    this.#piece = [];
    if (piece.length > 0) {
      const packed = this.#compress(piece);
      this.#packed.push(packed);
      this.#offset += packed.length;
    }
    return this.#offset;
  }

  packed(): Buffer {
    return Buffer.concat(this.#packed);
  }

  plain(): Buffer {
    return Buffer.concat(this.#plain);
  }
}

/** Packs an archive without its end; the rows of its table of contents. */
function packRows(
  packer: Packer,
  entries: readonly TarEntry[],
  { chunkSize, tellsEnds }: { readonly chunkSize: number; readonly tellsEnds: boolean },
): object[] {
  return entries.flatMap((entry) => {
    const member = tarOf([entry]).subarray(0, -TAR_END);
    const size = Buffer.from(entry.body ?? "").length;
    // A pax header may come before the member's own.
    const head = member.length - Math.ceil(size / BLOCK) * BLOCK;
    packer.put(member.subarray(0, head));
    const body = member.subarray(head, head + size);
    const rows: Record<string, unknown>[] = [];
    for (let at = 0; at < size; at += chunkSize) {
      const chunk = body.subarray(at, at + chunkSize);
      const place = { offset: packer.cut(), chunkSize: chunk.length, chunkDigest: `sha256:${sha256(chunk)}` };
      packer.put(chunk);
      const isFirst = at === 0;
      rows.push(
        isFirst
          ? { ...rowOf(entry), size, digest: `sha256:${sha256(body)}`, ...place }
          : { name: entry.name, type: "chunk", chunkOffset: at, ...place },
      );
    }
    // The file's end, not its first chunk's.
    if (tellsEnds && rows[0] !== undefined) rows[0].endOffset = packer.cut();
    packer.put(member.subarray(head + size));
    return rows.length > 0 ? rows : [rowOf(entry)];
  });
}

function rowOf(entry: TarEntry): object {
  const type = entry.type ?? "file";
  const [devMajor, devMinor] = entry.device ?? [];
  return {
    name: entry.name,
    type: TYPES[type],
    modtime: new Date((entry.mtime ?? 1_700_000_000) * 1000).toISOString(),
    mode: entry.mode ?? (type === "directory" ? 0o755 : 0o644),
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    ...(entry.xattrs !== undefined && {
      xattrs: Object.fromEntries(
        Object.entries(entry.xattrs).map(([name, value]) => [name, Buffer.from(value).toString("base64")]),
      ),
    }),
    ...(entry.link !== undefined && { linkName: entry.link }),
    ...(devMajor !== undefined && { devMajor, devMinor }),
  };
}

/** An empty gzip member whose extra field "SG" says where the table of contents begins. */
function estargzFooter(tocOffset: number): Buffer {
  const text = Buffer.from(`${tocOffset.toString(16).padStart(16, "0")}STARGZ`);
  const head = Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, text.length + 4, 0, 0x53, 0x47, text.length, 0]);
  const nothing = Buffer.from([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, text, nothing]);
}

function skippableFrame(bytes: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(SKIPPABLE, 0);
  head.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([head, bytes]);
}
