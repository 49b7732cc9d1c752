import { GantryError } from "../../base/errors.ts";
import { sha256Of } from "../../oci/digest.ts";
import { MAX_PACKED_TOC, MAX_TOC, type TocClaim } from "../claim.ts";
import { inflate } from "./inflate.ts";

const FOOTER = 51;
const TOC_NAME = "stargz.index.json";
const TAR_BLOCK = 512;

/** A layer's table of contents as the annotation's digest means it, and where the files before it end in the blob. */
export interface Toc {
  /** What the digest is of: eStargz's JSON, or zstd:chunked's compressed table. */
  readonly bytes: Buffer;
  readonly end: number;
}

/** Finds the table of contents in a blob of which any part can be read. Throws `unsupported` for what isn't there. */
export async function fetchToc(
  claim: TocClaim,
  size: number,
  read: (from: number, to: number) => Promise<Buffer>,
): Promise<Toc> {
  if (claim.form === "zstd:chunked") {
    const bytes = await read(claim.offset, claim.offset + claim.length);
    return checked(claim, { bytes, end: claim.offset - 8 });
  }
  if (size < FOOTER) throw bad("the blob is too short");
  const footer = await read(size - FOOTER, size);
  const offset = estargzOffset(footer);
  if (offset === undefined || offset >= size - FOOTER || size - FOOTER - offset > MAX_PACKED_TOC) {
    throw bad("the blob doesn't end as eStargz does");
  }
  const packed = await read(offset, size - FOOTER);
  const head = await inflate(packed, "gzip", TAR_BLOCK).catch(() => undefined);
  const length = head === undefined ? Number.NaN : Number.parseInt(head.toString("latin1", 124, 135), 8);
  if (head?.toString("latin1", 0, TOC_NAME.length + 1) !== `${TOC_NAME}\0` || !(length <= MAX_TOC)) {
    throw bad("where the blob says that it lies is something else");
  }
  const tar = await inflate(packed, "gzip", TAR_BLOCK + length).catch(() => undefined);
  if (tar === undefined) throw bad("it can't be decompressed");
  return checked(claim, { bytes: tar.subarray(TAR_BLOCK), end: offset });
}

/** Throws unless these are the bytes that the annotation's digest means. */
export function checked(claim: TocClaim, toc: Toc): Toc {
  if (sha256Of(toc.bytes) === claim.digest) return toc;
  throw bad("it is another than the layer's annotation says");
}

/** The table as JSON. */
export async function tocJson(claim: TocClaim, { bytes }: Toc): Promise<Buffer> {
  if (claim.form === "estargz") return bytes;
  return await inflate(bytes, "zstd", claim.plainLength).catch(() => {
    throw bad("it can't be decompressed");
  });
}

/** An empty gzip member whose extra field says in hexadecimal where the table begins. */
function estargzOffset(footer: Buffer): number | undefined {
  const isMember = footer[0] === 0x1f && footer[1] === 0x8b && footer[2] === 8 && footer[3] === 4;
  const isField = footer.toString("latin1", 12, 14) === "SG" && footer.readUInt16LE(14) === 22;
  const text = /^([0-9a-f]{16})STARGZ$/.exec(footer.toString("latin1", 16, 38))?.[1];
  if (!isMember || !isField || text === undefined) return undefined;
  const offset = Number.parseInt(text, 16);
  return Number.isSafeInteger(offset) ? offset : undefined;
}

function bad(why: string): GantryError {
  return new GantryError("unsupported", `cannot use the layer's table of contents: ${why}`);
}
