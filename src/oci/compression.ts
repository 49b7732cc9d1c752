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

/** What the first bytes of a stream say of its compression; six bytes are enough. */
function compressionOf(start: Uint8Array): Compression {
  const found = MAGIC.find(({ bytes }) => bytes.every((byte, at) => start[at] === byte));
  // zstd also allows frames to be skipped (0x184D2A50 … 5F) in front of the first real one.
  const skippable = ((start[0] ?? 0) & 0xf0) === 0x50 && start[1] === 0x2a && start[2] === 0x4d && start[3] === 0x18;
  if (BZIP2.test(Buffer.from(start).toString("latin1"))) return "bzip2";
  return found?.compression ?? (skippable ? "zstd" : "none");
}

/**
 * Undoes whatever compression the stream's first bytes announce. Destroying the result ends the source (and the
 * process of a program); broken input fails the result with `invalid`. What comes out is unbounded: limiting it is the caller's.
 */
export async function decompress(
  source: Readable | AsyncIterable<Uint8Array>,
): Promise<{ stream: Readable; compression: Compression }> {
  const input = source instanceof Readable ? source : Readable.from(source);
  const chunks = input[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  const first: Uint8Array[] = [];
  let length = 0;
  while (length < LONGEST) {
    const next = await chunks.next();
    if (next.done === true) break;
    first.push(next.value);
    length += next.value.length;
  }
  const compression = compressionOf(Buffer.concat(first).subarray(0, LONGEST));
  const whole = Readable.from(resume(first, chunks), { objectMode: false, highWaterMark: OUTPUT_CHUNK });
  // A generator that was never started runs no finally block: end what it reads by hand, here and below.
  whole.once("close", () => input.destroy());
  if (compression === "none") return { stream: whole, compression };
  const decoder = decode(compression, whole);
  const stream = Readable.from(translate(decoder, compression), { objectMode: false, highWaterMark: OUTPUT_CHUNK });
  stream.once("close", () => decoder.destroy());
  return { stream, compression };
}

async function* resume(first: readonly Uint8Array[], rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* first;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
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
