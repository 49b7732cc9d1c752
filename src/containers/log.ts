import { join } from "node:path";
import { GantryError } from "../base/errors.ts";
import { ramInBytes } from "../base/units.ts";
import { type LogLine, readLog } from "../runtime/log-reader.ts";
import type { LogTarget } from "../runtime/process.ts";
import type { LogsOptions } from "./controller.ts";
import type { ContainerSettings } from "./ports.ts";
import type { ContainerRecord } from "./record.ts";
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
  });
  for await (const line of lines) yield encodeLine(line, tty, options.timestamps, details);
}

function encodeLine(line: LogLine, tty: boolean, timestamps: boolean, details: string): Uint8Array {
  const prefix = Buffer.from(`${timestamps ? `${rfc3339Nano(line.timeNano)} ` : ""}${details}`);
  const length = prefix.length + line.data.length;
  const head = tty ? 0 : 8;
  const bytes = Buffer.allocUnsafe(head + length);
  if (!tty) {
    bytes.writeUInt32BE(line.stream << 24, 0);
    bytes.writeUInt32BE(length, 4);
  }
  prefix.copy(bytes, head);
  bytes.set(line.data, head + prefix.length);
  return bytes;
}

/** `2006-01-02T15:04:05.000000000Z`, nine digits always. */
export function rfc3339Nano(nano: bigint): string {
  const seconds = new Date(Number(nano / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(nano % 1_000_000_000n).padStart(9, "0")}Z`;
}
