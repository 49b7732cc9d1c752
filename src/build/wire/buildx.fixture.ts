import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import type { Duplex } from "node:stream";
import {
  type BuildHistoryEvent,
  BuildHistoryRequestSchema,
  CONTROL,
  ListWorkersRequestSchema,
  SolveRequestSchema,
  StatusRequestSchema,
  type StatusResponse,
  type WorkerRecord,
} from "../../buildkit/control.ts";
import { sendFiles } from "../../buildkit/file-send.ts";
import { receiveFiles, type SyncTarget } from "../../buildkit/file-sync.ts";
import {
  BRIDGE,
  type ExecMessage,
  SolveRequestSchema as FrontendRequestSchema,
  PingRequestSchema,
  type Result,
  ReturnRequestSchema,
} from "../../buildkit/gateway.ts";
import { create } from "../../buildkit/message.ts";
import { FILE_SYNC, PACKET, type Stat } from "../../buildkit/packet.ts";
import {
  AgentBytesSchema,
  AUTH,
  BUILD_ID,
  CheckAgentResponseSchema,
  CredentialsResponseSchema,
  FetchTokenResponseSchema,
  FILE_SEND,
  GetSecretResponseSchema,
  GetTokenAuthorityResponseSchema,
  SECRETS,
  SESSION_HEADERS,
  SESSION_METADATA,
  SSH_AGENT,
  UPLOAD,
  UploadBytesSchema,
  VerifyTokenAuthorityResponseSchema,
} from "../../buildkit/session.ts";
import type { ClientCall } from "../../grpc/caller.ts";
import { GrpcClient } from "../../grpc/client.ts";
import { addHealth } from "../../grpc/health.ts";
import type { Method } from "../../grpc/method.ts";
import { GrpcServer } from "../../grpc/server.ts";
import { GrpcError, STATUS, toGrpcError } from "../../grpc/status.ts";

/** Files by their paths; undefined is a folder. */
export type Files = Readonly<Record<string, string | undefined>>;

/** What the client gives to its builds. */
export interface Offer {
  readonly folders?: Readonly<Record<string, Files>>;
  readonly secrets?: Readonly<Record<string, string>>;
  readonly credentials?: { readonly username: string; readonly password: string };
  /** Fetches tokens for registries; undefined is a client that was told not to. */
  readonly tokens?: ((wish: { Host: string; Realm: string; Service: string; Scopes: string[] }) => string) | undefined;
  /** By which it shows that tokens are its own; else it has keys of its own. */
  readonly tokenKeys?: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  /** False: the keys are somebody else's. */
  readonly canSign?: boolean;
  /** Answers what an agent is sent. */
  readonly agent?: (asked: Uint8Array) => Uint8Array;
  readonly upload?: Uint8Array;
}

export interface Asked {
  readonly options?: Readonly<Record<string, string>>;
  readonly exporters?: readonly { readonly type: string; readonly attributes?: Readonly<Record<string, string>> }[];
  readonly entitlements?: readonly string[];
  readonly signal?: AbortSignal;
  readonly isInternal?: boolean;
}

/** What a client can do while its build runs. */
export interface Part {
  call<I, O>(method: Method<I, O>, request: I): Promise<O>;
  exec(): ClientCall<ExecMessage, ExecMessage>;
}

export interface Outcome {
  readonly response: Readonly<Record<string, string>>;
  readonly statuses: readonly StatusResponse[];
  /** Of a question that was asked instead. */
  readonly answer: Readonly<Record<string, Uint8Array>>;
}

/** Upgrades a request of the engine's to HTTP/2. */
export type Dial = (path: string, headers: Readonly<Record<string, string>>) => Promise<Duplex>;

/**
 * Builds as `docker buildx build` does with its docker driver (0.12 to 0.36): the same calls with the same fields in the
 * same order. It asks for the workers; opens a session; then, at once, asks for a build without a frontend, follows its
 * status, and takes part in it: it asks what the engine can do, for the result of `dockerfile.v0`, and returns that.
 */
export class Buildx implements AsyncDisposable {
  /** Files that came for each exporter's number, and what was told of them. */
  readonly received = new Map<string, Map<string, string>>();
  readonly headers = new Map<string, string>();

  readonly #dial: Dial;
  readonly #offer: Offer;
  #control: Promise<GrpcClient> | undefined;

  constructor(dial: Dial, offer: Offer = {}) {
    this.#dial = dial;
    this.#offer = offer;
  }

  async workers(): Promise<readonly WorkerRecord[]> {
    const control = await this.control();
    return (await control.unary(CONTROL.listWorkers, create(ListWorkersRequestSchema))).record;
  }

