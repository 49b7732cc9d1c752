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
  for await (const chunk of lines) yield encodeLines(chunk, tty, options.timestamps, details);
}

/** A frame a line, as clients expect them, but one piece of memory for all that came at once. */
export function encodeLines(chunk: LogLine, tty: boolean, timestamps: boolean, details: string): Uint8Array {
  const prefix = Buffer.from(`${timestamps ? `${rfc3339Nano(chunk.timeNano)} ` : ""}${details}`);
  const { data } = chunk;
  if (tty && prefix.length === 0) return data;
  const starts: number[] = [];
  for (let at = 0; at < data.length; at = lineEnd(data, at)) starts.push(at);
  const head = (tty ? 0 : 8) + prefix.length;
  const bytes = Buffer.allocUnsafe(data.length + head * starts.length);
  let to = 0;
  for (const [n, from] of starts.entries()) {
    const end = starts[n + 1] ?? data.length;
    if (!tty) {
      bytes.writeUInt32BE(chunk.stream << 24, to);
      bytes.writeUInt32BE(prefix.length + end - from, to + 4);
      to += 8;
    }
    bytes.set(prefix, to);
    to += prefix.length;
    bytes.set(data.subarray(from, end), to);
    to += end - from;
  }
  return bytes;
}

/** Where the line that begins at `from` ends, its newline included. */
function lineEnd(data: Uint8Array, from: number): number {
  const newline = data.indexOf(10, from);
  return newline < 0 ? data.length : newline + 1;
}
