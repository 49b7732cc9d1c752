import { closeSync, fstatSync } from "node:fs";
import { posix } from "node:path";
import type { Duplex } from "node:stream";
import { GantryError, hasCode, isKind, messageOf } from "../../base/errors.ts";
import { O_PATH, openInRoot } from "../../kernel/path.ts";
import type { StepMount } from "../../runtime/step.ts";
import { copyTree } from "../../snapshots/copy-tree.ts";
import type { ExecMount, ExecOperation, Vertex } from "../graph.ts";
import type { Root } from "../root.ts";
import type { BuildSession } from "../session.ts";
import type { CacheMounts, CacheWish, HeldCacheMount } from "./cache-mounts.ts";
import type { WritableCopies } from "./writable-copy.ts";

const CHECK_AGENT = "/moby.sshforward.v1.SSH/CheckAgent";
/** BuildKit's limit, and more than any key or token has. */
const MOST_SECRET_BYTES = 500 * 1024;

export interface MountPorts {
  readonly caches: CacheMounts;
  readonly copies: WritableCopies;
  /** An empty folder that nobody writes to. */
  readonly nothing: string;
}

/** What a step's mounts are made of, and for whom. */
export interface MountRequest {
  readonly operation: ExecOperation;
  readonly vertex: Vertex;
  readonly inputs: readonly (Root | undefined)[];
  readonly session: BuildSession | undefined;
  readonly signal: AbortSignal;
}

export interface OpenMounts {
  readonly mounts: readonly StepMount[];
  /** Variables that hold secrets. */
  readonly env: readonly string[];
}

/**
 * Has everything there that a step mounts: parts of roots, found by the kernel inside them; caches; secrets and agents
 * of the client's. `undo` lets go of all of it.
 */
export async function openMounts(
  ports: MountPorts,
  request: MountRequest,
  undo: AsyncDisposableStack,
): Promise<OpenMounts> {
  const { operation } = request;
  const mounts: StepMount[] = [];
  // What is refused is refused before anything is waited for.
  const env = await secretVariables(request);
  for (const mount of operation.mounts) {
    if (mount.type === "secret") mounts.push(...(await secretFile(mount, request)));
    else if (mount.type === "ssh") mounts.push(...(await agentSocket(mount, request, undo)));
    else if (mount.type === "tmpfs") mounts.push({ type: "tmpfs", target: mount.target, size: mount.size });
    else if (mount.type === "bind") mounts.push(await bound(ports, mount, request, undo));
  }
  mounts.push(...(await caches(ports, request, undo)));
  return { mounts, env };
}

type Of<T extends ExecMount["type"]> = Extract<ExecMount, { type: T }>;

async function bound(
  { copies, nothing }: MountPorts,
  mount: Of<"bind">,
  { operation, inputs, signal }: MountRequest,
  undo: AsyncDisposableStack,
): Promise<StepMount> {
  const root = mount.input < 0 ? undefined : inputs[mount.input];
  const whole = root === undefined ? nothing : undo.use(await root.open()).path;
  const found = openPart(whole, mount.source, undo);
  const isFolder = fstatSync(found).isDirectory();
  // What lies in another mount needs a mount point there, which the input must not get.
  const holdsOthers = isFolder && operation.mounts.some((other) => isBelow(other.target, mount.target));
  if (!mount.writable && !holdsOthers) {
    return { type: "bind", target: mount.target, source: found, readonly: true };
  }
  const readonly = !mount.writable;
  if (isFolder) {
    const copy = undo.use(await copies.make(`/proc/self/fd/${found}`, signal));
    return { type: "bind", target: mount.target, source: openPart(copy.path, "/", undo), readonly };
  }
  const copy = undo.use(await copies.make(whole, signal));
  return { type: "bind", target: mount.target, source: openPart(copy.path, mount.source, undo), readonly };
}

function isBelow(target: string, folder: string): boolean {
  const [below, above] = [posix.resolve("/", target), posix.resolve("/", folder)];
  return below.startsWith(above === "/" ? "/" : `${above}/`) && below !== above;
}

function openPart(root: string, source: string, undo: AsyncDisposableStack): number {
  let fd: number;
  try {
    fd = openInRoot(root, source, O_PATH);
  } catch (error) {
    if (!hasCode(error, "ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG")) throw error;
    throw new GantryError("invalid", `failed to calculate checksum of ref: ${JSON.stringify(source)}: not found`, {
      cause: error,
    });
  }
  undo.defer(() => closeSync(fd));
  return fd;
}

