import { closeSync, constants, mkdirSync, openSync } from "node:fs";
import { makeFifo, readInto, setPipeSize, setTerminalSize } from "../../kernel/descriptor.ts";
import { Readiness } from "../../kernel/readiness.ts";
import { MAX_CHUNK } from "../log-format.ts";
import type { AttachSession, SessionTarget } from "./attach-session.ts";
import type { OutputLog } from "./ports.ts";
import { StdinWriter } from "./stdin-writer.ts";
import { chunk, chunkAddress, DATA } from "./transfer.ts";

const { O_RDONLY, O_RDWR, O_WRONLY, O_NONBLOCK } = constants;
const MOST_WORDS = 16 * 1024;
const PIPE_SIZE = 1024 * 1024;
// What a process that outlived the first one still writes could go on for ever.
const MOST_DRAINED = 4 * PIPE_SIZE;

export interface StreamOptions {
  /** Holds the FIFOs 0, 1 and 2. */
  readonly folder: string;
  readonly terminal: boolean;
  readonly openStdin: boolean;
  /** Standard input ends with the first client's. */
  readonly stdinOnce: boolean;
  readonly log: OutputLog | undefined;
}

interface Output {
  readonly stream: 1 | 2;
  readonly fd: number;
  readonly readiness: Readiness;
}

