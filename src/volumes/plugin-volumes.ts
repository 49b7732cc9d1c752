import { createHash } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type { Volume } from "../api/volume.ts";
import { atOnce } from "../base/at-once.ts";
import { GantryError, isKind, messageOf } from "../base/errors.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import type { Logger } from "../base/log.ts";
import type { EventBus } from "../events/bus.ts";
import type { Collection, Store } from "../state/store.ts";
import type { VolumeDriver, VolumeListing, VolumeRequest } from "./driver.ts";
import { ANONYMOUS_LABEL } from "./name.ts";
import type { Plugins, PluginVolume } from "./plugin.ts";
import { PluginRefusal } from "./plugin-client.ts";

/** At once, of those that are asked. */
const MOST_ASKED = 8;
/** How long one that gave no answer when all were asked is left out. */
const REST_MS = 30_000;
const LONGEST_NAME = 255;
/** How long who lets go waits for a plugin to unmount, which goes on meanwhile: an engine ends, too, while one hangs. */
const LEAVE_MS = 5_000;

export interface PluginVolumePorts {
  readonly plugins: Plugins;
  readonly store: Store;
  readonly events: EventBus;
  readonly log: Logger;
  /** Ids of the containers that use a volume, running or not. */
  readonly usersOf: (name: string) => readonly string[];
  readonly leaveMs?: number;
}

/** A mount that was asked of a plugin and not taken back. */
interface PluginMount {
  readonly name: string;
  readonly driver: string;
  readonly holder: string;
}

/**
 * Volumes of plugins. What is recorded is which plugin has a volume, and with which labels and options it was made; all
 * else is asked. A mount is recorded before it is asked for, so that none is left after a crash: its id is made of the
 * volume and its holder.
 */
export class PluginVolumes implements VolumeDriver {
  readonly #ports: PluginVolumePorts;
  readonly #records: Collection<Volume>;
  readonly #mounts: Collection<PluginMount>;
  readonly #volumes = new Map<string, Volume>();
  /** What is recorded of mounts, by their ids. */
  readonly #held = new Map<string, PluginMount>();
  /** Folders by mount id; a mount of before the engine's start has none until it is asked for again. */
  readonly #folders = new Map<string, string>();
  readonly #locks = new KeyedLock();
  /** Ids of mounts that are being taken back. */
  readonly #leaving = new Set<string>();
  /** Until when a plugin isn't asked with all. */
  readonly #resting = new Map<string, number>();

