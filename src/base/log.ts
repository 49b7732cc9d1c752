export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3, fatal: 4 };

export type LogFormat = "json" | "text";

/**
 * Structured lines on standard error: `time`, `level`, `msg`, then the given fields, as one JSON object a line, or as
 * `name=value` pairs.
 */
export class Logger {
  #level: LogLevel;
  readonly #lineOf: (row: Readonly<Record<string, unknown>>) => string;
  readonly #write: (line: string) => void;

  constructor(
    level: LogLevel = "info",
    write: (line: string) => void = (line) => process.stderr.write(line),
    format: LogFormat = "json",
  ) {
    this.#level = level;
    this.#lineOf = format === "json" ? (row) => JSON.stringify(row) : pairs;
    this.#write = write;
  }

  setLevel(level: LogLevel): void {
    this.#level = level;
  }

  debug(msg: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#log("debug", msg, fields);
  }

  info(msg: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#log("info", msg, fields);
  }

  warn(msg: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#log("warn", msg, fields);
  }

  error(msg: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#log("error", msg, fields);
  }

  #log(level: LogLevel, msg: string, fields?: Readonly<Record<string, unknown>>): void {
    if (RANK[level] < RANK[this.#level]) return;
    const head = { time: new Date().toISOString(), level, msg };
    // Named twice: first in the line, and not to be hidden by a field of the same name.
    this.#write(`${this.#lineOf({ ...head, ...fields, ...head })}\n`);
  }
}

function pairs(row: Readonly<Record<string, unknown>>): string {
  return Object.entries(row)
    .map(([name, value]) => `${name}=${quoted(typeof value === "string" ? value : (JSON.stringify(value) ?? ""))}`)
    .join(" ");
}

function quoted(text: string): string {
  return /^[A-Za-z0-9_./@^+-]+$/.test(text) ? text : JSON.stringify(text);
}
