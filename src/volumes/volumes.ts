import type { Filters } from "../api/filters.ts";
import type { Volume } from "../api/volume.ts";
import { GantryError } from "../base/errors.ts";
import type { VolumeDriver, VolumeListing } from "./driver.ts";
import type { LocalVolumes } from "./local.ts";
import { newVolumeName } from "./name.ts";
import type { VolumeRequest, VolumeStore } from "./volume.ts";

export interface VolumeDrivers {
  readonly local: LocalVolumes;
  /** All plugins as one. */
  readonly plugins?: VolumeDriver;
}

/** The volumes of all drivers as one: a name belongs to one of them. */
export class Volumes implements VolumeStore {
  readonly #local: LocalVolumes;
  readonly #plugins: VolumeDriver | undefined;

  constructor({ local, plugins }: VolumeDrivers) {
    this.#local = local;
    this.#plugins = plugins;
  }

  get(name: string): Volume | undefined {
    return this.#local.get(name) ?? this.#plugins?.get(name);
  }

  list(): Volume[] {
    return this.#local.list();
  }

  async inspect(name: string): Promise<Volume | undefined> {
    return this.#local.get(name) ?? (await this.#plugins?.inspect(name));
  }

  async listAll(): Promise<VolumeListing> {
    const [own, others] = [await this.#local.all(), await this.#plugins?.all()];
    return {
      // Of a name that a plugin has too the engine's own counts.
      volumes: [...own.volumes, ...(others?.volumes ?? []).filter(({ Name }) => !this.#local.owns(Name))],
      warnings: [...own.warnings, ...(others?.warnings ?? [])],
    };
  }

  async make(request: VolumeRequest): Promise<Volume> {
    const name = request.name === undefined || request.name === "" ? undefined : request.name;
    const owner = name === undefined ? undefined : this.#ownerOf(name);
    const driver = this.#driverFor(request.driver) ?? owner ?? this.#local;
    if (owner !== undefined && owner !== driver) throw taken(owner.get(name!));
    if (driver === this.#local) return this.#local.create(request);
    return driver.make({ ...request, name: name ?? newVolumeName() });
  }

  create(request: VolumeRequest): Volume {
    const known = request.name === undefined ? undefined : this.#plugins?.get(request.name);
    if (known === undefined) return this.#local.create(request);
    if (request.driver !== undefined && request.driver !== "" && request.driver !== known.Driver) throw taken(known);
    return known;
  }

  async remove(name: string, options: { readonly force: boolean }): Promise<void> {
    await (this.#ownerOf(name) ?? this.#local).remove(name, options);
  }

  prune(filters: Filters): Promise<{ readonly deleted: string[]; readonly spaceReclaimed: number }> {
    return this.#local.prune(filters);
  }

  usage(name: string): Promise<number | undefined> {
    return (this.#ownerOf(name) ?? this.#local).usage(name);
  }

  isAnonymous(name: string): boolean {
    return this.#local.isAnonymous(name);
  }

  mount(name: string, holder: string): Promise<string> {
    return (this.#ownerOf(name) ?? this.#local).mount(name, holder);
  }

  async release(holder: string): Promise<void> {
    await Promise.all([this.#local.release(holder), this.#plugins?.release(holder)]);
  }

  async adopt(holders: ReadonlyMap<string, readonly string[]>): Promise<void> {
    await this.#local.adopt(holders);
    await this.#plugins?.adopt(holders);
  }

  #ownerOf(name: string): VolumeDriver | undefined {
    if (this.#local.owns(name)) return this.#local;
    return this.#plugins?.owns(name) === true ? this.#plugins : undefined;
  }

  /** Undefined where none was asked for. */
  #driverFor(driver: string | undefined): VolumeDriver | undefined {
    if (driver === undefined || driver === "") return undefined;
    return driver === "local" ? this.#local : (this.#plugins ?? this.#local);
  }
}

function taken(volume: Volume | undefined): GantryError {
  const { Name = "", Driver = "" } = volume ?? {};
  return new GantryError(
    "conflict",
    `create ${Name}: driver '${Driver}' already has volume '${Name}': volume name must be unique`,
  );
}