  constructor(ports: PluginVolumePorts) {
    this.#ports = ports;
    this.#records = ports.store.collection<Volume>("plugin-volumes");
    this.#mounts = ports.store.collection<PluginMount>("plugin-mounts");
    for (const { key, value } of this.#records.list()) this.#volumes.set(key, value);
    for (const { key, value } of this.#mounts.list()) this.#held.set(key, value);
  }

  owns(name: string): boolean {
    return this.#volumes.has(name);
  }

  get(name: string): Volume | undefined {
    return this.#volumes.get(name);
  }

  /** True for volumes made for a container without a name. */
  isAnonymous(name: string): boolean {
    return this.#volumes.get(name)?.Labels?.[ANONYMOUS_LABEL] !== undefined;
  }

  /** Volume plugins that are there, as far as they say so within that time. */
  async drivers(timeoutMs: number): Promise<string[]> {
    await this.#askAll((name) => this.#ports.plugins.isDriver(name, timeoutMs));
    return this.#ports.plugins.known();
  }

  async inspect(name: string): Promise<Volume | undefined> {
    const recorded = this.#volumes.get(name);
    if (recorded === undefined) return this.#findAnywhere(name);
    const { plugins } = this.#ports;
    const found = await plugins.get(recorded.Driver, name, { quick: false }).catch((error: unknown) => {
      throw inWords("get", name, unreachable(error));
    });
    return found === undefined ? undefined : this.#shown(recorded.Driver, found, { status: true });
  }

  async all(): Promise<VolumeListing> {
    const { plugins } = this.#ports;
    const warnings: string[] = [];
    const volumes: Volume[] = [];
    const answered = new Set<string>();
    const failed = await this.#askAll(async (driver) => {
      if (!(await plugins.isDriver(driver))) return;
      const rows = await Promise.all((await plugins.list(driver)).map((row) => this.#shown(driver, row)));
      answered.add(driver);
      volumes.push(...rows.filter(({ Name }) => (this.#volumes.get(Name)?.Driver ?? driver) === driver));
    });
    for (const [driver, why] of failed) warnings.push(`list ${driver}: ${why}`);
    // Those of a plugin that gives no answer are known all the same.
    for (const volume of this.#volumes.values()) if (!answered.has(volume.Driver)) volumes.push(volume);
    const byName = (a: Volume, b: Volume) => (a.Name < b.Name ? -1 : 1);
    return { volumes: volumes.sort(byName), warnings: warnings.sort() };
  }

  async make(request: VolumeRequest & { readonly name: string }): Promise<Volume> {
    const { name } = request;
    return this.#locks.run(name, async () => {
      const recorded = this.#volumes.get(name);
      if (recorded !== undefined && (await this.#isStillThere(recorded))) return recorded;
      checkName(name);
      const driver = request.driver || (recorded?.Driver ?? "");
      const { plugins } = this.#ports;
      try {
        const there = await plugins.get(driver, name, { quick: false });
        if (there === undefined) await plugins.create(driver, name, request.options ?? {});
        const isNew = there === undefined;
        return await this.#record(driver, request, isNew);
      } catch (error) {
        throw inWords("create", name, error);
      }
    });
  }

  /**
   * A volume that somebody made through a plugin, of which only the plugin knows: it is the engine's from now on.
   * Undefined if none has it.
   */
  async adoptNamed(name: string): Promise<Volume | undefined> {
    const found = await this.#findAnywhere(name);
    if (found === undefined) return undefined;
    return this.#locks.run(name, () => this.#volumes.get(name) ?? this.#record(found.Driver, { name }, false));
  }

  async remove(name: string, options: { readonly force: boolean }): Promise<void> {
    const recorded = this.#volumes.get(name) ?? (await this.#findAnywhere(name));
    if (recorded === undefined) {
      if (options.force) return;
      throw new GantryError("not-found", `get ${name}: no such volume`);
    }
    await this.#locks.run(name, async () => {
      const users = this.#ports.usersOf(name);
      if (users.length > 0) {
        throw new GantryError("conflict", `remove ${name}: volume is in use - [${users.join(", ")}]`);
      }
      try {
        await this.#ports.plugins.remove(recorded.Driver, name);
      } catch (error) {
        if (!options.force) throw inWords("remove", name, unreachable(error));
        this.#ports.log.warn(`a volume is forgotten that its plugin did not remove: ${messageOf(error)}`, {
          volume: name,
        });
      }
      this.#forget(name);
      this.#publish("destroy", recorded);
    });
  }

  /** A plugin doesn't say. */
  async usage(): Promise<undefined> {
    return undefined;
  }

  async mount(name: string, holder: string): Promise<string> {
    this.#leaving.delete(mountId(name, holder));
    return this.#locks.run(name, async () => {
      const volume = this.#volumes.get(name);
      if (volume === undefined) throw new GantryError("not-found", `get ${name}: no such volume`);
      const id = mountId(name, holder);
      const known = this.#folders.get(id);
      if (known !== undefined) return known;
      const isNew = !this.#held.has(id);
      if (isNew) this.#hold(id, { name, driver: volume.Driver, holder });
      try {
        const folder = await this.#ports.plugins.mount(volume.Driver, name, id);
        this.#folders.set(id, folder);
        return folder;
      } catch (error) {
        // What it refused it did not do; of what gave no answer nobody knows, and the holder's release takes it back.
        if (isNew && (error instanceof PluginRefusal || isKind(error, "not-found"))) this.#letGo(id);
        throw new GantryError("internal", `error while mounting volume '${name}': ${messageOf(error)}`, {
          cause: error,
        });
      }
    });
  }

  async release(holder: string): Promise<void> {
    const held = [...this.#held].filter(([id, mount]) => mount.holder === holder && !this.#leaving.has(id));
    if (held.length === 0) return;
    const left = Promise.all(held.map(([id, mount]) => this.#leave(id, mount)));
    await Promise.race([left, pause(this.#ports.leaveMs ?? LEAVE_MS, undefined, { ref: false })]);
  }

  async adopt(holders: ReadonlyMap<string, readonly string[]>): Promise<void> {
    for (const [id, mount] of this.#held) {
      if (holders.get(mount.holder)?.includes(mount.name) === true) continue;
      // Not waited for: the engine starts also while a plugin is not there yet.
      void this.#leave(id, mount);
    }
  }

  async #leave(id: string, mount: PluginMount): Promise<void> {
    this.#leaving.add(id);
    try {
      await this.#locks.run(mount.name, () => (this.#held.has(id) ? this.#unmount(id, mount) : undefined));
    } finally {
      this.#leaving.delete(id);
    }
  }

  async #unmount(id: string, { name, driver }: PluginMount): Promise<void> {
    this.#folders.delete(id);
    try {
      await this.#ports.plugins.unmount(driver, name, id);
    } catch (error) {
      this.#ports.log.error(`cannot unmount a plugin's volume: ${messageOf(error)}`, { volume: name });
      // Gone on with at the next start of the engine: by then the plugin may be back.
      if (!(error instanceof PluginRefusal)) return;
    }
    this.#letGo(id);
  }

  #hold(id: string, mount: PluginMount): void {
    this.#mounts.put(id, mount);
    this.#held.set(id, mount);
  }

  #letGo(id: string): void {
    this.#mounts.delete(id);
    this.#held.delete(id);
  }

  /** Forgets a volume that is gone at the plugin. Throws `conflict` where that can't be, in Docker's words. */
  async #isStillThere({ Name, Driver }: Volume): Promise<boolean> {
    const conflict = (why: string) => new GantryError("conflict", `create ${Name}: ${why}: volume name must be unique`);
    let found: PluginVolume | undefined;
    try {
      found = await this.#ports.plugins.get(Driver, Name, { quick: false });
    } catch (error) {
      throw conflict(
        `found reference to volume '${Name}' in driver '${Driver}', but got an error while checking the driver: ${messageOf(error)}`,
      );
    }
    if (found !== undefined) return true;
    if (this.#ports.usersOf(Name).length > 0) {
      throw conflict(
        `found references to volume '${Name}' in driver '${Driver}' but the volume was not found in the driver -- you may need to remove containers referencing this volume or force remove the volume to re-create it`,
      );
    }
    this.#forget(Name);
    return false;
  }

  async #record(driver: string, request: VolumeRequest & { readonly name: string }, isNew: boolean): Promise<Volume> {
    const { name } = request;
    const found = await this.#ports.plugins.get(driver, name, { quick: false }).catch(() => undefined);
    const volume: Volume = {
      CreatedAt: found?.createdAt ?? new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      Driver: driver,
      Labels: request.labels ?? null,
      Mountpoint: found?.mountpoint ?? "",
      Name: name,
      Options: request.options ?? null,
      Scope: await this.#scopeOf(driver),
    };
    this.#records.put(name, volume);
    this.#volumes.set(name, volume);
    if (isNew) this.#publish("create", volume);
    return volume;
  }

