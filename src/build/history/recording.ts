import { appendFile } from "node:fs/promises";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { eventLine } from "../event-line.ts";
import type { BuildEvent } from "../progress.ts";

const FLUSH_AFTER_MS = 100;
const FLUSH_BYTES = 256 << 10;
/** What waits to be written while the disk is slow; who prints more waits. */
const MOST_WAITING = 4 << 20;

/** One build's events on their way into its file. */
export class Recording {
  readonly #path: string;
  readonly #log: Logger;
  /** Bytes of output that are kept; what comes later is only counted. */
  #room: number;
  #dropped: { readonly vertex: string; readonly bytes: number } | undefined;
  #lines: string[] = [];
  #waiting = 0;
  #writing: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #told = Promise.withResolvers<void>();
  #hasFailed = false;
  #isEnded = false;

  constructor(path: string, log: Logger, mostOutput: number) {
    this.#path = path;
    this.#log = log;
    this.#room = mostOutput;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  add(event: BuildEvent): void | Promise<void> {
    if (event.type === "status" && event.status.completed === undefined) return;
    if (event.type === "log") {
      const { length } = event.log.data;
      if (length > this.#room) {
        this.#dropped = { vertex: event.log.vertex, bytes: (this.#dropped?.bytes ?? 0) + length };
        return;
      }
      this.#room -= length;
    }
    this.#push(eventLine(event));
    if (this.#waiting > MOST_WAITING) return this.flush();
  }

  /** All that was added before is in the file when this resolves. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const text = this.#lines.join("");
    this.#lines = [];
    if (text !== "") this.#writing = this.#writing.then(() => this.#write(text));
    return this.#writing;
  }

  async end(): Promise<void> {
    if (this.#dropped !== undefined) {
      const { bytes, vertex } = this.#dropped;
      const data = Buffer.from(`[${bytes} bytes of output are not kept]\n`);
      this.#push(eventLine({ type: "log", log: { vertex, stream: 2, data, timestamp: Date.now() } }));
    }
    this.#isEnded = true;
    await this.flush();
    this.#told.resolve();
  }

  /** Resolves when there is more in the file, or no more comes. */
  more(): Promise<void> {
    return this.#isEnded ? this.#writing : this.#told.promise;
  }

  #push(line: string): void {
    this.#lines.push(line);
    this.#waiting += line.length;
    if (this.#waiting >= FLUSH_BYTES) void this.flush();
    else this.#timer ??= setTimeout(() => void this.flush(), FLUSH_AFTER_MS).unref();
  }

  async #write(text: string): Promise<void> {
    try {
      if (!this.#hasFailed) await appendFile(this.#path, text, { mode: 0o600 });
    } catch (error) {
      // A full disk must not fail the build itself.
      this.#hasFailed = true;
      this.#log.warn(`cannot keep the events of a build: ${messageOf(error)}`);
    }
    this.#waiting -= text.length;
    this.#told.resolve();
    this.#told = Promise.withResolvers();
  }
}