async function caches(
  { caches: all, nothing }: MountPorts,
  { operation, vertex, inputs, signal }: MountRequest,
  undo: AsyncDisposableStack,
): Promise<StepMount[]> {
  const wanted = operation.mounts.filter((mount) => mount.type === "cache");
  const wishes = wanted.map((mount) => ({ mount, wish: cacheWish(mount, operation, vertex) }));
  // In one order for all steps, so that two which wait for each other's can't be.
  const sorted = wishes.toSorted((a, b) => (orderOf(a.wish) < orderOf(b.wish) ? -1 : 1));
  const held = new Map<string, HeldCacheMount>();
  const mounts: StepMount[] = [];
  for (const { mount, wish } of sorted) {
    const key = orderOf(wish);
    let cache = held.get(key);
    if (cache === undefined) {
      const root = mount.input < 0 ? undefined : inputs[mount.input];
      const fill = mount.input < 0 ? undefined : (folder: number) => fillFrom(root, nothing, mount, folder, signal);
      cache = undo.use(await all.acquire(wish, fill, signal));
      held.set(key, cache);
    }
    const source = openPart(cache.path, "/", undo);
    mounts.push({ type: "bind", target: mount.target, source, readonly: mount.readonly });
  }
  return mounts;
}

function cacheWish(mount: Of<"cache">, operation: ExecOperation, vertex: Vertex): CacheWish {
  const { id, sharing, target, source, mode, uid, gid } = mount;
  const named = id === target ? "" : ` with id ${JSON.stringify(id)}`;
  return {
    ...{ id, sharing, mode, uid, gid },
    from: mount.input < 0 ? undefined : { vertex: vertex.inputs[mount.input] ?? "", source },
    description: `cached mount ${target} from exec ${operation.args.join(" ")}`.slice(0, 500) + named,
  };
}

function orderOf({ id, from, mode, uid, gid }: CacheWish): string {
  return JSON.stringify([id, from, mode, uid, gid]);
}

async function fillFrom(
  root: Root | undefined,
  nothing: string,
  { source }: Of<"cache">,
  folder: number,
  signal: AbortSignal,
): Promise<void> {
  await using undo = new AsyncDisposableStack();
  const whole = root === undefined ? nothing : undo.use(await root.open()).path;
  const from = openPart(whole, source, undo);
  if (!fstatSync(from).isDirectory()) {
    throw new GantryError("invalid", `cannot begin a cache mount with ${source}: it is not a directory`);
  }
  await copyTree(from, folder, { signal });
}

async function secretVariables({ operation, session, signal }: MountRequest): Promise<string[]> {
  const env: string[] = [];
  for (const { name, id, required } of operation.secretEnv) {
    const bytes = await secretOf(session, id, required, signal);
    // One that isn't given is empty, as with BuildKit.
    env.push(`${name}=${bytes === undefined ? "" : Buffer.from(bytes).toString("utf8")}`);
  }
  return env;
}

async function secretFile(mount: Of<"secret">, { session, signal }: MountRequest): Promise<StepMount[]> {
  const { target, id, required, mode, uid, gid } = mount;
  const bytes = await secretOf(session, id, required, signal);
  return bytes === undefined ? [] : [{ type: "file", target, bytes, mode, uid, gid }];
}

async function secretOf(
  session: BuildSession | undefined,
  id: string,
  required: boolean,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const bytes = await session?.secret(id, signal);
  if (bytes === undefined) {
    if (required) throw new GantryError("not-found", `secret ${id}: not found`);
    return undefined;
  }
  if (bytes.length > MOST_SECRET_BYTES) {
    throw new GantryError("invalid", `invalid secret ${id}: it is longer than ${MOST_SECRET_BYTES} bytes`);
  }
  return bytes;
}

async function agentSocket(
  mount: Of<"ssh">,
  { session, signal }: MountRequest,
  undo: AsyncDisposableStack,
): Promise<StepMount[]> {
  const { target, id, required, mode, uid, gid } = mount;
  try {
    if (session?.serves(CHECK_AGENT) !== true) {
      throw new GantryError("not-found", `no SSH key ${JSON.stringify(id)} forwarded from the client`);
    }
    await session.checkAgent(id, signal);
  } catch (error) {
    if (!required && !isKind(error, "cancelled")) return [];
    throw error;
  }
  const open = new Set<Duplex>();
  undo.defer(() => {
    for (const stream of open) stream.destroy();
  });
  const connected = (near: Duplex) => {
    open.add(near);
    near.once("close", () => open.delete(near));
    near.on("error", () => near.destroy());
    session.agent(id, signal).then(
      (far) => joinStreams(near, far),
      (error: unknown) => near.destroy(new Error(messageOf(error))),
    );
  };
  return [{ type: "socket", target, mode, uid, gid, connected }];
}

/** Each ends as the other does. */
function joinStreams(near: Duplex, far: Duplex): void {
  far.on("error", () => near.destroy());
  far.once("close", () => near.destroy());
  near.once("close", () => far.destroy());
  if (near.destroyed) {
    far.destroy();
    return;
  }
  near.pipe(far);
  far.pipe(near);
}