  /** Builds as the old and the new one do: one result, which is returned. */
  async build(asked: Asked = {}): Promise<Outcome> {
    let answer: Outcome["answer"] = {};
    const outcome = await this.takePart(asked, async ({ call }) => {
      const { result } = await call(
        BRIDGE.solve,
        create(FrontendRequestSchema, {
          Frontend: "dockerfile.v0",
          FrontendOpt: { ...asked.options },
          allowResultReturn: true,
          allowResultArrayRef: true,
        }),
      );
      answer = result?.metadata ?? {};
      return result;
    });
    return { ...outcome, answer };
  }

  /** Takes part in a build of its own as `act` says, and returns what that does. */
  async takePart(
    { entitlements = [], exporters = [], isInternal = false, options = {}, signal }: Asked,
    act: (part: Part) => Promise<Result | undefined>,
  ): Promise<Omit<Outcome, "answer">> {
    const control = await this.control();
    await this.workers();
    const ref = randomBytes(13).toString("hex").slice(0, 25);
    const session = await this.#session();
    const metadata = new Map([[BUILD_ID, [ref]]]);
    const calls = { metadata, ...(signal && { signal }) };
    const statuses: StatusResponse[] = [];
    const [first] = exporters;
    const solving = control.unary(
      CONTROL.solve,
      create(SolveRequestSchema, {
        Ref: ref,
        Session: session.id,
        FrontendAttrs: { ...options },
        ExporterDeprecated: first?.type ?? "",
        ExporterAttrsDeprecated: { ...first?.attributes },
        Exporters: exporters.map(({ attributes, type }) => ({ Type: type, Attrs: { ...attributes } })),
        Cache: {},
        Internal: isInternal,
        Entitlements: [...entitlements],
      }),
      signal && { signal },
    );
    const following = (async () => {
      for await (const one of control.serverStream(CONTROL.status, create(StatusRequestSchema, { Ref: ref }))) {
        statuses.push(one);
      }
    })();
    const taking = (async () => {
      const { LLBCaps } = await control.unary(BRIDGE.ping, create(PingRequestSchema), calls);
      if (LLBCaps.length === 0) throw new Error("the engine tells of no capabilities");
      try {
        const result = await act({
          call: (method, request) => control.unary(method, request, calls),
          exec: () => control.open(BRIDGE.execProcess, calls),
        });
        await control.unary(BRIDGE.return, create(ReturnRequestSchema, { ...(result && { result }) }), calls);
      } catch (thrown) {
        const { code, details, message } = toGrpcError(thrown);
        const error = { code, message, details: details.map((one) => ({ ...one })) };
        await control.unary(BRIDGE.return, create(ReturnRequestSchema, { error }), { metadata });
      }
    })();
    try {
      const { ExporterResponse } = await solving;
      await taking;
      return { response: ExporterResponse, statuses };
    } finally {
      session.close();
      await Promise.allSettled([taking, following]);
    }
  }

  async history(ref = ""): Promise<readonly BuildHistoryEvent[]> {
    const control = await this.control();
    const request = create(BuildHistoryRequestSchema, { Ref: ref, EarlyExit: true });
    const events: BuildHistoryEvent[] = [];
    for await (const event of control.serverStream(CONTROL.listenBuildHistory, request)) events.push(event);
    return events;
  }

  control(): Promise<GrpcClient> {
    this.#control ??= this.#dial("/grpc", {}).then((socket) => new GrpcClient(socket));
    return this.#control;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    (await this.#control)?.close();
  }

