import type { Filters } from "../api/filters.ts";
import type { Volume } from "../api/volume.ts";
import { GantryError } from "../base/errors.ts";
import type { VolumeDriver, VolumeListing, VolumeRequest } from "./driver.ts";
import type { LocalVolumes } from "./local.ts";
import { ANONYMOUS_LABEL, newVolumeName } from "./name.ts";
import type { PluginVolumes } from "./plugin-volumes.ts";
import type { VolumeStore } from "./volume.ts";

/** What whoever asks for the engine's state waits for a plugin that was never spoken to. */
const GREETING_MS = 1000;

export interface VolumeDrivers {
  readonly local: LocalVolumes;
  readonly plugins?: PluginVolumes;
}

/** The volumes of all drivers as one: a name belongs to one of them. */
export class Volumes implements VolumeStore {
  readonly #local: LocalVolumes;
  readonly #plugins: PluginVolumes | undefined;

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
    return (await this.#local.inspect(name)) ?? (await this.#plugins?.inspect(name));
  }

  async listAll(): Promise<VolumeListing> {
    const [own, others] = [await this.#local.all(), await this.#plugins?.all()];
    return {
      // Of a name that a plugin has too the engine's own counts.
      volumes: [...own.volumes, ...(others?.volumes ?? []).filter(({ Name }) => !this.#local.owns(Name))],
      warnings: [...own.warnings, ...(others?.warnings ?? [])],
    };
  }

  async drivers(): Promise<string[]> {
    return ["local", ...((await this.#plugins?.drivers(GREETING_MS)) ?? [])];
  }

  async make(request: VolumeRequest): Promise<Volume> {
    return (await this.prepare(request)) ?? this.#local.create(request);
  }

  async prepare(request: VolumeRequest): Promise<Volume | undefined> {
    const plugins = this.#plugins;
    const { name = "", driver = "" } = request;
    if (plugins === undefined || (name !== "" && this.#local.owns(name) && (driver === "" || driver === "local"))) {
      return undefined;
    }
    if (name === "") return isPlugin(driver) ? plugins.make(nameless(request)) : undefined;
    const owner = this.#ownerOf(name)?.get(name);
    if (owner !== undefined && driver !== "" && driver !== owner.Driver) throw taken(owner);
    if (driver === "local") return undefined;
    if (isPlugin(driver) || owner !== undefined) return plugins.make({ ...request, name });
    return plugins.adoptNamed(name);
  }

  create(request: VolumeRequest): Volume {
    const known = request.name === undefined ? undefined : this.#plugins?.get(request.name);
    if (known === undefined) return this.#local.create(request);
    if (request.driver !== undefined && request.driver !== "" && request.driver !== known.Driver) throw taken(known);
    return known;
  }

  async remove(name: string, options: { readonly force: boolean }): Promise<void> {
    // A name that nobody knows may be that of a volume which was made through a plugin by others.
    await (this.#local.owns(name) ? this.#local : (this.#plugins ?? this.#local)).remove(name, options);
  }

  prune(filters: Filters): Promise<{ readonly deleted: string[]; readonly spaceReclaimed: number }> {
    return this.#local.prune(filters);
  }

  usage(name: string): Promise<number | undefined> {
    return (this.#ownerOf(name) ?? this.#local).usage(name);
  }

  isAnonymous(name: string): boolean {
    return this.#local.isAnonymous(name) || this.#plugins?.isAnonymous(name) === true;
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
}

function isPlugin(driver: string): boolean {
  return driver !== "" && driver !== "local";
}

function nameless(request: VolumeRequest): VolumeRequest & { readonly name: string } {
  return { ...request, name: newVolumeName(), labels: { ...request.labels, [ANONYMOUS_LABEL]: "" } };
}

function taken(volume: Volume | undefined): GantryError {
  const { Name = "", Driver = "" } = volume ?? {};
  return new GantryError(
    "conflict",
    `create ${Name}: driver '${Driver}' already has volume '${Name}': volume name must be unique`,
  );
}
