import { Socket } from "node:net";
import { constants } from "node:os";
import type { Writable } from "node:stream";
import { drained } from "../../base/drained.ts";
import { type ExecMessage, ExecMessageSchema, type InitMessage } from "../../buildkit/gateway.ts";
import { create, type Init } from "../../buildkit/message.ts";
import type { ServerCall } from "../../grpc/answered-call.ts";
import { GrpcError, STATUS, toGrpcError } from "../../grpc/status.ts";
import { unixSocketPair } from "../../kernel/unix-socket.ts";
import type { RunningStep, StepEnd, StepOptions } from "../../runtime/step.ts";
import type { GatewayContainers } from "./gateway-containers.ts";

type Call = ServerCall<ExecMessage, ExecMessage>;

/** What nobody has read yet of what is typed, in bytes, before the client has to wait. */
const MOST_WAITING = 1 << 20;
const MOST_PROCESSES = 1_000;
/** Of which more need not be told in one message. */
const PIECE = 1 << 20;
const UNKNOWN_EXIT = 255;

/** Processes of a client's containers: all by one call, each by its name. They end with the call. */
export async function execProcesses(containers: GatewayContainers, call: Call): Promise<void> {
  const processes = new Map<string, Process>();
  const running = new Set<Promise<void>>();
  try {
    for await (const message of call.messages()) {
      const { Input, ProcessID: id } = message;
      if (id === "") throw new GrpcError(STATUS.invalidArgument, "ProcessID required");
      const known = processes.get(id);
      if (Input.case === "Init") {
        if (known !== undefined) throw new GrpcError(STATUS.alreadyExists, `Process ${shown(id)} already exists`);
        if (processes.size >= MOST_PROCESSES) throw new GrpcError(STATUS.resourceExhausted, "too many processes");
        const process = new Process(id, Input.value, call);
        processes.set(id, process);
        const done = process.run(containers);
        running.add(done);
        // The client has gone, which is heard of where its messages are read.
        done.then(() => running.delete(done)).catch(() => running.delete(done));
        continue;
      }
      if (known === undefined) throw new GrpcError(STATUS.notFound, `IO for process ${shown(id)} not found`);
      await known.hear(Input);
    }
    await Promise.all(running);
  } finally {
    for (const process of processes.values()) process.end();
    await Promise.allSettled(running);
  }
}

class Process {
  readonly #id: string;
  readonly #init: InitMessage;
  readonly #call: Call;
  readonly #ending = new AbortController();
  #running: RunningStep | undefined;
  #input: Writable | undefined;
  /** What came before it ran. */
  #early: Uint8Array[] = [];
  #isInputOver = false;
  #size = { rows: 0, columns: 0 };
  #isStarted = false;

  constructor(id: string, init: InitMessage, call: Call) {
    this.#id = id;
    this.#init = init;
    this.#call = call;
  }