  async #session(): Promise<{ readonly id: string; readonly close: () => void }> {
    const id = randomBytes(13).toString("hex").slice(0, 25);
    const server = this.#server();
    const socket = await this.#dial("/session", {
      [SESSION_HEADERS.id]: id,
      [SESSION_HEADERS.name]: "",
      [SESSION_HEADERS.sharedKey]: "key",
      [SESSION_HEADERS.methods]: server.methods.join(", "),
    });
    server.serve(socket);
    return { id, close: () => void socket.destroy() };
  }

  #server(): GrpcServer {
    const server = new GrpcServer();
    addHealth(server);
    this.#addFolders(server);
    this.#addResults(server);
    this.#addProofs(server);
    this.#addAids(server);
    return server;
  }

  #addFolders(server: GrpcServer): void {
    const { folders = {} } = this.#offer;
    server.stream(FILE_SYNC, async (call) => {
      const name = call.metadata.get(SESSION_METADATA.dirName)?.[0] ?? "";
      const files = folders[name];
      if (files === undefined) throw new GrpcError(STATUS.notFound, `no access allowed to dir ${JSON.stringify(name)}`);
      await sendFiles(call, {
        files: () => Object.entries(files).map(([path, text]) => statOf(path, text)),
        open: async function* (this: void, path: string) {
          yield Buffer.from(files[path]!);
        },
      });
    });
  }

  /** Takes what is made. */
  #addResults(server: GrpcServer): void {
    // One method takes packets for folders, and pieces for files.
    const raw = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Buffer): Uint8Array => bytes };
    server.stream({ path: FILE_SEND.diffCopy.path, request: raw, response: raw }, async (call) => {
      const id = call.metadata.get(SESSION_METADATA.exporter)?.[0] ?? "";
      for (const [name, values] of call.metadata) {
        if (name.startsWith(SESSION_METADATA.exporterHeader)) this.headers.set(name, values.join(","));
      }
      const had = this.received.get(id) ?? new Map<string, string>();
      this.received.set(id, had);
      if (this.isFile) {
        for await (const bytes of call.messages()) {
          const { data } = FILE_SEND.diffCopy.request.decode(bytes as Buffer);
          had.set("", (had.get("") ?? "") + Buffer.from(data).toString("latin1"));
        }
        return;
      }
      await receiveFiles(
        {
          send: (packet) => call.send(PACKET.encode(packet)),
          async *batches() {
            for await (const batch of call.batches()) yield batch.map((bytes) => PACKET.decode(bytes as Buffer));
          },
        },
        into(had),
      );
    });
  }

  /** How it proves itself to registries. */
  #addProofs(server: GrpcServer): void {
    const { credentials } = this.#offer;
    if (credentials !== undefined) {
      const { password, username } = credentials;
      server.unary(AUTH.credentials, () => create(CredentialsResponseSchema, { Username: username, Secret: password }));
    }
    if ("tokens" in this.#offer) {
      const { canSign = true, tokenKeys: keys = generateKeyPairSync("ed25519"), tokens } = this.#offer;
      server.unary(AUTH.getTokenAuthority, () => {
        if (tokens === undefined) throw new GrpcError(STATUS.unavailable, "client side tokens disabled");
        return create(GetTokenAuthorityResponseSchema, { PublicKey: rawKey(keys.publicKey) });
      });
      server.unary(AUTH.verifyTokenAuthority, ({ Payload }) => {
        const signature = canSign ? sign(null, Payload, keys.privateKey) : Buffer.alloc(64);
        return create(VerifyTokenAuthorityResponseSchema, { Signed: Buffer.concat([signature, Payload]) });
      });
      server.unary(AUTH.fetchToken, (wish) =>
        create(FetchTokenResponseSchema, { Token: tokens!(wish), ExpiresIn: 300n }),
      );
    }
  }

  /** What steps may ask for. */
  #addAids(server: GrpcServer): void {
    const { agent, secrets, upload } = this.#offer;
    if (secrets !== undefined) {
      server.unary(SECRETS.getSecret, ({ ID }) => {
        const value = secrets[ID];
        if (value === undefined) throw new GrpcError(STATUS.notFound, `secret ${ID}: not found`);
        return create(GetSecretResponseSchema, { data: Buffer.from(value) });
      });
    }
    if (agent !== undefined) {
      server.unary(SSH_AGENT.checkAgent, ({ ID }) => {
        if (ID !== "default") throw new GrpcError(STATUS.unknown, `unset ssh forward key ${ID}`);
        return create(CheckAgentResponseSchema);
      });
      server.stream(SSH_AGENT.forwardAgent, async (call) => {
        for await (const { data } of call.messages()) await call.send(create(AgentBytesSchema, { data: agent(data) }));
      });
    }
    if (upload !== undefined) {
      server.stream(UPLOAD.pull, async (call) => {
        await call.send(create(UploadBytesSchema, { data: upload }));
      });
    }
  }

  /** What comes is one file, not a folder. */
  isFile = false;
}

/** Without what says of which kind it is. */
function rawKey(key: KeyObject): Uint8Array {
  return key.export({ format: "der", type: "spki" }).subarray(-32);
}

function statOf(path: string, text: string | undefined): Stat {
  return {
    path,
    mode: text === undefined ? 0x8000_01ed : 0o644,
    uid: 0,
    gid: 0,
    size: text === undefined ? 0 : Buffer.byteLength(text),
    modTime: 1_700_000_000_000_000_000n,
    linkname: "",
    devmajor: 0,
    devminor: 0,
    xattrs: new Map(),
  };
}

function into(had: Map<string, string>): SyncTarget {
  return {
    file: ({ linkname, mode, path }) => {
      if (mode < 0x1_0000 && linkname === "") return true;
      had.set(path, "");
      return false;
    },
    contents: async ({ path }, bytes) => {
      let text = "";
      for await (const piece of bytes) text += Buffer.from(piece).toString("latin1");
      had.set(path, text);
    },
    end: async () => {},
  };
}
