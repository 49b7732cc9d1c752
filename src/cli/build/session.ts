import { createHash, randomBytes } from "node:crypto";
import { GantryError } from "../../base/errors.ts";
import { sendFiles } from "../../buildkit/file-send.ts";
import { receiveFiles } from "../../buildkit/file-sync.ts";
import { create } from "../../buildkit/message.ts";
import { FILE_SYNC, PACKET, type Packet } from "../../buildkit/packet.ts";
import {
  AgentBytesSchema,
  AUTH,
  CheckAgentResponseSchema,
  CONTENT,
  CredentialsResponseSchema,
  FILE_SEND,
  GetSecretResponseSchema,
  InfoResponseSchema,
  ReadContentResponseSchema,
  SECRETS,
  SESSION_HEADERS,
  SESSION_METADATA,
  SSH_AGENT,
  UPLOAD,
  UploadBytesSchema,
  type WriteContentRequest,
  type WriteContentResponse,
  WriteContentResponseSchema,
} from "../../buildkit/session.ts";
import { type EngineClient, EngineError } from "../../client/client.ts";
import { asDuplex } from "../../client/duplex.ts";
import type { ServerCall } from "../../grpc/answered-call.ts";
import type { Caller } from "../../grpc/caller.ts";
import { GrpcClient } from "../../grpc/client.ts";
import { addHealth } from "../../grpc/health.ts";
import { Link } from "../../grpc/link.ts";
import type { Metadata } from "../../grpc/metadata.ts";
import type { Method } from "../../grpc/method.ts";
import { GrpcServer } from "../../grpc/server.ts";
import { GrpcError, STATUS } from "../../grpc/status.ts";
import { keyOf } from "../credentials/address.ts";
import type { Credentials } from "../credentials/credentials.ts";
import type { Agents } from "./agents.ts";
import { type Folder, sourceOf } from "./folder.ts";
import type { Ingest, LayoutStore } from "./layout-store.ts";
import { FolderTarget, type Result, writeResult } from "./results.ts";
import type { Secrets } from "./secrets.ts";

/** What a build may ask of this machine; nothing else is given. */
export interface SessionOffer {
  /** By the names that the request has: `context`, `dockerfile`, a named context's. */
  readonly folders: ReadonlyMap<string, Folder>;
  readonly secrets: Secrets;
  readonly agents: Agents;
  readonly credentials: Credentials;
  /** By the numbers of the request's exporters. */
  readonly results: ReadonlyMap<string, Result>;
  /** OCI layouts by the names that the request has. */
  readonly stores: ReadonlyMap<string, LayoutStore>;
  /** What stands behind the URL of an uploaded context. */
  readonly upload: AsyncIterable<Uint8Array> | undefined;
  /** Builds of one folder have the same: what was sent before is compared with. */
  readonly sharedKey: string;
}

/** A session that the engine may call while it builds, and the way to ask it for builds. */
export interface OpenSession extends Disposable {
  readonly id: string;
  readonly control: Caller;
}

const PIECE = 1 << 20;

/** Serves a session on a connection that the engine calls back on, and that the build is asked for on. */
export async function openSession(client: EngineClient, offer: SessionOffer): Promise<OpenSession> {
  const id = randomBytes(16).toString("hex");
  const server = serverOf(offer);
  const headers = {
    [SESSION_HEADERS.id]: id,
    [SESSION_HEADERS.name]: "gantry",
    [SESSION_HEADERS.sharedKey]: offer.sharedKey,
    [SESSION_HEADERS.methods]: server.methods.join(", "),
  };
  try {
    const { head, socket } = await client.hijack("/gantry/build/link", { headers });
    const control = new Link(socket, { dialled: true, head, server });
    return { id, control, [Symbol.dispose]: () => control.close() };
  } catch (error) {
    if (!(error instanceof EngineError) || error.status !== 404) throw error;
    return openHttp2(client, { id, headers, server });
  }
}

