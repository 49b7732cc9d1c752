import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Volume } from "../api/volume.ts";
import { syncFolder } from "../base/atomic-file.ts";
import { GantryError } from "../base/errors.ts";
import type { EventBus } from "../events/bus.ts";
import type { Collection, Store } from "../state/store.ts";
import type { VolumeStore } from "./volume.ts";

const ANONYMOUS_LABEL = "com.docker.volume.anonymous";
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

export interface VolumePorts {
  /** Folder of the volumes, `<data root>/volumes`. */
  readonly root: string;
  readonly store: Store;
  readonly events: EventBus;
  /** Ids of the containers that use a volume, running or not. */
  readonly usersOf: (name: string) => readonly string[];
}

/** The `local` driver: a folder `<root>/<name>/_data` a volume. */
export class LocalVolumes implements VolumeStore {
  readonly #ports: VolumePorts;
  readonly #records: Collection<Volume>;
  readonly #volumes = new Map<string, Volume>();

  constructor(ports: VolumePorts) {
    this.#ports = ports;
    this.#records = ports.store.collection<Volume>("volumes");
    mkdirSync(ports.root, { recursive: true, mode: 0o701 });
    for (const { key, value } of this.#records.list()) this.#volumes.set(key, value);
    this.#sweep();
  }

  get(name: string): Volume | undefined {
    return this.#volumes.get(name);
  }

  list(): Volume[] {
    return [...this.#volumes.values()].sort((a, b) => (a.Name < b.Name ? -1 : 1));
  }

  create(request: {
    name?: string;
    labels?: Record<string, string>;
    options?: Record<string, string>;
    driver?: string;
  }): Volume {
    const driver = request.driver === undefined || request.driver === "" ? "local" : request.driver;
    if (driver !== "local") {
      throw new GantryError("not-found", `error looking up volume plugin ${driver}: plugin "${driver}" not found`);
    }
    const option = Object.keys(request.options ?? {})[0];
    if (option !== undefined) {
      throw new GantryError("invalid", `invalid option: "${option}": the local driver takes no options yet`);
    }
    const anonymous = request.name === undefined || request.name === "";
    const name = anonymous ? randomBytes(32).toString("hex") : (request.name as string);
    const existing = this.#volumes.get(name);
    if (existing !== undefined) return existing;
    if (name.length === 1 || !NAME.test(name)) {
      const shown = JSON.stringify(name);
      throw new GantryError(
        "invalid",
        name.length === 1
          ? "volume name is too short, names should be at least two alphanumeric characters"
          : `create ${name}: ${shown} includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
      );
    }
    if (name.length > 255)
      throw new GantryError("invalid", `cannot create volume ${name}: a name has 255 characters at most`);
    const folder = join(this.#ports.root, name);
    const volume: Volume = {
      CreatedAt: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      Driver: "local",
      Labels: anonymous ? { ...request.labels, [ANONYMOUS_LABEL]: "" } : (request.labels ?? null),
      Mountpoint: join(folder, "_data"),
      Name: name,
      Options: null,
      Scope: "local",
    };
    mkdirSync(folder, { mode: 0o701, recursive: true });
    mkdirSync(volume.Mountpoint, { mode: 0o755, recursive: true });
    syncFolder(folder);
    syncFolder(this.#ports.root);
    this.#records.put(name, volume);
    this.#volumes.set(name, volume);
    this.#publish("create", name);
    return volume;
  }

  async remove(name: string, options: { force: boolean }): Promise<void> {
    const volume = this.#volumes.get(name);
    if (volume === undefined) {
      if (options.force) return;
      throw new GantryError("not-found", `get ${name}: no such volume`);
    }
    const users = this.#ports.usersOf(name);
    if (users.length > 0) {
      throw new GantryError("conflict", `remove ${name}: volume is in use - [${users.join(", ")}]`);
    }
    this.#volumes.delete(name);
    this.#records.delete(name);
    const folder = join(this.#ports.root, name);
    const trash = join(this.#ports.root, `.removed-${randomBytes(8).toString("hex")}`);
    if (existsSync(folder)) renameSync(folder, trash);
    await rm(trash, { recursive: true, force: true });
    this.#publish("destroy", name);
  }

  isAnonymous(name: string): boolean {
    return this.#volumes.get(name)?.Labels?.[ANONYMOUS_LABEL] !== undefined;
  }

  #publish(action: string, name: string): void {
    this.#ports.events.publish({ type: "volume", action, id: name, attributes: { driver: "local" } });
  }

  /** Folders without a record were being made or removed when the engine died: nobody was told of them. */
  #sweep(): void {
    for (const entry of readdirSync(this.#ports.root)) {
      if (!this.#volumes.has(entry)) rmSync(join(this.#ports.root, entry), { recursive: true, force: true });
    }
  }
}