/** The streams of one process, from its FIFOs or its terminal to log and clients, and from clients to its input. */
export class ProcessStreams implements SessionTarget {
  readonly terminal: boolean;
  readonly #options: StreamOptions;
  readonly #sessions = new Set<AttachSession>();
  #outputs: Output[] = [];
  #stdin: StdinWriter | undefined;
  #master: Output | undefined;
  #size: { readonly rows: number; readonly columns: number } | undefined;
  #reading = false;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.terminal = options.terminal;
  }

  get stdin(): StdinWriter | undefined {
    return this.#stdin;
  }

  /** Makes the FIFOs and opens the process's ends, which the caller closes once the process has them. */
  makeFifos(): readonly [number, number, number] {
    const { folder, terminal, openStdin } = this.#options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const opened: number[] = [];
    try {
      if (terminal) {
        for (let fd = 0; fd < 3; fd++) opened.push(openSync("/dev/null", O_RDWR));
        return [opened[0]!, opened[1]!, opened[2]!];
      }
      if (openStdin) {
        makeFifo(`${folder}/0`, 0o600);
        // Opened for both first: neither end can be opened alone without waiting.
        const both = openSync(`${folder}/0`, O_RDWR | O_NONBLOCK);
        opened.push(openSync(`${folder}/0`, O_RDONLY));
        this.#setStdin(new StdinWriter(openSync(`${folder}/0`, O_WRONLY | O_NONBLOCK)));
        closeSync(both);
      } else opened.push(openSync("/dev/null", O_RDONLY));
      for (const stream of [1, 2] as const) {
        makeFifo(`${folder}/${stream}`, 0o600);
        opened.push(openSync(`${folder}/${stream}`, O_RDWR));
        this.#openOutput(stream);
      }
      return [opened[0]!, opened[1]!, opened[2]!];
    } catch (error) {
      for (const fd of opened) closeSync(fd);
      this.close();
      throw error;
    }
  }

  /** Opens the own ends again after the supervisor was restarted; a terminal can't be had again. */
  reopen(): void {
    const { folder, terminal, openStdin } = this.#options;
    if (terminal) return;
    if (openStdin) {
      try {
        this.#setStdin(new StdinWriter(openSync(`${folder}/0`, O_WRONLY | O_NONBLOCK)));
      } catch {
        // ENXIO: the process has closed its end.
      }
    }
    for (const stream of [1, 2] as const) this.#openOutput(stream);
  }

  setMaster(fd: number): void {
    const readiness = new Readiness(fd, (events) => {
      if (events.writable) this.#stdin?.flush();
      if (events.readable) this.#read(master);
    });
    const master: Output = { stream: 1, fd, readiness };
    this.#master = master;
    this.#outputs.push(master);
    if (this.#options.openStdin) this.#setStdin(new StdinWriter(fd, readiness));
    if (this.#size !== undefined) setTerminalSize(fd, this.#size.rows, this.#size.columns);
  }

  resize(rows: number, columns: number): void {
    this.#size = { rows, columns };
    if (this.#master !== undefined) setTerminalSize(this.#master.fd, rows, columns);
  }

  add(session: AttachSession): void {
    this.#sessions.add(session);
    if (this.#reading) session.join(this);
  }

  /** From now on output flows and input is taken. */
  begin(): void {
    this.#reading = true;
    for (const session of this.#sessions) session.join(this);
    this.unblocked();
  }

  inputEnded(): void {
    if (this.#options.stdinOnce && !this.terminal) this.#stdin?.end();
  }

  unblocked(): void {
    if (!this.#reading) return;
    let blocked = false;
    for (const session of this.#sessions) blocked ||= session.isBlocked;
    for (const output of this.#outputs) {
      output.readiness.watch(!blocked, output === this.#master && this.#stdin?.isFull === true);
    }
  }

  remove(session: AttachSession): void {
    this.#sessions.delete(session);
  }

  /** Reads what the ended process left, to the end. Clients stay until `end`. */
  drain(): void {
    this.#reading = true;
    for (const output of [...this.#outputs]) {
      let left = MOST_DRAINED;
      while (left > 0 && this.#outputs.includes(output)) {
        const count = this.#pass(output);
        if (count <= 0) break;
        left -= count;
      }
    }
    this.close();
  }

  /** Lets all clients go. Whoever sees that may ask for the exit at once: it must have been told before. */
  end(): void {
    for (const session of [...this.#sessions]) session.end("exited");
    this.#sessions.clear();
  }

  /** What a runtime that failed printed on standard error instead of logging it. */
  takeUnread(): string {
    const errors = this.#outputs.find((output) => output.stream === 2);
    if (errors === undefined) return "";
    const count = readInto(errors.fd, chunkAddress, MOST_WORDS);
    return count > 0 ? chunk.bytes.toString("utf8", DATA, DATA + count) : "";
  }

  /** Drops whatever the process's descriptors hold, and tells the clients why there will be nothing. */
  fail(message: string): void {
    this.close();
    for (const session of [...this.#sessions]) {
      session.join(this);
      session.say(`${message}\r\n`);
      session.end("exited");
    }
    this.#sessions.clear();
  }

  /** Closes the descriptors of the process; clients stay. */
  close(): void {
    this.#stdin?.close();
    for (const output of this.#outputs) this.#closeOutput(output);
    this.#options.log?.close();
  }

  #setStdin(writer: StdinWriter): void {
    this.#stdin = writer;
    writer.onDrain = () => {
      for (const session of this.#sessions) session.inputMayFlow();
    };
  }

  #openOutput(stream: 1 | 2): void {
    const fd = openSync(`${this.#options.folder}/${stream}`, O_RDONLY | O_NONBLOCK);
    setPipeSize(fd, PIPE_SIZE);
    const output: Output = { stream, fd, readiness: new Readiness(fd, () => this.#read(output)) };
    this.#outputs.push(output);
  }

  #closeOutput(output: Output): void {
    this.#outputs = this.#outputs.filter((row) => row !== output);
    if (output === this.#master) {
      this.#master = undefined;
      this.#stdin?.close();
    }
    output.readiness.close();
    closeSync(output.fd);
  }

  #read(output: Output): void {
    if (!this.#outputs.includes(output)) return;
    this.#pass(output);
    for (const session of this.#sessions) {
      if (!session.isBlocked) continue;
      this.unblocked();
      return;
    }
  }

  /** Moves one chunk. Returns its size, 0 at the stream's end, -1 if nothing is there. */
  #pass(output: Output): number {
    let count: number;
    try {
      count = readInto(output.fd, chunkAddress, MAX_CHUNK);
    } catch {
      // EIO: a terminal whose last user has gone.
      count = 0;
    }
    if (count === 0) this.#closeOutput(output);
    if (count <= 0) return count;
    this.#options.log?.append(output.stream, count);
    for (const session of this.#sessions) session.output(output.stream, count);
    return count;
  }
}
