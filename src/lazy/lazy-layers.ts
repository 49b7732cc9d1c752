import { closeSync, constants, existsSync, mkdirSync, openSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { throwIfAborted, untilAborted } from "../base/abort.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import type { Logger } from "../base/log.ts";
import { pause } from "../base/pause.ts";
import { detachMount, listMounts, MS, mount } from "../kernel/mount.ts";
import { parseDigest } from "../oci/digest-format.ts";
import type { Descriptor } from "../oci/image.ts";
import type { Credentials } from "../remote/credentials.ts";
import type { RemoteSettings } from "../remote/settings.ts";
import { ControlConnection } from "../runtime/control-connection.ts";
import { findHelper, type HelperPlace, startHelper } from "../runtime/helper-start.ts";
import { tocClaim } from "./claim.ts";
import { hasLower } from "./lower-layers.ts";
import {
  type FromKeeper,
  type HelloAnswer,
  LAZY_NAME,
  type LayerOrder,
  type ServedLayer,
  type ToKeeper,
} from "./protocol.ts";

/** FUSE_NOTIFY_RESEND: without it what a server that dies was asked is lost. */
const LEAST_KERNEL = [6, 9] as const;
const ANSWER_MS = 120_000;
/** A keeper that died is followed by another that its server starts. */
const SUCCESSION_MS = 5000;
const LOOK_MS = 50;
const RETRY_MS = 1000;
/** The lock of the mount, beside those of layers. */
const MOUNTING = "mount";

export interface LazyLayersOptions {
  readonly execRoot: string;
  readonly dataRoot: string;
  readonly nodePath: string;
  readonly script: string;
  readonly log: Logger;
  readonly isOn: () => boolean;
  readonly settings: () => RemoteSettings;
  readonly defaultDomain: () => string;
}

/** A layer to serve before it is whole. */
export interface WantedLayer {
  readonly chainId: string;
  /** As its manifest has it, annotations included. */
  readonly blob: Descriptor;
  /** The name of the repository that has it. */
  readonly reference: string;
  /** Undefined for those of an engine before this one, if they are still known. */
  readonly credentials: Credentials | undefined;
  /** Where the whole blob comes to lie, and where it grows. */
  readonly blobPath: string;
  readonly partialPath: string;
}

export interface LentLayer {
  readonly chainId: string;
  /** What it is read from. */
  readonly blob: Descriptor;
  /** Shows the layer's files, as overlayfs wants them. */
  readonly folder: string;
  /** Bytes of the files. */
  readonly size: number;
  /** The layer says itself how its root looks. */
  readonly hasRoot: boolean;
  readonly credentials: Credentials;
}

/**
 * The engine's side of the helper that serves the files of layers which aren't whole. The helper is started with the
 * first layer, outlives the engine, and ends with the last.
 */
export class LazyLayers {
  readonly #options: LazyLayersOptions;
  readonly #place: HelperPlace;
  readonly #lock = new KeyedLock();
  readonly #target: string;
  readonly #folders: string;
  readonly #pending = new Map<number, (answer: FromKeeper) => void>();
  /** What this engine knows to be served. */
  readonly #lent = new Map<string, LentLayer>();
  readonly #orders = new Map<string, LayerOrder>();
  readonly #movedListeners: ((layer: LentLayer) => void)[] = [];
  #connection: ControlConnection | undefined;
  #connecting: Promise<ControlConnection> | undefined;
  /** Layers that are about to be served. */
  #coming = 0;
  #ended: PromiseWithResolvers<void> | undefined;
  #number = 0;
  #fetched = 0;
  #isClosed = false;

  constructor(options: LazyLayersOptions) {
    const { dataRoot, execRoot, nodePath, script } = options;
    this.#options = options;
    this.#place = { name: LAZY_NAME, execRoot, nodePath, script };
    this.#target = join(execRoot, LAZY_NAME);
    this.#folders = join(dataRoot, LAZY_NAME);
  }

  /** Why layers aren't served here; undefined if they are. */
  get refusal(): string | undefined {
    return this.#options.isOn() ? lazyRefusal() : "lazy-pull is off";
  }

  /** Whether a layer says that it has a table of contents. */
  canServe(blob: Descriptor): boolean {
    return tocClaim(blob) !== undefined;
  }

  /** Called when a layer is served in another folder than before: what was mounted of the former one is lost. */
  onMoved(listener: (layer: LentLayer) => void): void {
    this.#movedListeners.push(listener);
  }

  /** Layers that are served for an engine before this one. Detaches the mount of a helper that is gone. */
  async adopt(): Promise<LentLayer[]> {
    const fd = findHelper(this.#place);
    if (fd === undefined) {
      await this.#detach();
      return [];
    }
    const connection = this.#serveBy(fd);
    const { served, isMounted } = await this.#hello(connection);
    if (!isMounted) await this.#detach();
    for (const layer of served) this.#lent.set(layer.id, this.#shown(layer));
    return [...this.#lent.values()];
  }

  /** Removes what is kept of layers that nobody serves. */
  async sweep(): Promise<void> {
    if (!existsSync(this.#folders)) return;
    const known = new Set([...this.#lent.keys()].map((id) => parseDigest(id).hex));
    for (const name of readdirSync(this.#folders)) {
      if (!known.has(name)) await rm(join(this.#folders, name), { recursive: true, force: true });
    }
  }

  /**
   * Serves a layer; what the engine reads of a root filesystem is there when this resolves. `unsupported` for a layer
   * whose table of contents is not to be believed, or a registry that knows no ranges; and for one that is served from
   * another blob or by another table: what a manifest says of a layer's content is known to be true of whole ones only,
   * so that nobody gets from one image what another says that the layer is.
   */
  async serve(wanted: WantedLayer, options: { readonly signal?: AbortSignal } = {}): Promise<LentLayer> {
    const { chainId } = wanted;
    throwIfAborted(options.signal);
    const order: LayerOrder = {
      id: chainId,
      blob: wanted.blob,
      reference: wanted.reference,
      credentials: wanted.credentials ?? { username: "", password: "", identityToken: "", registryToken: "" },
      settings: this.#options.settings(),
      defaultDomain: this.#options.defaultDomain(),
      folder: join(this.#folders, parseDigest(chainId).hex),
      blobPath: wanted.blobPath,
      partialPath: wanted.partialPath,
    };
    const serve = async (): Promise<LentLayer> => {
      const known = this.#lent.get(chainId);
      if (known === undefined) return await this.#serve(order);
      if (isSame(known.blob, wanted.blob)) {
        // Of one that an engine before this one had served: it may have to be served anew.
        if (!this.#orders.has(chainId)) this.#orders.set(chainId, { ...order, credentials: known.credentials });
        return known;
      }
      throw new GantryError("unsupported", `layer ${chainId} is served from another blob, ${known.blob.digest}`);
    };
    return await untilAborted(this.#lock.run(chainId, serve), options.signal);
  }

  /** Ends the service of a layer, whose files must not be mounted any more. The last one ends the helper. */
  async release(chainId: string): Promise<void> {
    await this.#lock.run(chainId, () => this.#release(chainId));
  }

  async #release(chainId: string): Promise<void> {
    this.#orders.delete(chainId);
    if (!this.#lent.delete(chainId)) return;
    if (this.#connection !== undefined) {
      await this.#ask({ op: "release", request: ++this.#number, id: chainId });
    }
    await rm(join(this.#folders, parseDigest(chainId).hex), { recursive: true, force: true });
    await this.#endIfIdle();
  }

  /** Whether a root filesystem that is mounted has the layer from the helper. */
  isMounted(chainId: string): boolean {
    const folder = this.#lent.get(chainId)?.folder;
    if (folder === undefined) return false;
    // Another engine's may have the same number.
    return listMounts(this.#options.execRoot).some((row) => hasLower(row, folder));
  }

  /** Resolves when nobody has waited for the network for so long, or after `mostMs`. */
  async quiet(quietMs: number, mostMs: number, signal: AbortSignal): Promise<void> {
    const begun = performance.now();
    for (;;) {
      throwIfAborted(signal);
      const now = performance.now();
      const left = Math.min(Math.max(this.#fetched, begun) + quietMs, begun + mostMs) - now;
      if (left <= 0) return;
      await pause(left, signal);
    }
  }

  /** Ends the helper and its mount. */
  async shutdown(): Promise<void> {
    await this.#lock.run(MOUNTING, () => this.#shutdown());
  }

  async #endIfIdle(): Promise<void> {
    await this.#lock.run(MOUNTING, async () => {
      if (this.#lent.size === 0 && this.#coming === 0 && !this.#isClosed) await this.#shutdown();
    });
  }

  async #shutdown(): Promise<void> {
    this.#lent.clear();
    this.#orders.clear();
    const fd = this.#connection === undefined ? findHelper(this.#place) : undefined;
    const connection = this.#connection ?? (fd === undefined ? undefined : this.#serveBy(fd));
    if (connection !== undefined) {
      this.#ended = Promise.withResolvers();
      connection.send({ op: "shutdown" } satisfies ToKeeper);
      const late = new AbortController();
      // The next helper is not to be mistaken for this one.
      await Promise.race([
        this.#ended.promise,
        after(SUCCESSION_MS, undefined, { signal: late.signal }).catch(() => {}),
      ]);
      late.abort();
    }
    await this.#detach();
  }

  /** Lets go of the helper, which goes on. */
  close(): void {
    this.#isClosed = true;
    this.#connection?.close();
  }

  async #serve(order: LayerOrder): Promise<LentLayer> {
    this.#coming++;
    try {
      await this.#lock.run(MOUNTING, () => this.#mount());
      const served = (await this.#ask({ op: "serve", request: ++this.#number, order })) as ServedLayer;
      const lent = this.#shown(served);
      this.#orders.set(order.id, order);
      this.#lent.set(order.id, lent);
      return lent;
    } finally {
      this.#coming--;
      // Refused, and nothing else is served.
      await this.#endIfIdle();
    }
  }

  /** Makes sure of the file system that has a folder for each layer. */
  async #mount(): Promise<void> {
    const connection = await this.#connected();
    const { isMounted } = await this.#hello(connection);
    if (isMounted) return;
    await this.#detach();
    mkdirSync(this.#target, { recursive: true, mode: 0o700 });
    const fd = openSync("/dev/fuse", constants.O_RDWR | constants.O_NONBLOCK);
    try {
      const options = `fd=${fd},rootmode=40700,user_id=0,group_id=0,allow_other,default_permissions`;
      mount("gantry-lazy", this.#target, "fuse.gantry", MS.RDONLY, options);
      await this.#ask({ op: "mounted", request: ++this.#number }, fd);
    } finally {
      closeSync(fd);
    }
  }

  async #detach(): Promise<void> {
    for (const { target } of listMounts(this.#target))
      if (target === this.#target) await detachMount(target).catch(() => {});
  }

  #shown({ blob, credentials, hasRoot, id, number, size }: ServedLayer): LentLayer {
    return { chainId: id, blob, folder: join(this.#target, String(number)), size, hasRoot, credentials };
  }

  async #hello(connection: ControlConnection): Promise<HelloAnswer> {
    return (await this.#askOf(connection, { op: "hello", request: ++this.#number, pid: process.pid })) as HelloAnswer;
  }

  async #ask(message: Exclude<ToKeeper, { op: "shutdown" }>, fd?: number): Promise<unknown> {
    return await this.#askOf(await this.#connected(), message, fd);
  }

  async #askOf(
    connection: ControlConnection,
    message: Exclude<ToKeeper, { op: "shutdown" }>,
    fd?: number,
  ): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<FromKeeper>();
    this.#pending.set(message.request, resolve);
    const late = (): void => reject(new GantryError("unavailable", "the lazy helper does not answer"));
    const timer = setTimeout(late, ANSWER_MS);
    connection.send(message, fd);
    try {
      const answer = await promise;
      if ("error" in answer) throw new GantryError(answer.error.kind, answer.error.message);
      return "value" in answer ? answer.value : undefined;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(message.request);
    }
  }

  async #connected(): Promise<ControlConnection> {
    if (this.#isClosed) throw new GantryError("unavailable", "the lazy helper was let go");
    if (this.#connection !== undefined) return this.#connection;
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return await this.#connecting;
  }

  async #connect(): Promise<ControlConnection> {
    const deadline = performance.now() + (this.#lent.size === 0 ? 0 : SUCCESSION_MS);
    for (;;) {
      const fd = findHelper(this.#place);
      if (fd !== undefined) return this.#serveBy(fd);
      if (performance.now() >= deadline) return this.#serveBy(await startHelper(this.#place));
      await after(LOOK_MS);
    }
  }

  #serveBy(fd: number): ControlConnection {
    const connection: ControlConnection = new ControlConnection(
      fd,
      (message) => this.#received(message as FromKeeper),
      () => this.#lost(connection),
    );
    this.#connection = connection;
    return connection;
  }

  #received(message: FromKeeper): void {
    if ("reply" in message) {
      this.#pending.get(message.reply)?.(message);
      return;
    }
    const { log } = this.#options;
    if (message.event === "fetched") this.#fetched = performance.now();
    else if (message.event === "restarted") log.warn("the process that serves layers had died: another goes on");
    else log.error(message.message, { layer: message.id });
  }

  #lost(connection: ControlConnection): void {
    for (const [request, resolve] of this.#pending) {
      resolve({ reply: request, error: { kind: "unavailable", message: "the lazy helper has gone" } });
    }
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#ended?.resolve();
    if (!this.#isClosed && this.#lent.size > 0) void this.#revive();
  }

  /** Finds the keeper that follows; of one without a mount, which knows nothing, all is asked again. */
  async #revive(): Promise<void> {
    const { log } = this.#options;
    log.warn("the lazy helper has gone: looking for the next");
    while (!this.#isClosed && this.#connection === undefined && this.#lent.size > 0) {
      try {
        const { served } = await this.#hello(await this.#connected());
        const known = new Set(served.map(({ id }) => id));
        for (const order of [...this.#orders.values()].filter(({ id }) => this.#lent.has(id) && !known.has(id))) {
          const lent = await this.#serve(order);
          for (const listener of this.#movedListeners) listener(lent);
        }
      } catch (error) {
        log.error("cannot go on serving layers", { error: messageOf(error) });
        await after(RETRY_MS);
      }
    }
  }
}

/** Whether two blobs show the same files, wherever they are fetched from. */
function isSame(one: Descriptor, other: Descriptor): boolean {
  return one.digest === other.digest && one.size === other.size && isDeepStrictEqual(tocClaim(one), tocClaim(other));
}

/** Why this machine can't serve layers that aren't whole; undefined if it can. */
export function lazyRefusal(kernel = release()): string | undefined {
  const [major = 0, minor = 0] = kernel.split(".").map((part) => Number.parseInt(part, 10));
  const [leastMajor, leastMinor] = LEAST_KERNEL;
  if (major < leastMajor || (major === leastMajor && minor < leastMinor)) {
    return `it needs Linux ${LEAST_KERNEL.join(".")}, and this is ${kernel}`;
  }
  return existsSync("/dev/fuse") ? undefined : "there is no /dev/fuse";
}
