import { join } from "node:path";
import { GantryError } from "../base/errors.ts";
import { ramInBytes } from "../base/units.ts";
import { type LogLine, readLog } from "../runtime/log-reader.ts";
import type { LogTarget } from "../runtime/process.ts";
import type { LogsOptions } from "./controller.ts";
import type { ContainerSettings } from "./ports.ts";
import { type ContainerRecord, rfc3339Nano } from "./record.ts";
import { containerFolder } from "./view.ts";

const DEFAULT_MAX_SIZE = 20 * 1024 * 1024;
const DEFAULT_MAX_FILES = 5;

/** Where a container's output is kept: bounded, five files of 20 MB unless it says otherwise. */
export function logTargetOf(record: ContainerRecord, settings: ContainerSettings): LogTarget | undefined {
  const { Type, Config } = record.hostConfig.LogConfig;
  if (Type === "none") return undefined;
  const size = Config?.["max-size"];
  const files = Config?.["max-file"];
  return {
    path: join(containerFolder(settings.dataRoot, record.id), "output.log"),
    maxSize: size === undefined || size === "-1" ? DEFAULT_MAX_SIZE : ramInBytes(size),
    maxFiles: files === undefined ? DEFAULT_MAX_FILES : Number(files),
  };
}

/** The answer of GET logs: lines as bytes, framed as Docker's streams unless the container has a terminal. */
export async function* logStream(
  target: LogTarget | undefined,
  tty: boolean,
  options: LogsOptions,
  details: string,
  ended: Promise<void>,
): AsyncIterable<Uint8Array> {
  if (target === undefined) {
    throw new GantryError("unsupported", "configured logging driver does not support reading");
  }
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
