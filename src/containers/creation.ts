import { mkdirSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { ContainerCreateRequest, ContainerCreateResponse } from "../api/container.ts";
import { GantryError, isKind, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { ResolvedImage } from "../images/image.ts";
import { bundleFolder } from "./bundle.ts";
import type { CreateOptions } from "./controller.ts";
import { copyUp } from "./copy-up.ts";
import { anonymousVolumes, completeHostConfig, mergeConfig, newId } from "./create.ts";
import { endpointsOf, warnOfUnpublished } from "./endpoints.ts";
import { publishContainerEvent } from "./event.ts";
import { checkPlatform, platformAsked } from "./image-platform.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { settleLinks } from "./link.ts";
import { openSources } from "./mount-sources.ts";
import {
  forgetPrepared,
  imagePin,
  type PreparedMounts,
  planMounts,
  prepareMounts,
  settleMounts,
  sourcesFolder,
} from "./mounts.ts";
import { checkName, randomName } from "./name.ts";
import type { ContainerPorts } from "./ports.ts";
import { type ContainerRecord, type ResolvedMount, timestamp } from "./record.ts";
import { settleSharedNamespaces } from "./shared-namespaces.ts";
import { joinedContainer } from "./spec/modes.ts";
import { checkRequest } from "./spec/validate.ts";
import type { ContainerTable, Entry } from "./table.ts";
import { containerFolder } from "./view.ts";

interface Parts {
  readonly ports: ContainerPorts;
  readonly table: ContainerTable;
  readonly lifecycle: Lifecycle;
}

/**
 * Makes a container: its name, its snapshot, its volumes with the image's content, its record. A failure takes back
 * what was made; a crash leaves a pending record or none, and boot clears away.
 */
export async function createContainer(
  parts: Parts,
  wantedName: string | undefined,
  request: ContainerCreateRequest,
  options: CreateOptions,
): Promise<ContainerCreateResponse> {
  const { ports, table } = parts;
  const settings = ports.settings();
  const id = newId();
  const name =
    wantedName === undefined || wantedName === ""
      ? randomName((candidate) => table.ownerOf(candidate) !== undefined)
      : checkName(wantedName);
  const image = ports.images.resolve(request.Config.Image, { platform: platformAsked(options.platform) });
  const ofPlatform = checkPlatform(options.platform, image);
  await ports.admit?.(image, request.Config.Image);
  const wished = completeHostConfig(request.HostConfig, settings);
  const shared = settleSharedNamespaces(table, wished);
  const hostConfig = { ...wished, ...shared, Links: settleLinks(table, { hostConfig: wished }) };
  const warnings = [...ofPlatform, ...checkRequest({ ...request, HostConfig: hostConfig }, settings)];
  const isPublished =
    hostConfig.PublishAllPorts || Object.values(hostConfig.PortBindings ?? {}).some((rows) => rows?.length);
  const hidden = isPublished ? ports.networks.publishWarning() : undefined;
  if (hidden !== undefined) warnings.push(hidden);
  const config = mergeConfig(request.Config, image.config.config ?? {}, id, hostConfig);
  for (const mode of [hostConfig.PidMode, hostConfig.IpcMode]) {
    const joined = joinedContainer(mode);
    if (joined !== undefined) peer(table, joined);
  }
  const endpoints = endpointsOf(request, hostConfig, ports.networks);
  warnings.push(...warnOfUnpublished(hostConfig, endpoints, ports.networks));
  const plan = planMounts({
    hostConfig,
    anonymous: anonymousVolumes(config),
    mountsOf: (other) => peer(table, other).mounts,
    dataRoot: settings.dataRoot,
    shallowReadonly: options.shallowReadonly === true,
  });
  table.reserve(name, id);
  const folder = containerFolder(settings.dataRoot, id);
  let entry: Entry | undefined;
  let prepared: PreparedMounts | undefined;
  try {
    const ready = await prepareMounts(plan, ports.volumes, (wanted) => admittedImage(ports, wanted));
    prepared = ready;
    for (const [destination, { chainId }] of ready.images) {
      await ports.snapshots.prepare(imagePin(id, destination), chainId, { bare: true });
    }
    await ports.snapshots.prepare(id, image.chainId);
    failpoint("containers.create.prepared");
    mkdirSync(folder, { recursive: true, mode: 0o710 });
    entry = ports.store.relaxed(() => {
      const mounts = settleMounts({
        plan,
        prepared: ready,
        volumes: ports.volumes,
        imageFolder: (destination) => join(sourcesFolder(settings.execRoot, id), imagePin("", destination).slice(1)),
      });
      return table.insert({
        id,
        name,
        created: timestamp(),
        imageId: image.id,
        image: request.Config.Image,
        ...(image.manifest !== undefined && { imageManifest: image.manifest }),
        chainId: image.chainId,
        platform: "linux",
        config,
        hostConfig,
        endpoints,
        mounts,
        state: { status: "created", error: "", exitCode: 0 },
        restartCount: 0,
        stoppedByUser: false,
        runtime: hostConfig.Runtime ?? "",
        pending: mounts.some(takesContent),
      });
    });
    failpoint("containers.create.recorded");
    if (entry.record.pending) await ports.images.whole(image.id, "fill its volumes");
    if (entry.record.pending) await fillVolumes(ports, table, entry);
    await ports.store.flush();
  } catch (error) {
    await undoCreate(parts, { id, name, folder, prepared }, entry);
    throw error;
  }
  publishContainerEvent(ports.events, entry.record, "create");
  return { Id: id, Warnings: warnings };
}

/** A container that a new one is to share with. As "not found" its absence would have clients pull the image. */
function peer(table: ContainerTable, nameOrId: string): ContainerRecord {
  try {
    return table.find(nameOrId).record;
  } catch (error) {
    throw isKind(error, "not-found") ? new GantryError("invalid", messageOf(error)) : error;
  }
}

async function fillVolumes(ports: ContainerPorts, table: ContainerTable, entry: Entry): Promise<void> {
  const { id, mounts } = entry.record;
  const bundle = bundleFolder(ports.settings().execRoot, id);
  const rootfs = join(bundle, "rootfs");
  mkdirSync(rootfs, { recursive: true, mode: 0o700 });
  await using _ = {
    [Symbol.asyncDispose]: async () => {
      await ports.volumes.release(id);
      await ports.snapshots.unmount(rootfs);
      rmSync(bundle, { recursive: true, force: true });
    },
  };
  await ports.snapshots.mount(id, rootfs);
  for (const mount of mounts) if (takesContent(mount)) await fillVolume(ports, id, mount, rootfs);
  table.update(entry, { pending: false });
}

async function fillVolume(ports: ContainerPorts, id: string, mount: ResolvedMount, rootfs: string): Promise<void> {
  try {
    await using sources = await openSources(ports, { id, mounts: [mount] }, id, { placed: false });
    const isDeclared = mount.anonymous && mount.from === undefined;
    await copyUp(rootfs, mount.destination, sources.mounts[0]!.source, { isDeclared });
  } catch (error) {
    // A part of a volume that isn't there may be there by the start.
    if (mount.subpath === undefined || !isKind(error, "invalid")) throw error;
  }
}

async function admittedImage(ports: ContainerPorts, wanted: string): Promise<ResolvedImage> {
  const image = ports.images.resolve(wanted);
  await ports.admit?.(image, wanted);
  await ports.images.whole(image.id, `mount image ${wanted}`);
  return image;
}

/** A volume that is to be filled with what the image has at its mount point. */
function takesContent(mount: ResolvedMount): boolean {
  return mount.type === "volume" && !mount.options.includes("nocopy");
}

async function undoCreate(
  { ports, table, lifecycle }: Parts,
  made: {
    readonly id: string;
    readonly name: string;
    readonly folder: string;
    readonly prepared: PreparedMounts | undefined;
  },
  entry: Entry | undefined,
): Promise<void> {
  const { id, name, folder, prepared } = made;
  try {
    if (entry === undefined) {
      table.release(name, id);
      const pins = [...(prepared?.images.keys() ?? [])].map((destination) => imagePin(id, destination));
      for (const key of [id, ...pins]) if (ports.snapshots.has(key)) await ports.snapshots.remove(key);
      if (prepared !== undefined) await forgetPrepared(prepared, ports.volumes);
      await rm(folder, { recursive: true, force: true });
    } else await lifecycle.remove(entry, { force: true, volumes: true });
  } catch (error) {
    ports.log.error(`cannot take back a failed create: ${messageOf(error)}`, { container: id });
  }
}
