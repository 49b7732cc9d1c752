import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Caller } from "./caller.ts";
import { type ClientOptions, GrpcClient } from "./client.ts";
import { Link } from "./link.ts";
import type { Method } from "./method.ts";
import { GrpcServer, type ServerOptions } from "./server.ts";

/** Messages that are their own bytes. */
export function bytesMethod(path: string): Method<Uint8Array, Uint8Array> {
  const codec = { encode: (value: Uint8Array) => value, decode: (bytes: Buffer) => new Uint8Array(bytes) };
  return { path, request: codec, response: codec };
}

export const text = (value: string): Uint8Array => new TextEncoder().encode(value);
export const asText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Two ends of a unix socket's connection: the one that dialled and the one that accepted. */
export async function socketPair(): Promise<{ readonly dialled: Socket; readonly accepted: Socket }> {
  const folder = mkdtempSync(join(tmpdir(), "gantry-grpc-"));
  const server = createServer();
  try {
    const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
    await new Promise<void>((resolve) => server.listen(join(folder, "s"), resolve));
    const dialled = connect(join(folder, "s"));
    await new Promise((resolve) => dialled.once("connect", resolve));
    return { dialled, accepted: await accepted };
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface Pair extends Disposable {
  readonly client: Caller;
  readonly server: GrpcServer;
  readonly clientSocket: Socket;
  readonly serverSocket: Socket;
}

export type Transport = "http2" | "link";

function connectPair(
  over: Transport,
  server: GrpcServer,
  clientSocket: Socket,
  serverSocket: Socket,
  options: { readonly client?: ClientOptions; readonly server?: ServerOptions },
): Caller {
  if (over === "http2") {
    server.serve(serverSocket);
    return new GrpcClient(clientSocket, options.client);
  }
  new Link(serverSocket, { ...options.server, dialled: false, server });
  return new Link(clientSocket, { ...options.client, dialled: true, server: new GrpcServer() });
}

/** A client and a server; reversed, the side that dialled is the one that is called. */
export async function grpcPair(
  add: (server: GrpcServer) => void,
  options: {
    readonly over?: Transport;
    readonly reversed?: boolean;
    readonly client?: ClientOptions;
    readonly server?: ServerOptions;
  } = {},
): Promise<Pair> {
  const { dialled, accepted } = await socketPair();
  const server = new GrpcServer(options.server);
  add(server);
  const [clientSocket, serverSocket] = options.reversed === true ? [accepted, dialled] : [dialled, accepted];
  const client = connectPair(options.over ?? "http2", server, clientSocket, serverSocket, options);
  return {
    client,
    server,
    clientSocket,
    serverSocket,
    [Symbol.dispose]: () => {
      client.close();
      serverSocket.destroy();
    },
  };
}
