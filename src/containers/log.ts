import { join } from "node:path";
import { GantryError } from "../base/errors.ts";
import { ramInBytes } from "../base/units.ts";
import { type LogLine, readLog } from "../runtime/log-reader.ts";
import type { LogTarget } from "../runtime/process.ts";
import type { LogsOptions } from "./controller.ts";
import { bool, type LogOptions } from "./log-options.ts";
import { extraAttributes, logTag } from "./log-tag.ts";
import type { ContainerSettings } from "./ports.ts";
import { type ContainerRecord, rfc3339Nano } from "./record.ts";
import { containerFolder, jsonLogPath } from "./view.ts";

const DEFAULT_MAX_SIZE = 20 * 1024 * 1024;
const DEFAULT_MAX_FILES = 5;
const FRAME_HEAD = 8;
const NEWLINE = 10;
/** Bytes; shorter lines cost another piece of memory. */
const EXPECTED_LINE = 64;
/** From this on a piece goes out as it is, its head by itself. */
const LEAST_UNCOPIED = 16 * 1024;
const SLICE = 256 * 1024;

/** Where a container's output is kept; undefined of the driver `none`. Throws `invalid` for options that can't be. */
export function logTargetOf(record: ContainerRecord, settings: ContainerSettings): LogTarget | undefined {
  const { Type, Config } = record.hostConfig.LogConfig;
  const options = Config ?? {};
  const folder = containerFolder(settings.dataRoot, record.id);
  switch (Type) {
    case "none":
      return undefined;
    case "json-file":
      return {
        path: jsonLogPath(folder, record.id),
        // Docker's own default: no limit.
        ...limitsOf(options, "max-size", "max-file", { maxSize: 0, maxFiles: 1 }),
        json: { attributes: attributesOf(record, options) },
        compress: bool(options.compress),
      };
    case "local":
      return {
        path: join(folder, "output.log"),
        ...limitsOf(options, "max-size", "max-file", { maxSize: DEFAULT_MAX_SIZE, maxFiles: DEFAULT_MAX_FILES }),
        compress: bool(options.compress),
      };
    default:
      return {
        path: join(folder, "output.log"),
        ...limitsOf(options, "cache-max-size", "cache-max-file", {
          maxSize: DEFAULT_MAX_SIZE,
          maxFiles: DEFAULT_MAX_FILES,
        }),
        compress: bool(options["cache-compress"]),
      };
  }
}

function limitsOf(
  options: LogOptions,
  sizeName: string,
  filesName: string,
  initial: Pick<LogTarget, "maxSize" | "maxFiles">,
): Pick<LogTarget, "maxSize" | "maxFiles"> {
  const size = options[sizeName];
  const files = options[filesName];
  return {
    maxSize: size === undefined || size === "-1" ? initial.maxSize : ramInBytes(size),
    maxFiles: files === undefined ? initial.maxFiles : Number(files),
  };
}

function attributesOf(record: ContainerRecord, options: LogOptions): Record<string, string> {
  const tag = logTag({ record, options, logPath: "" }, "");
  return { ...extraAttributes({ record, options }), ...(tag !== "" && { tag }) };
}

/** As `logTargetOf`, for who wants to read it. Throws `unsupported` where nothing is kept for that. */
export function readableLogOf(record: ContainerRecord, settings: ContainerSettings): LogTarget {
  const { Type, Config } = record.hostConfig.LogConfig;
  const isHere = Type === "local" || Type === "json-file";
  const target = !isHere && bool(Config?.["cache-disabled"]) ? undefined : logTargetOf(record, settings);
  if (target === undefined) {
    throw new GantryError("unsupported", "configured logging driver does not support reading");
  }
  return target;
}

