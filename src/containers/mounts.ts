import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { HostConfig, MountPoint } from "../api/container.ts";
import type { Volume } from "../api/volume.ts";
import { GantryError, isKind, messageOf } from "../base/errors.ts";
import type { ResolvedImage } from "../images/image.ts";
import type { VolumeStore } from "../volumes/volume.ts";
import { anonymousWish, type MountWish, parseBind, parseMount, parseVolumesFrom, tmpfsWish } from "./mount-spec.ts";
import type { ResolvedMount } from "./record.ts";

const KEPT_FLAGS = new Set(["nosuid", "nodev", "noexec"]);

export interface MountInput {
  readonly hostConfig: HostConfig;
  /** Destinations of the image's and the user's anonymous volumes. */
  readonly anonymous: readonly string[];
  /** Mounts of the container that a `--volumes-from` names; refuses one that isn't there. */
  readonly mountsOf: (container: string) => readonly ResolvedMount[];
  /** The engine's own folder: who mounts it sees what is mounted in there come and go. */
  readonly dataRoot: string;
  /** A read-only `-v` leaves what is mounted below its source as it is. */
  readonly shallowReadonly?: boolean;
}

/** What is to be mounted where, checked as far as nothing needs to be made or asked for that. */
export interface MountPlan {
  readonly inherited: readonly ResolvedMount[];
  readonly wishes: readonly MountWish[];
}

/** Reads `-v`, `--mount`, `--tmpfs`, `--volumes-from` and what the image declares. Throws `invalid`. */
export function planMounts(input: MountInput): MountPlan {
  const { hostConfig, dataRoot } = input;
  const inherited = new Map<string, ResolvedMount>();
  for (const from of hostConfig.VolumesFrom ?? []) {
    const { container, readonly } = parseVolumesFrom(from);
    for (const mount of input.mountsOf(container)) {
      if (mount.type !== "tmpfs") inherited.set(mount.destination, inheritedMount(mount, readonly));
    }
  }
  const wishes = new Map<string, MountWish>();
  const add = (wish: MountWish, shown: string) => {
    if (wishes.has(wish.destination)) throw new GantryError("invalid", `Duplicate mount point: ${shown}`);
    wishes.set(wish.destination, aroundData(wish, dataRoot));
    inherited.delete(wish.destination);
  };
  const driver = hostConfig.VolumeDriver ?? "";
  for (const bind of hostConfig.Binds ?? []) {
    const wish = parseBind(bind, driver);
    const isShallow = input.shallowReadonly === true && wish.type === "bind" && wish.readonly;
    add(isShallow ? { ...wish, shallowReadonly: true } : wish, wish.destination);
  }
  for (const mount of hostConfig.Mounts ?? []) {
    const wish = parseMount(mount);
    add(wish, wish.target);
  }
  for (const [target, options] of Object.entries(hostConfig.Tmpfs ?? {})) {
    const wish = tmpfsWish(target, options);
    add(wish, wish.destination);
  }
  for (const path of input.anonymous) {
    const wish = anonymousWish(path, driver);
    if (!wishes.has(wish.destination) && !inherited.has(wish.destination)) wishes.set(wish.destination, wish);
  }
  return { inherited: [...inherited.values()], wishes: [...wishes.values()] };
}

/** It keeps the propagation of the other container's, but not the words that were written for it. */
function inheritedMount(mount: ResolvedMount, readonly: boolean): ResolvedMount {
  return { ...mount, readonly: mount.readonly || readonly, mode: "", anonymous: false, options: withNoCopy(mount) };
}

function withNoCopy({ type, options }: ResolvedMount): readonly string[] {
  return type !== "volume" || options.includes("nocopy") ? options : ["nocopy", ...options];
}

/** A private copy of the engine's own mounts would hold on to them for as long as the container lives. */
function aroundData(wish: MountWish, dataRoot: string): MountWish {
  if (wish.type !== "bind" || !(isWithin(wish.source, dataRoot) || isWithin(dataRoot, wish.source))) return wish;
  if (wish.usualPropagation) return { ...wish, propagation: "rslave" };
  if (wish.propagation === "rslave" || wish.propagation === "rshared") return wish;
  const quoted = [dataRoot, wish.source, wish.propagation].map((each) => JSON.stringify(each));
  throw new GantryError(
    "invalid",
    `invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root, daemon root: ${quoted[0]}, bind mount source: ${quoted[1]}, propagation: ${quoted[2]}`,
  );
}

function isWithin(path: string, folder: string): boolean {
  return folder === "/" || path === folder || path.startsWith(`${folder}/`);
}

/** What has to be asked of others before the mounts can be settled, by destination. */
export interface PreparedMounts {
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly images: ReadonlyMap<string, ResolvedImage>;
}

/** Has plugins make their volumes, and finds the images. */
export async function prepareMounts(
  { wishes }: MountPlan,
  volumes: Pick<VolumeStore, "prepare">,
  imageOf: (nameOrId: string) => Promise<ResolvedImage>,
): Promise<PreparedMounts> {
  const prepared = { volumes: new Map<string, Volume>(), images: new Map<string, ResolvedImage>() };
  for (const { type, source, destination } of wishes) {
    if (type === "image") prepared.images.set(destination, await imageOf(source).catch(refuseOther));
  }
  for (const { volume, destination } of wishes) {
    const made = volume && (await volumes.prepare(volume).catch(refuseOther));
    if (made !== undefined) prepared.volumes.set(destination, made);
  }
  return prepared;
}

/** That something else isn't there would have clients pull the image that the container is made of. */
function refuseOther(error: unknown): never {
  throw isKind(error, "not-found") ? new GantryError("invalid", messageOf(error)) : error;
}

