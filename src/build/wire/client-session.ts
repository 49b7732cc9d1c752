import type { Duplex } from "node:stream";
import { GantryError } from "../../base/errors.ts";
import { sendFiles } from "../../buildkit/file-send.ts";
import { receiveFiles } from "../../buildkit/file-sync.ts";
import { create } from "../../buildkit/message.ts";
import { FILE_SYNC, FOLDER_SEND } from "../../buildkit/packet.ts";
import {
  AgentBytesSchema,
  BytesMessageSchema,
  CheckAgentRequestSchema,
  FILE_SEND,
  GetSecretRequestSchema,
  SECRETS,
  SESSION_METADATA,
  SSH_AGENT,
  UPLOAD,
} from "../../buildkit/session.ts";
import type { Caller } from "../../grpc/caller.ts";
import type { Metadata } from "../../grpc/metadata.ts";
import { GrpcError, STATUS, toGantryError } from "../../grpc/status.ts";
import type { Credentials } from "../../remote/credentials.ts";
import type { BuildSession, FileReceiver, SendFolderOptions, SessionContent, SyncRequest } from "../session.ts";
import type { SessionHello } from "../session-hello.ts";
import { connectionOf } from "./call-connection.ts";
import { credentialsOf } from "./client-credentials.ts";
import { FolderSource } from "./folder-source.ts";
import { ClientContent } from "./session-content.ts";

/** BuildKit's own limit of a secret. */
const SECRET_BYTES = 500 << 10;
/** Someone may have to type a passphrase at the client. */
const ASK_MS = 60_000;
/** Bytes of a message; clients take 4 MiB. */
const PIECE = 1 << 20;
/** More of them than headers may have room for. */
const PATTERN_BYTES = 700 << 10;
/** Of what is told of a result beside its bytes; what is longer, as provenance may be, comes with the answer anyway. */
const RESULT_HEADERS = 16 << 10;

/** A client that serves a session, seen through its calls. */
export class ClientSession implements BuildSession {
  readonly id: string;
  readonly sharedKey: string;
  readonly gone: AbortSignal;
  readonly #methods: ReadonlySet<string>;
  readonly #client: Caller;

  constructor(hello: SessionHello, client: Caller) {
    this.id = hello.id;
    this.sharedKey = hello.sharedKey;
    this.#methods = hello.methods;
    this.#client = client;
    this.gone = client.closed;
  }

  serves(method: string): boolean {
    return this.#methods.has(method.toLowerCase());
  }

  async sync(request: SyncRequest, receiver: FileReceiver, signal: AbortSignal): Promise<void> {
    this.#need(FILE_SYNC.path, "no local sources enabled");
    await translated(async () => {
      const call = this.#client.open(FILE_SYNC, { metadata: patternsOf(request), signal });
      await receiveFiles(call, receiver);
    });
  }

  async secret(id: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    if (!this.serves(SECRETS.getSecret.path)) return undefined;
    try {
      const request = create(GetSecretRequestSchema, { ID: id });
      const { data } = await this.#client.unary(SECRETS.getSecret, request, { signal, timeoutMs: ASK_MS });
      if (data.length > SECRET_BYTES) throw new GantryError("invalid", `invalid secret size ${data.length}`);
      return data;
    } catch (error) {
      if (hasStatus(error, STATUS.notFound, STATUS.unimplemented)) return undefined;
      throw toGantryError(error);
    }
  }

