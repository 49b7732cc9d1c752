import { mkdirSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { ContainerCreateRequest, ContainerCreateResponse } from "../api/container.ts";
import { GantryError, isKind, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { bundleFolder } from "./bundle.ts";
import { copyUp } from "./copy-up.ts";
import { anonymousVolumes, completeHostConfig, mergeConfig, newId } from "./create.ts";
import { endpointsOf } from "./endpoints.ts";
import { publishContainerEvent } from "./event.ts";
import { checkPlatform } from "./image-platform.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { settleLinks } from "./link.ts";
import { resolveMounts } from "./mounts.ts";
import { checkName, randomName } from "./name.ts";
import type { ContainerPorts } from "./ports.ts";
import { type ContainerRecord, timestamp } from "./record.ts";
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
  options: { readonly platform?: string },
): Promise<ContainerCreateResponse> {
  const { ports, table } = parts;
  const settings = ports.settings();
  const id = newId();
  const name =
    wantedName === undefined || wantedName === ""
      ? randomName((candidate) => table.ownerOf(candidate) !== undefined)
      : checkName(wantedName);
  const image = ports.images.resolve(request.Config.Image);
  const ofPlatform = checkPlatform(options.platform, image);
  await ports.admit?.(image, request.Config.Image);
  const wished = completeHostConfig(request.HostConfig, settings);
  const shared = settleSharedNamespaces(table, wished);
  const hostConfig = { ...wished, ...shared, Links: settleLinks(table, { hostConfig: wished }) };
  const warnings = [...ofPlatform, ...checkRequest({ ...request, HostConfig: hostConfig }, settings)];
  const config = mergeConfig(request.Config, image.config.config ?? {}, id, hostConfig);
  for (const mode of [hostConfig.PidMode, hostConfig.IpcMode]) {
    const joined = joinedContainer(mode);
    if (joined !== undefined) peer(table, joined);
  }
  const endpoints = endpointsOf(request, hostConfig, ports.networks);
  table.reserve(name, id);
  const folder = containerFolder(settings.dataRoot, id);
  let entry: Entry | undefined;
  try {
    await ports.snapshots.prepare(id, image.chainId);
    failpoint("containers.create.prepared");
    mkdirSync(folder, { recursive: true, mode: 0o710 });
    entry = ports.store.relaxed(() => {
      const mounts = resolveMounts({
        hostConfig,
        anonymous: anonymousVolumes(config),
        volumes: ports.volumes,
        mountsOf: (other) => peer(table, other).mounts,
      });
      return table.insert({
        id,
        name,
        created: timestamp(),
        imageId: image.id,
        image: request.Config.Image,
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
    if (entry.record.pending) await fillVolumes(ports, table, entry);
    await ports.store.flush();
  } catch (error) {
    await undoCreate(parts, { id, name, folder }, entry);
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
  mkdirSync(rootfs, { recursive: true, mode: 0o711 });
  await using _ = {
    [Symbol.asyncDispose]: async () => {
      await ports.volumes.release(id);
      await ports.snapshots.unmount(rootfs);
      rmSync(bundle, { recursive: true, force: true });
    },
  };
  await ports.snapshots.mount(id, rootfs);
  for (const mount of mounts) {
    if (!takesContent(mount)) continue;
    if (mount.name !== undefined) await ports.volumes.mount(mount.name, id);
    await copyUp(rootfs, mount.destination, mount.source);
  }
  table.update(entry, { pending: false });
}

/** A volume that is to be filled with what the image has at its mount point. */
function takesContent(mount: ContainerRecord["mounts"][number]): boolean {
  return mount.type === "volume" && !mount.options.includes("nocopy");
}

async function undoCreate(
  { ports, table, lifecycle }: Parts,
  made: { readonly id: string; readonly name: string; readonly folder: string },
  entry: Entry | undefined,
): Promise<void> {
  const { id, name, folder } = made;
  try {
    if (entry === undefined) {
      table.release(name, id);
      if (ports.snapshots.has(id)) await ports.snapshots.remove(id);
      await rm(folder, { recursive: true, force: true });
    } else await lifecycle.remove(entry, { force: true, volumes: true });
  } catch (error) {
    ports.log.error(`cannot take back a failed create: ${messageOf(error)}`, { container: id });
  }
}