export interface SettleInput {
  readonly plan: MountPlan;
  readonly prepared: PreparedMounts;
  readonly volumes: Pick<VolumeStore, "get" | "create" | "remove" | "isAnonymous">;
  /** Where an image is mounted for the container. */
  readonly imageFolder: (destination: string) => string;
}

/**
 * Settles where each mount point's content comes from: makes the volumes of the `local` driver, and the folders that
 * `-v` asks for. A refusal takes back the volumes it made.
 */
export function settleMounts(input: SettleInput): ResolvedMount[] {
  const made: string[] = [];
  try {
    const settled = input.plan.wishes.map((wish) => settle(wish, input, made));
    // A mount must come before those below it.
    return [...input.plan.inherited, ...settled].sort((a, b) => depth(a.destination) - depth(b.destination));
  } catch (error) {
    // The folders of a `-v` stay, as Docker leaves them.
    for (const name of made) {
      // Its record is gone when the call returns; what can't be deleted of its folder is swept at boot.
      void input.volumes.remove(name, { force: true }).catch(() => {});
    }
    throw error;
  }
}

/** What a plugin made for a container that didn't come about, and that nobody else knows of. */
export async function forgetPrepared(
  { volumes: prepared }: PreparedMounts,
  volumes: Pick<VolumeStore, "remove" | "isAnonymous">,
): Promise<void> {
  for (const { Name } of prepared.values()) {
    if (volumes.isAnonymous(Name)) await volumes.remove(Name, { force: true });
  }
}

function depth(path: string): number {
  return path === "/" ? 0 : path.split("/").length;
}

function settle(wish: MountWish, input: SettleInput, made: string[]): ResolvedMount {
  const shared = {
    type: wish.type,
    source: wish.source,
    destination: wish.destination,
    readonly: wish.readonly,
    mode: wish.mode,
    propagation: wish.propagation,
    ...(wish.type === "bind" && wish.usualPropagation && { usualPropagation: true }),
    recursive: wish.recursive,
    ...(wish.shallowReadonly && { shallowReadonly: true }),
    options: wish.options,
    anonymous: false,
    ...(wish.from !== undefined && { from: wish.from }),
  };
  switch (wish.type) {
    case "tmpfs":
      return shared;
    case "bind":
      if (wish.makeSource) makeSource(wish.source);
      return shared;
    case "image":
      return { ...shared, ...imageParts(wish, input) };
    case "volume":
      return { ...shared, ...volumeParts(wish, input, made) };
  }
}

function imageParts(wish: MountWish, { prepared, imageFolder }: SettleInput): Partial<ResolvedMount> {
  const { id, chainId } = prepared.images.get(wish.destination)!;
  const subpath = wish.from?.ImageOptions?.Subpath;
  return {
    name: wish.source,
    source: imageFolder(wish.destination),
    image: { id, ...(chainId !== undefined && { chainId }) },
    ...(subpath && { subpath }),
  };
}

function volumeParts(wish: MountWish, { prepared, volumes }: SettleInput, made: string[]): Partial<ResolvedMount> {
  const request = wish.volume ?? {};
  const known = request.name !== undefined && volumes.get(request.name) !== undefined;
  const volume = prepared.volumes.get(wish.destination) ?? volumes.create(request);
  if (!known && !prepared.volumes.has(wish.destination)) made.push(volume.Name);
  const isLocal = volume.Driver === "local";
  const subpath = wish.from?.VolumeOptions?.Subpath;
  return {
    name: volume.Name,
    ...(!isLocal && { driver: volume.Driver }),
    source: volume.Mountpoint,
    mode: wish.mode === "" && isLocal ? wish.usualMode : wish.mode,
    options: [...(wish.nocopy ? ["nocopy"] : []), ...(isLocal ? mountFlags(volume) : [])],
    anonymous: request.name === undefined,
    ...(subpath && { subpath }),
  };
}

function makeSource(path: string): void {
  const refuse = (why: string) =>
    new GantryError("invalid", `error while creating mount source path '${path}': ${why}`);
  try {
    if (isThere(path)) return;
    mkdirSync(path, { recursive: true, mode: 0o755 });
  } catch (error) {
    const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
    throw refuse(isLink ? `mkdir ${path}: file exists` : messageOf(error));
  }
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** What a volume's options forbid holds in containers too: crun would give it back. */
function mountFlags({ Options }: Volume): string[] {
  return (Options?.o ?? "").split(",").filter((word) => KEPT_FLAGS.has(word));
}

/** The snapshot that keeps an image's layers for as long as a container mounts them. */
export function imagePin(container: string, destination: string): string {
  return `${container}-${createHash("sha256").update(destination).digest("hex").slice(0, 16)}`;
}

/** The pins of all images that a container mounts, with what they are pins of. */
export function imagePins({ id, mounts }: { readonly id: string; readonly mounts: readonly ResolvedMount[] }) {
  return mounts.flatMap(({ image, destination }) =>
    image === undefined ? [] : [{ key: imagePin(id, destination), chainId: image.chainId }],
  );
}

/** Where sources are mounted for a container that starts, or that somebody looks into. Nothing in there is ever deleted. */
export function sourcesFolder(execRoot: string, holder?: string): string {
  return holder === undefined ? join(execRoot, "sources") : join(execRoot, "sources", holder.replaceAll(" ", "-"));
}

/** As inspect shows it. */
export function toMountPoint(mount: ResolvedMount): MountPoint {
  return {
    Type: mount.type,
    ...(mount.name === undefined ? {} : { Name: mount.name }),
    Source: mount.source,
    Destination: mount.destination,
    ...(mount.type === "volume" ? { Driver: mount.driver ?? "local" } : {}),
    Mode: mount.mode,
    RW: !mount.readonly,
    Propagation: mount.propagation,
  };
}