/** `logs --details`: the labels and variables that the log options name, as `key=value` pairs and a space. */
export function logDetails(record: ContainerRecord): string {
  const attributes = attributesOf(record, record.hostConfig.LogConfig.Config ?? {});
  const pairs = Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1));
  // The space is there without any pair as well: who asks for details cuts the line at it.
  return `${pairs.map(([key, value]) => `${queryEscape(key)}=${queryEscape(value)}`).join(",")} `;
}

/** Go's url.QueryEscape. */
function queryEscape(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%20", "+");
}

/** The answer of GET logs: lines as bytes, framed as Docker's streams unless the container has a terminal. */
export async function* logStream(
  target: LogTarget,
  tty: boolean,
  options: LogsOptions,
  details: string,
  ended: Promise<void>,
): AsyncIterable<Uint8Array> {
  const { joined, timestamps } = options;
  const lines = readLog(target, {
    tail: options.tail,
    sinceNano: options.since,
    untilNano: options.until,
    stdout: options.stdout,
    stderr: options.stderr,
    follow: options.follow,
    signal: options.signal,
    ended,
    joined: true,
    timeless: !options.timestamps,
  });
  for await (const chunk of lines) {
    if (tty || !joined) {
      for (const piece of slices(chunk)) yield encodeLines(piece, !tty, timestamps, details);
      continue;
    }
    const bytes = encodeLines(chunk, false, timestamps, details);
    const head = frameHead(chunk.stream, bytes.length);
    if (bytes.length < LEAST_UNCOPIED) yield Buffer.concat([head, bytes]);
    else {
      yield head;
      yield bytes;
    }
  }
}

/** Whole lines, so few at once that nobody waits for long while they are encoded. */
function* slices(chunk: LogLine): Generator<LogLine> {
  const data = Buffer.from(chunk.data.buffer, chunk.data.byteOffset, chunk.data.length);
  for (let from = 0; from < data.length; ) {
    const end = data.length - from <= SLICE ? 0 : data.indexOf(NEWLINE, from + SLICE) + 1;
    const to = end === 0 ? data.length : end;
    yield { ...chunk, data: data.subarray(from, to) };
    from = to;
  }
}

function frameHead(stream: number, size: number): Buffer {
  const head = Buffer.allocUnsafe(FRAME_HEAD);
  head.writeUInt32BE(stream << 24, 0);
  head.writeUInt32BE(size, 4);
  return head;
}

/** What stands before each line, and with `framed` a frame a line; one piece of memory for all that came at once. */
export function encodeLines(chunk: LogLine, framed: boolean, timestamps: boolean, details: string): Uint8Array {
  const prefix = Buffer.from(`${timestamps ? `${rfc3339Nano(chunk.timeNano)} ` : ""}${details}`);
  const { data, stream } = chunk;
  if (!framed && prefix.length === 0) return data;
  const head = (framed ? FRAME_HEAD : 0) + prefix.length;
  let bytes = Buffer.allocUnsafe(data.length + head * (1 + Math.ceil(data.length / EXPECTED_LINE)));
  let to = 0;
  // Byte by byte: lines are short, and a call for each would take longer than its bytes.
  for (let from = 0; from < data.length; ) {
    const most = to + head + data.length - from;
    if (most > bytes.length) bytes = grown(bytes, to, most);
    const begin = to;
    if (framed) to += FRAME_HEAD;
    for (let index = 0; index < prefix.length; index++) bytes[to++] = prefix[index]!;
    while (from < data.length) {
      const byte = data[from++]!;
      bytes[to++] = byte;
      if (byte === NEWLINE) break;
    }
    if (!framed) continue;
    bytes.writeUInt32BE(stream << 24, begin);
    bytes.writeUInt32BE(to - begin - FRAME_HEAD, begin + 4);
  }
  return bytes.subarray(0, to);
}

/** The first `used` bytes with room for `size` and a good deal more. */
function grown(bytes: Buffer, used: number, size: number): Buffer<ArrayBuffer> {
  const larger = Buffer.allocUnsafe(2 * size);
  bytes.copy(larger, 0, 0, used);
  return larger;
}