  async checkAgent(id: string, signal: AbortSignal): Promise<void> {
    if (!this.serves(SSH_AGENT.checkAgent.path)) throw noAgent(id);
    try {
      await this.#client.unary(SSH_AGENT.checkAgent, create(CheckAgentRequestSchema, { ID: id }), {
        signal,
        timeoutMs: ASK_MS,
      });
    } catch (error) {
      // The client has no status of its own for an agent that it doesn't forward.
      if (hasStatus(error, STATUS.unknown)) throw new GantryError("not-found", (error as GrpcError).message);
      if (hasStatus(error, STATUS.notFound, STATUS.unimplemented)) throw noAgent(id);
      throw toGantryError(error);
    }
  }

  async agent(id: string, signal: AbortSignal): Promise<Duplex> {
    this.#need(SSH_AGENT.forwardAgent.path, noAgent(id).message);
    return translated(async () => {
      const metadata = new Map([[SESSION_METADATA.agent, [id]]]);
      const call = this.#client.open(SSH_AGENT.forwardAgent, { metadata, signal });
      return connectionOf({
        messages: () => call.messages(),
        send: (data) => call.send(create(AgentBytesSchema, { data })),
        end: () => call.end(),
        close: () => call.cancel(),
      });
    });
  }

  credentials(registry: string, signal: AbortSignal): Promise<Credentials> {
    return credentialsOf(
      { client: this.#client, serves: (method) => this.serves(method), id: this.id },
      registry,
      signal,
    );
  }

  async sendFile(
    id: string,
    bytes: AsyncIterable<Uint8Array>,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<void> {
    this.#need(FILE_SEND.diffCopy.path, "the client takes no results");
    await translated(async () => {
      const metadata = new Map<string, string[]>([[SESSION_METADATA.exporter, [id]]]);
      let room = RESULT_HEADERS;
      for (const [name, value] of Object.entries(headers)) {
        const key = `${SESSION_METADATA.exporterHeader}${name.toLowerCase()}`;
        if (key.length + value.length > room) continue;
        room -= key.length + value.length;
        metadata.set(key, [value]);
      }
      const call = this.#client.open(FILE_SEND.diffCopy, { metadata, signal });
      try {
        for await (const piece of bytes) {
          for (let at = 0; at < piece.length; at += PIECE) {
            await call.send(create(BytesMessageSchema, { data: piece.subarray(at, at + PIECE) }));
          }
        }
        call.end();
        // Its end says that the client has written all of it.
        for await (const _message of call.messages());
      } finally {
        call.cancel();
      }
    });
  }

  async sendFolder(id: string, folder: string, signal: AbortSignal, options: SendFolderOptions = {}): Promise<void> {
    this.#need(FILE_SEND.diffCopy.path, "the client takes no results");
    await translated(async () => {
      using source = new FolderSource(folder, options);
      const call = this.#client.open(FOLDER_SEND, { metadata: new Map([[SESSION_METADATA.exporter, [id]]]), signal });
      try {
        await sendFiles(call, source);
      } finally {
        call.cancel();
      }
    });
  }

  content(store: string): SessionContent {
    return new ClientContent(this.#client, store);
  }

  /** The bytes that stand behind a URL of the host `buildkit-session`: an archive on the client's standard input. */
  async *upload(url: URL, signal: AbortSignal): AsyncIterable<Uint8Array> {
    this.#need(UPLOAD.pull.path, "the client uploads nothing");
    const metadata = new Map([
      [SESSION_METADATA.urlPath, [url.pathname]],
      [SESSION_METADATA.urlHost, [url.host]],
    ]);
    const call = this.#client.open(UPLOAD.pull, { metadata, signal });
    try {
      for await (const { data } of call.messages()) yield data;
    } catch (error) {
      throw toGantryError(error);
    } finally {
      call.cancel();
    }
  }

  /** Ends the connection. */
  close(): void {
    this.#client.close();
  }

  #need(method: string, otherwise: string): void {
    if (!this.serves(method)) throw new GantryError("invalid", otherwise);
  }
}

async function translated<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw error instanceof GrpcError ? toGantryError(error) : error;
  }
}

function hasStatus(error: unknown, ...codes: readonly number[]): boolean {
  return error instanceof GrpcError && codes.includes(error.code);
}

function noAgent(id: string): GantryError {
  return new GantryError("not-found", `no SSH key ${JSON.stringify(id)} forwarded from the client`);
}

/** What is asked of a folder, as metadata. Values that are not ASCII are escaped, all of a name or none. */
function patternsOf(request: SyncRequest): Metadata {
  const metadata = new Map<string, readonly string[]>([[SESSION_METADATA.dirName, escaped([request.name])]]);
  let bytes = 0;
  const add = (name: string, values: readonly string[]) => {
    if (values.length === 0) return;
    const isPlain = values.every(isAscii);
    const sent = isPlain ? values : values.map(queryEscape);
    for (const value of sent) bytes += value.length + 32;
    metadata.set(name, sent);
    if (!isPlain) metadata.set(`${name}${SESSION_METADATA.encoded}`, ["1"]);
  };
  if (!isAscii(request.name)) metadata.set(`${SESSION_METADATA.dirName}${SESSION_METADATA.encoded}`, ["1"]);
  add(SESSION_METADATA.include, request.include);
  add(SESSION_METADATA.exclude, request.exclude);
  add(SESSION_METADATA.followPaths, request.followPaths);
  if (bytes > PATTERN_BYTES) {
    throw new GantryError("invalid", `cannot ask for the folder ${request.name}: its patterns are too many`);
  }
  return metadata;
}

function escaped(values: readonly string[]): readonly string[] {
  return values.every(isAscii) ? values : values.map(queryEscape);
}

function isAscii(value: string): boolean {
  return /^[\x20-\x7e]*$/.test(value);
}

/** As Go's url.QueryEscape; a client takes it back. */
function queryEscape(value: string): string {
  return encodeURIComponent(value.toWellFormed()).replaceAll("%20", "+");
}
