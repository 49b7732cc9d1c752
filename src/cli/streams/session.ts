import { drained } from "../../base/drained.ts";
import type { Hijacked } from "../../client/client.ts";
import { ExitError } from "../command.ts";
import { Demultiplexer } from "./demultiplexer.ts";
import { KeyWatch, parseKeys } from "./keys.ts";
import { outputFailure } from "./output-failure.ts";
import { enterRawMode } from "./terminal.ts";
import { DescriptorWriter } from "./writer.ts";

/** Bytes read ahead of the descriptors before the connection is told to wait. */
const HIGH_WATER = 4 * 1024 * 1024;

export interface SessionOptions {
  readonly hijacked: Hijacked;
  /** One raw stream instead of a multiplexed one, and raw mode on the own terminal. */
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Keys that detach; only looked for on a terminal. */
  readonly detachKeys: string;
}

/** How a session ended: the other side closed it, or the user typed the keys. */
export type SessionEnd = "closed" | "detached";

/**
 * Joins this process's standard streams to a hijacked connection until it ends; all output is written when it
 * resolves. The terminal is restored.
 */
export async function runSession(options: SessionOptions): Promise<SessionEnd> {
  const { socket } = options.hijacked;
  const restore = options.tty && options.stdin ? enterRawMode() : () => {};
  const stopInput = { now: () => {} };
  try {
    const output = pumpOutput(options);
    if (!options.stdin) {
      await output;
      return "closed";
    }
    const detached = new Promise<SessionEnd>((resolve) => {
      stopInput.now = pumpInput(options, () => resolve("detached"));
    });
    return await Promise.race([output.then((): SessionEnd => "closed"), detached]);
  } finally {
    stopInput.now();
    restore();
    socket.destroy();
  }
}

async function pumpOutput(options: SessionOptions): Promise<void> {
  const { socket, head } = options.hijacked;
  const ended = Promise.withResolvers<void>();
  const failure = (): ExitError | undefined => {
    if (out.error !== undefined) return new ExitError(1, outputFailure(1, out.error).message);
    return err.error === undefined ? undefined : new ExitError(1, outputFailure(2, err.error).message);
  };
  const onDrain = (): void => {
    const failed = failure();
    // Nothing is read on for nobody.
    if (failed !== undefined) ended.reject(failed);
    else if (socket.isPaused() && out.size + err.size < HIGH_WATER / 2) socket.resume();
  };
  const out = new DescriptorWriter(1, onDrain);
  const err = new DescriptorWriter(2, onDrain);
  const demultiplexer = new Demultiplexer((stream, data) => {
    if (stream === 2) {
      if (options.stderr) err.write(data);
    } else if (stream === 3) {
      err.write(data);
    } else if (options.stdout) {
      out.write(data);
    }
  });
  const take = (chunk: Buffer): void => {
    if (options.tty) out.write(chunk);
    else demultiplexer.push(chunk);
    if (out.size + err.size > HIGH_WATER) socket.pause();
  };
  socket.on("data", (chunk: Buffer) => {
    try {
      take(chunk);
    } catch (error) {
      ended.reject(error);
    }
  });
  socket.on("end", ended.resolve);
  socket.on("close", () => ended.resolve());
  socket.on("error", () => ended.resolve());
  if (head.length > 0) take(head);
  socket.resume();
  await ended.promise;
  await out.flushed();
  await err.flushed();
  const failed = failure();
  if (failed !== undefined) throw failed;
}

/** Sends what is typed or piped in; its end closes only this direction. Returns what stops it. */
function pumpInput(options: SessionOptions, onDetach: () => void): () => void {
  const { socket } = options.hijacked;
  const input = process.stdin;
  const watch = new KeyWatch(options.tty ? parseKeys(options.detachKeys) : []);
  const onData = (data: Buffer): void => {
    const { send, detach } = watch.take(data);
    if (send.length > 0 && !socket.destroyed && !socket.write(send)) {
      input.pause();
      void drained(socket).then(() => input.resume());
    }
    if (detach) onDetach();
  };
  const onEnd = (): void => {
    if (!socket.destroyed) socket.end();
  };
  input.on("data", onData);
  input.on("end", onEnd);
  input.on("error", onEnd);
  return () => {
    input.off("data", onData);
    input.off("end", onEnd);
    input.pause();
  };
}