/** As Docker's engines speak, and older ones of Gantry's: a connection for each of the two. */
async function openHttp2(
  client: EngineClient,
  {
    headers,
    id,
    server,
  }: { readonly id: string; readonly headers: Readonly<Record<string, string>>; readonly server: GrpcServer },
): Promise<OpenSession> {
  const socket = asDuplex(await client.hijack("/session", { protocol: "h2c", headers }));
  try {
    server.serve(socket);
    const control = new GrpcClient(asDuplex(await client.hijack("/grpc", { protocol: "h2c" })));
    const dispose = () => {
      control.close();
      socket.destroy();
    };
    return { id, control, [Symbol.dispose]: dispose };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** A name for a folder of this machine, which tells nothing of it. */
export function sharedKeyOf(folder: string, machine: string): string {
  return createHash("sha256").update(`${machine}\0${folder}`).digest("hex");
}

/** Bytes as they are: one path is packets for folders and bytes for files. */
const RAW = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Buffer): Uint8Array => bytes };

function serverOf(offer: SessionOffer): GrpcServer {
  const server = new GrpcServer();
  addHealth(server);
  server.stream(FILE_SYNC, (call) => sendFiles(call, requestedFolder(offer, call.metadata)));
  if (offer.results.size > 0) addResults(server, offer);
  if (!offer.secrets.isEmpty) {
    server.unary(SECRETS.getSecret, ({ ID }) => {
      const data = offer.secrets.get(ID);
      if (data === undefined) throw new GrpcError(STATUS.notFound, `secret ${ID} not found`);
      return create(GetSecretResponseSchema, { data });
    });
  }
  // Also of none: who asks for one is told which isn't there, as by buildx.
  addAgents(server, offer.agents);
  server.unary(AUTH.credentials, async ({ Host }) => {
    const auth = await offer.credentials.get(keyOf(Host));
    if (auth === undefined) return create(CredentialsResponseSchema);
    if (auth.identitytoken !== "") return create(CredentialsResponseSchema, { Secret: auth.identitytoken });
    return create(CredentialsResponseSchema, { Username: auth.username, Secret: auth.password });
  });
  if (offer.stores.size > 0) addStores(server, offer.stores);
  const { upload } = offer;
  if (upload !== undefined) {
    server.stream(UPLOAD.pull, async (call) => {
      for await (const bytes of upload) {
        for (let at = 0; at < bytes.length; at += PIECE) {
          await call.send(create(UploadBytesSchema, { data: bytes.subarray(at, at + PIECE) }));
        }
      }
    });
  }
  return server;
}

function requestedFolder(offer: SessionOffer, metadata: Metadata) {
  const name = metadata.get(SESSION_METADATA.dirName)?.[0] ?? "";
  const folder = offer.folders.get(name);
  if (folder === undefined) throw new GrpcError(STATUS.notFound, `no access allowed to dir ${JSON.stringify(name)}`);
  return sourceOf(folder, {
    include: listed(metadata, SESSION_METADATA.include),
    exclude: listed(metadata, SESSION_METADATA.exclude),
    followPaths: listed(metadata, SESSION_METADATA.followPaths),
  });
}

/** Values that are no plain ASCII come escaped as in a query. */
function listed(metadata: Metadata, name: string): readonly string[] {
  const values = metadata.get(name) ?? [];
  if (metadata.get(`${name}${SESSION_METADATA.encoded}`)?.[0] !== "1") return values;
  return values.map((value) => decodeURIComponent(value.replaceAll("+", "%20")));
}

function addResults(server: GrpcServer, { results }: SessionOffer): void {
  const method: Method<Uint8Array, Uint8Array> = { path: FILE_SEND.diffCopy.path, request: RAW, response: RAW };
  server.stream(method, async (call) => {
    const id = call.metadata.get(SESSION_METADATA.exporter)?.[0] ?? "0";
    const result = results.get(id) ?? (results.size === 1 ? [...results.values()][0] : undefined);
    if (result === undefined) throw new GrpcError(STATUS.notFound, `no result ${id} is awaited`);
    if (result.type === "folder") {
      await receiveFiles(packets(call), new FolderTarget(result.path));
    } else if (result.type === "file") {
      await writeResult(result.path, pieces(call));
    } else {
      await toStdout(pieces(call));
    }
  });
}

