import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { unixSocketPair } from "../kernel/unix-socket.ts";

/** A descriptor to give away, what was already read from it, and how to let go of one's own copy afterwards. */
export interface HandOver {
  readonly fd: number;
  readonly head: Buffer;
  /** Call once the descriptor has been sent. */
  release(): void;
}

interface StreamHandle {
  readonly fd?: number;
  reading?: boolean;
  readStop?(): number;
}

/**
 * Prepares a client's connection for another process: a plain socket by its own descriptor, so that no byte passes
 * here any more; any other stream (TLS, WebSocket) by one end of a pair whose other end is joined to it here.
 */
export function handOver(socket: Duplex, head: Uint8Array): HandOver {
  const handle = plainHandle(socket);
  return handle === undefined ? joinPair(socket, head) : giveAway(socket, handle, head);
}

/** The descriptor of a socket whose bytes go out as they are; undefined of any other stream, and of one that is gone. */
export function descriptorOf(socket: Duplex): number | undefined {
  return handleOf(socket)?.fd;
}

function handleOf(socket: Duplex): (StreamHandle & { readonly fd: number }) | undefined {
  // A TLSSocket is a net.Socket too; only its own handle knows the bytes' meaning.
  if (!(socket instanceof Socket) || socket.constructor !== Socket || socket.destroyed) return undefined;
  const handle = (socket as unknown as { readonly _handle?: StreamHandle | null })._handle;
  if (handle === undefined || handle === null || typeof handle.fd !== "number" || handle.fd < 0) return undefined;
  return handle as StreamHandle & { readonly fd: number };
}

function plainHandle(socket: Duplex): (StreamHandle & { readonly fd: number }) | undefined {
  // What is queued here would be lost; then the bytes have to go on through this process.
  if (socket.writableLength > 0 || socket.writableEnded) return undefined;
  return handleOf(socket);
}

function giveAway(socket: Duplex, handle: StreamHandle & { readonly fd: number }, head: Uint8Array): HandOver {
  handle.readStop?.();
  handle.reading = false;
  socket.pause();
  const parts: Uint8Array[] = [head];
  for (let part: Buffer | null = socket.read(); part !== null; part = socket.read()) parts.push(part);
  handle.readStop?.();
  socket.on("error", () => undefined);
  // destroy() closes without shutdown(2): the connection lives on in the other process.
  return { fd: handle.fd, head: Buffer.concat(parts), release: () => socket.destroy() };
}

function joinPair(socket: Duplex, head: Uint8Array): HandOver {
  const [mine, theirs] = unixSocketPair();
  const near = new Socket({ fd: mine, readable: true, writable: true, allowHalfOpen: true });
  const far = new Socket({ fd: theirs });
  far.pause();
  near.on("error", () => socket.destroy());
  socket.on("error", () => near.destroy());
  socket.once("close", () => near.destroy());
  near.once("close", () => socket.end());
  socket.pipe(near);
  near.pipe(socket);
  return { fd: theirs, head: Buffer.from(head), release: () => far.destroy() };
}
