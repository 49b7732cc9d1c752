import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A frame of Docker's multiplexed stream. */
export function frame(stream: number, data: string | Buffer): Buffer {
  const payload = Buffer.from(data as string);
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

export interface FakeContainer {
  /** What the container does with its connection once it is started. */
  readonly onAttach: (socket: Socket, ended: (code: number) => void) => void;
  readonly startError?: string;
}

/** An engine on a socket of its own that knows one container and keeps what it was asked. */
export class FakeEngine implements AsyncDisposable {
  readonly requests: string[] = [];
  readonly folder = mkdtempSync(join(tmpdir(), "gantry-cli-"));
  readonly url = `unix://${this.folder}/engine.sock`;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly answers = new Map<string, (request: IncomingMessage, response: ServerResponse) => void>();
  #container: FakeContainer | undefined;
  #attached: Socket | undefined;
  #waiting: ServerResponse | undefined;

  constructor(container?: FakeContainer) {
    this.#container = container;
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("upgrade", (request, socket) => {
      this.requests.push(`${request.method} ${request.url}`);
      socket.on("error", () => {});
      socket.write(
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
      );
      this.#attached = socket as Socket;
      if (request.url?.includes("/exec/")) this.#begin();
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(`${this.folder}/engine.sock`, resolve));
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    rmSync(this.folder, { recursive: true, force: true });
  }

  #begin(): void {
    const socket = this.#attached;
    if (socket === undefined) return;
    this.#container?.onAttach(socket, (code) => {
      socket.end();
      this.#waiting?.end(JSON.stringify({ StatusCode: code }));
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push(`${request.method} ${request.url}`);
    const path = (request.url ?? "").replace(/^\/v[\d.]+/, "");
    response.setHeader("Content-Type", "application/json").setHeader("Api-Version", "1.51");
    request.resume();
    const own = this.answers.get(path.split("?")[0] ?? "");
    if (own !== undefined) own(request, response);
    else if (path.startsWith("/containers/create")) {
      response.statusCode = 201;
      response.end(JSON.stringify({ Id: "f".repeat(64), Warnings: [] }));
    } else if (path.endsWith("/start")) {
      const error = this.#container?.startError;
      response.statusCode = error === undefined ? 204 : 400;
      response.end(error === undefined ? undefined : JSON.stringify({ message: error }));
      if (error === undefined) this.#begin();
    } else if (path.includes("/wait")) {
      this.#waiting = response;
      response.flushHeaders();
    } else if (path.endsWith("/exec")) {
      response.end(JSON.stringify({ Id: "e1" }));
    } else if (path.startsWith("/exec/e1/json")) {
      response.end(JSON.stringify({ ExitCode: 7 }));
    } else if (path.includes("/kill") || path.includes("/resize")) {
      response.statusCode = 204;
      response.end();
    } else {
      response.statusCode = 404;
      response.end(JSON.stringify({ message: "page not found" }));
    }
  }
}