  #forget(name: string): void {
    this.#records.delete(name);
    this.#volumes.delete(name);
  }

  async #shown(driver: string, row: PluginVolume, options?: { readonly status: boolean }): Promise<Volume> {
    const recorded = this.#volumes.get(row.name);
    const own = recorded?.Driver === driver ? recorded : undefined;
    return {
      CreatedAt: row.createdAt ?? own?.CreatedAt ?? "",
      Driver: driver,
      Labels: own?.Labels ?? null,
      Mountpoint: row.mountpoint,
      Name: row.name,
      Options: own?.Options ?? null,
      Scope: await this.#scopeOf(driver),
      ...(options?.status === true && row.status !== undefined && { Status: row.status }),
    };
  }

  #scopeOf(driver: string): Promise<Volume["Scope"]> {
    return this.#ports.plugins.scope(driver).catch(() => "local" as const);
  }

  async #findAnywhere(name: string): Promise<Volume | undefined> {
    const { plugins } = this.#ports;
    let found: Volume | undefined;
    await this.#askAll(async (driver) => {
      if (found !== undefined || !(await plugins.isDriver(driver))) return;
      const volume = await plugins.get(driver, name, { quick: true });
      if (volume !== undefined) found ??= await this.#shown(driver, volume, { status: true });
    });
    return found;
  }

  /** Asks all plugins but those that lately gave no answer. The result is why which one failed. */
  async #askAll(ask: (driver: string) => Promise<unknown>): Promise<ReadonlyMap<string, string>> {
    const failed = new Map<string, string>();
    await atOnce(MOST_ASKED, this.#ports.plugins.names(), async (driver) => {
      const until = this.#resting.get(driver) ?? 0;
      if (Date.now() < until) return void failed.set(driver, "it gave no answer a moment ago");
      try {
        await ask(driver);
        this.#resting.delete(driver);
      } catch (error) {
        failed.set(driver, messageOf(error));
        if (isKind(error, "unavailable")) this.#resting.set(driver, Date.now() + REST_MS);
      }
    });
    return failed;
  }

  #publish(action: string, { Name, Driver }: Volume): void {
    this.#ports.events.publish({ type: "volume", action, id: Name, attributes: { driver: Driver } });
  }
}

/** The same one for a holder each time: what a crash left is taken back by it. */
function mountId(name: string, holder: string): string {
  return createHash("sha256").update(`${name}\0${holder}`).digest("hex");
}

/** A plugin decides on its names, within what can be said in one line. */
function checkName(name: string): void {
  if (name.length <= LONGEST_NAME && !/\p{Cc}/u.test(name)) return;
  throw new GantryError(
    "invalid",
    `cannot create volume ${JSON.stringify(name.slice(0, 40))}: a name has ${LONGEST_NAME} characters at most, all of them to be seen`,
  );
}

/** That its plugin is not there doesn't mean that the volume isn't. */
function unreachable(error: unknown): unknown {
  return isKind(error, "not-found") ? new GantryError("unavailable", error.message) : error;
}

function inWords(action: string, name: string, error: unknown): unknown {
  if (error instanceof GantryError) return new GantryError(error.kind, `${action} ${name}: ${error.message}`);
  if (error instanceof PluginRefusal) return new GantryError("internal", `${action} ${name}: ${error.message}`);
  return error;
}