  async run(containers: GatewayContainers): Promise<void> {
    const signal = AbortSignal.any([this.#call.signal, this.#ending.signal]);
    let exit: Init<ExecMessage["Input"]> = { case: "Exit", value: { Code: 0 } };
    const screen = this.#init.Tty ? new Screen((bytes) => this.#tell(1, bytes)) : undefined;
    try {
      const output = screen === undefined ? this.#streams() : this.#terminal(screen);
      const end = await containers.run(this.#init, { signal, output });
      await screen?.ended;
      if (end.code !== 0) exit = { case: "Exit", value: failed(end) };
    } catch (error) {
      if (this.#call.signal.aborted) return;
      const { code, message } = toGrpcError(error);
      exit = { case: "Exit", value: { Code: UNKNOWN_EXIT, Error: { code, message } } };
    } finally {
      this.#ending.abort();
      screen?.close();
      this.#input?.destroy();
    }
    await this.#started();
    for (const fd of this.#init.Fds) if (fd !== 0) await this.#send({ case: "File", value: { Fd: fd, EOF: true } });
    await this.#send(exit);
    await this.#send({ case: "Done", value: {} });
  }

  /** What the client says to it. */
  async hear(message: ExecMessage["Input"]): Promise<void> {
    if (this.#ending.signal.aborted) return;
    if (message.case === "File") await this.#type(message.value.Data, message.value.EOF);
    else if (message.case === "Resize") {
      const { Cols: columns, Rows: rows } = message.value;
      this.#size = { rows: bounded(rows), columns: bounded(columns) };
      await this.#running?.resize(this.#size.rows, this.#size.columns).catch(() => {});
    } else if (message.case === "Signal") {
      const number = (constants.signals as Record<string, number>)[`SIG${message.value.Name.replace(/^SIG/, "")}`];
      if (number === undefined)
        throw new GrpcError(STATUS.invalidArgument, `Unknown signal ${shown(message.value.Name)}`);
      // It may have ended meanwhile.
      await this.#running?.signal(number).catch(() => {});
    } else throw new GrpcError(STATUS.invalidArgument, "a process is not told what only the engine tells");
  }

  end(): void {
    this.#ending.abort();
  }

  #streams(): StepOptions["output"] {
    return {
      kind: "streams",
      take: (stream, bytes) => this.#tell(stream, bytes),
      ...(this.#init.Fds.includes(0) && { input: (stdin: Writable) => this.#connect(stdin) }),
      opened: (running) => this.#opened(running),
    };
  }

  #terminal(screen: Screen): StepOptions["output"] {
    return {
      kind: "terminal",
      rows: 0,
      columns: 0,
      connect: () => {
        this.#connect(screen.near);
        return { socket: screen.far, head: new Uint8Array(), preamble: new Uint8Array() };
      },
      opened: (running) => this.#opened(running),
    };
  }

  #opened(running: RunningStep): void {
    this.#running = running;
    const { columns, rows } = this.#size;
    if (rows > 0) void running.resize(rows, columns).catch(() => {});
    void this.#started().catch(() => {});
  }

  #connect(stdin: Writable): void {
    // What it doesn't read any more is nobody's.
    stdin.on("error", () => {});
    this.#input = stdin;
    for (const bytes of this.#early.splice(0)) stdin.write(bytes);
    if (this.#isInputOver) this.#close(stdin);
  }

  async #type(bytes: Uint8Array, isOver: boolean): Promise<void> {
    if (this.#isInputOver) return;
    this.#isInputOver = isOver;
    const input = this.#input;
    if (input === undefined) {
      const waiting = this.#early.reduce((sum, { length }) => sum + length, bytes.length);
      if (waiting > MOST_WAITING)
        throw new GrpcError(STATUS.resourceExhausted, "too much was typed before it was asked for");
      if (bytes.length > 0) this.#early.push(bytes);
      return;
    }
    if (bytes.length > 0) input.write(bytes);
    if (isOver) this.#close(input);
    // With the process it is destroyed, at the latest.
    if (input.writableLength > MOST_WAITING) await drained(input);
  }

  /** The end of what is typed at a terminal is a character. */
  #close(input: Writable): void {
    if (this.#init.Tty) return;
    input.end();
  }

  async #tell(fd: 1 | 2, bytes: Uint8Array): Promise<void> {
    await this.#started();
    // Who didn't ask for a stream doesn't know what to do with it.
    if (!this.#init.Fds.includes(fd)) return;
    for (let at = 0; at < bytes.length; at += PIECE) {
      await this.#send({ case: "File", value: { Fd: fd, Data: bytes.subarray(at, at + PIECE) } });
    }
  }

  async #started(): Promise<void> {
    if (this.#isStarted) return;
    this.#isStarted = true;
    await this.#send({ case: "Started", value: {} });
  }

  async #send(input: Init<ExecMessage["Input"]>): Promise<void> {
    await this.#call.send(
      create<ExecMessage>(ExecMessageSchema, { ProcessID: this.#id, Input: input } as Init<ExecMessage>),
    );
  }
}

/** A connection whose far end is a terminal's. */
class Screen {
  readonly near: Socket;
  readonly far: Socket;
  /** Resolves when all that was shown was taken. */
  readonly ended: Promise<void>;

  constructor(take: (bytes: Uint8Array) => Promise<void>) {
    const [near, far] = unixSocketPair();
    this.near = new Socket({ fd: near });
    this.far = new Socket({ fd: far });
    this.far.pause();
    this.near.on("error", () => {});
    this.ended = this.#pass(take);
    this.ended.catch(() => {});
  }

  close(): void {
    this.near.destroy();
    this.far.destroy();
  }

  async #pass(take: (bytes: Uint8Array) => Promise<void>): Promise<void> {
    for await (const bytes of this.near as AsyncIterable<Buffer>) await take(bytes);
  }
}

function failed({ code, oomKilled }: StepEnd) {
  const why = oomKilled ? "cannot allocate memory" : `exit code: ${code}`;
  return {
    Code: code,
    Error: { code: STATUS.unknown, message: why },
  };
}

function bounded(size: number): number {
  return Math.min(size, 65_535);
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
