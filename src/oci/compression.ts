import { spawn } from "node:child_process";
import { pipeline, Readable } from "node:stream";
import { pipeline as pipelined } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { GantryError, hasCode } from "../base/errors.ts";
import { unzstd } from "./zstd.ts";

export type Compression = "none" | "gzip" | "zstd" | "xz" | "bzip2";

const MAGIC: readonly { readonly compression: Compression; readonly bytes: readonly number[] }[] = [
  { compression: "gzip", bytes: [0x1f, 0x8b, 0x08] },
  { compression: "zstd", bytes: [0x28, 0xb5, 0x2f, 0xfd] },
  { compression: "xz", bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
];
/** "BZh", a level, and the start of a block or of an empty stream's end: "BZh" alone may be a file's name in a tar. */
const BZIP2 = /^BZh[1-9](?:1A|\x17r)/;
const LONGEST = 6;
const OUTPUT_CHUNK = 1 << 18;
const XZ_MEMORY = 512 << 20;

/** Programs for what Node can't undo itself; they read standard input and write standard output. */
const PROGRAMS = {
  xz: ["/usr/bin/xz", ["--decompress", "--stdout", `--memlimit-decompress=${XZ_MEMORY}`]],
  bzip2: ["/bin/bzip2", ["--decompress", "--stdout"]],
} as const;

/** What the first bytes of a stream say of its compression; 16 bytes are enough, fewer are all there are. */
export function compressionOf(start: Uint8Array): Compression {
  const found = MAGIC.find(({ bytes }) => bytes.every((byte, at) => start[at] === byte));
  // zstd also allows frames to be skipped (0x184D2A50 … 5F) in front of the first real one.
  const skippable = ((start[0] ?? 0) & 0xf0) === 0x50 && start[1] === 0x2a && start[2] === 0x4d && start[3] === 0x18;
  if (BZIP2.test(Buffer.from(start).toString("latin1"))) return "bzip2";
  return found?.compression ?? (skippable ? "zstd" : "none");
}

/**
 * Undoes whatever compression the stream's first bytes announce. Destroying the result ends the source (and the process
 * of a program), unless `keepSource` leaves a compressed source to the caller; of what isn't compressed the result is
 * the source. Broken input fails the result with `invalid`. What comes out is unbounded: limiting it is the caller's.
 */
export async function decompress(
  source: Readable | AsyncIterable<Uint8Array>,
  options: { readonly keepSource?: boolean } = {},
): Promise<{ stream: Readable; compression: Compression }> {
  const input =
    source instanceof Readable && !source.readableObjectMode ? source : Readable.from(source, { objectMode: false });
  const start = await startOf(input);
  const compression = compressionOf(start);
  // As it is, not wrapped: a large upload would pay for each layer of streams at each of its chunks.
  const whole = input.readableEnded ? Readable.from([start], { objectMode: false }) : input;
  if (compression === "none") return { stream: whole, compression };
  const packed = options.keepSource
    ? Readable.from(whole.iterator({ destroyOnReturn: false }), { objectMode: false, highWaterMark: OUTPUT_CHUNK })
    : whole;
  const decoder = decode(compression, packed);
  const stream = Readable.from(translate(decoder, compression), { objectMode: false, highWaterMark: OUTPUT_CHUNK });
  stream.once("close", () => decoder.destroy());
  return { stream, compression };
}

/** The first bytes of a stream, which are put back unless they are all. */
async function startOf(input: Readable): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  for (;;) {
    const piece = input.read() as Buffer | null;
    if (piece !== null) {
      pieces.push(piece);
      length += piece.length;
      if (length >= LONGEST) break;
    } else if (input.readableEnded) break;
    else await moreOf(input);
  }
  const start = Buffer.concat(pieces);
  if (!input.readableEnded) input.unshift(start);
  return start;
}

/** Resolves when there is more to read or the end has come; rejects with what ended the stream before. */
function moreOf(input: Readable): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const closed = () => reject(input.errored ?? new GantryError("invalid", "unexpected EOF"));
  input.on("readable", resolve).on("end", resolve).on("error", reject).on("close", closed);
  if (input.destroyed) closed();
  return promise.finally(() => {
    input.off("readable", resolve).off("end", resolve).off("error", reject).off("close", closed);
  });
}

async function* translate(decoder: Readable, compression: Compression): AsyncGenerator<Uint8Array> {
  try {
    yield* decoder as AsyncIterable<Uint8Array>;
  } catch (error) {
    const code = (error as { code?: string }).code ?? "";
    if (code === "Z_BUF_ERROR" || code === "ZSTD_error_srcSize_wrong")
      throw new GantryError("invalid", "unexpected EOF", { cause: error });
    if (/^(Z_|ZSTD_|ERR_.*ZSTD|ERR_ZLIB)/.test(code))
      throw new GantryError("invalid", `cannot decompress ${compression}: ${(error as Error).message}`, {
        cause: error,
      });
    throw error;
  }
}

function decode(compression: Exclude<Compression, "none">, packed: Readable): Readable {
  if (compression === "gzip")
    return pipeline(packed, createGunzip({ chunkSize: OUTPUT_CHUNK }), () => {
      // The error reaches the reader through the decoder, which is destroyed with it.
    });
  const plain = compression === "zstd" ? unzstd(packed, OUTPUT_CHUNK) : byProgram(compression, packed);
  return Readable.from(plain, { objectMode: false }).once("close", () => packed.destroy());
}

async function* byProgram(compression: keyof typeof PROGRAMS, packed: Readable): AsyncGenerator<Uint8Array> {
  const [program, args] = PROGRAMS[compression];
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], env: {} });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    if (complaint.length < 1024) complaint += text;
  });
  const ended = new Promise<string | undefined>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code) => resolve(code === 0 ? undefined : complaint.trim() || `exit status ${code}`));
  });
  const fed = pipelined(packed, child.stdin).then(
    () => undefined,
    (error: unknown) => {
      // The program closes its input as soon as it finds it broken; its exit status tells why.
      if (hasCode(error, "EPIPE", "ERR_STREAM_PREMATURE_CLOSE")) return undefined;
      child.kill("SIGKILL");
      return error;
    },
  );
  try {
    yield* child.stdout as AsyncIterable<Uint8Array>;
    const failure = await ended;
    const feeding = await fed;
    if (feeding !== undefined) throw feeding;
    if (/unexpected end of (input|file)|file ends unexpectedly/i.test(failure ?? ""))
      throw new GantryError("invalid", "unexpected EOF");
    if (failure !== undefined) throw new GantryError("invalid", `cannot decompress ${compression}: ${failure}`);
  } finally {
    child.kill("SIGKILL");
  }
}
