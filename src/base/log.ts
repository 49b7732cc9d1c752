export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3, fatal: 4 };

/** Structured lines of JSON on standard error, one object a line: `time`, `level`, `msg`, then the given fields. */
export class Logger {
  #level: LogLevel;
  readonly #write: (line: string) => void;

  constructor(level: LogLevel = "info", write: (line: string) => void = (line) => process.stderr.write(line)) {
    this.#level = level;
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
    this.#write(`${JSON.stringify({ time: new Date().toISOString(), level, msg, ...fields })}\n`);
  }
}