function packets(call: ServerCall<Uint8Array, Uint8Array>) {
  return {
    send: (packet: Packet) => call.send(PACKET.encode(packet)),
    async *batches() {
      for await (const batch of call.batches()) yield batch.map((bytes) => PACKET.decode(bytes as Buffer));
    },
  };
}

async function* pieces(call: ServerCall<Uint8Array, Uint8Array>): AsyncGenerator<Uint8Array> {
  const { decode } = FILE_SEND.diffCopy.request;
  for await (const bytes of call.messages()) yield decode(bytes as Buffer).data;
}

async function toStdout(bytes: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const piece of bytes) {
    if (!process.stdout.write(piece)) await new Promise<void>((resolve) => process.stdout.once("drain", resolve));
  }
}

function addAgents(server: GrpcServer, agents: Agents): void {
  server.unary(SSH_AGENT.checkAgent, ({ ID }) => {
    if (!agents.has(ID || "default")) throw new GrpcError(STATUS.unknown, `unset ssh forward key ${ID || "default"}`);
    return create(CheckAgentResponseSchema);
  });
  server.stream(SSH_AGENT.forwardAgent, async (call) => {
    const socket = await agents.connect(call.metadata.get(SESSION_METADATA.agent)?.[0] || "default");
    try {
      const toEngine = (async () => {
        for await (const { data } of call.messages()) socket.write(data);
        socket.end();
      })();
      // An agent that hangs up ends the call, whoever still talks to it.
      toEngine.catch(() => socket.destroy());
      for await (const data of socket) await call.send(create(AgentBytesSchema, { data: data as Buffer }));
    } finally {
      socket.destroy();
    }
  });
}

function addStores(server: GrpcServer, stores: ReadonlyMap<string, LayoutStore>): void {
  const storeOf = (metadata: Metadata): LayoutStore => {
    const name = metadata.get(SESSION_METADATA.store)?.[0] ?? "";
    const store = stores.get(name);
    if (store === undefined) throw new GrpcError(STATUS.notFound, `unknown store ${name}`);
    return store;
  };
  server.unary(CONTENT.info, ({ digest }, call) => {
    const size = translated(() => storeOf(call.metadata).size(digest));
    return create(InfoResponseSchema, { info: { digest, size: BigInt(size) } });
  });
  server.serverStream(CONTENT.read, async ({ digest, offset, size }, call) => {
    let at = offset;
    const store = storeOf(call.metadata);
    translated(() => store.size(digest));
    for await (const data of store.read(digest, Number(offset), Number(size))) {
      await call.send(create(ReadContentResponseSchema, { offset: at, data }));
      at += BigInt(data.length);
    }
  });
  server.stream(CONTENT.write, (call) => writeBlob(storeOf(call.metadata), call));
}

const ACTION = { stat: 0, write: 1, commit: 2 } as const;

/** One blob, asked for and written in turns. */
async function writeBlob(
  store: LayoutStore,
  call: ServerCall<WriteContentRequest, WriteContentResponse>,
): Promise<void> {
  let ingest: Ingest | undefined;
  let isWhole = false;
  try {
    for await (const { action, expected, data } of call.messages()) {
      if (ingest === undefined) {
        const digest = expected;
        if (hasBlob(store, digest)) throw new GrpcError(STATUS.alreadyExists, `content ${digest}: already exists`);
        ingest = translated(() => store.ingest(digest));
      }
      if (data.length > 0) await ingest.write(data);
      if (action === ACTION.commit) {
        await ingest.commit();
        isWhole = true;
      }
      await call.send(create(WriteContentResponseSchema, { action, offset: BigInt(ingest.offset) }));
    }
  } finally {
    if (!isWhole) ingest?.abort();
  }
}

function hasBlob(store: LayoutStore, digest: string): boolean {
  try {
    store.size(digest);
    return true;
  } catch {
    return false;
  }
}

function translated<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof GantryError && error.kind === "not-found") throw new GrpcError(STATUS.notFound, error.message);
    throw error;
  }
}
