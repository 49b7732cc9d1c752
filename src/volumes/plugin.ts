import { isAbsolute, normalize } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { GantryError } from "../base/errors.ts";
import { callPlugin, type Patience, PluginRefusal } from "./plugin-client.ts";
import type { PluginAddress, PluginDirectory } from "./plugin-directory.ts";

/** A volume as its plugin tells of it. */
export interface PluginVolume {
  readonly name: string;
  /** Empty while it is mounted nowhere. */
  readonly mountpoint: string;
  readonly createdAt?: string;
  readonly status?: Readonly<Record<string, unknown>>;
}

export type Scope = "local" | "global";

/** Milliseconds. */
export interface PluginPatience {
  /** Making and mounting. */
  readonly longMs: number;
  /** All else about one volume. */
  readonly shortMs: number;
  /** What everybody is asked: who doesn't answer such a question is left out of the next ones for a while. */
  readonly askAllMs: number;
  /** All tries to reach a plugin that should be there. */
  readonly retryMs: number;
}

const PATIENCE: PluginPatience = { longMs: 120_000, shortMs: 60_000, askAllMs: 5_000, retryMs: 30_000 };

const CAPABILITY = "VolumeDriver";
const FIRST_WAIT_MS = 100;
const MOST_VOLUMES = 100_000;

/**
 * The volume plugins of a directory, by name, spoken to in version 1 of Docker's plugin protocol. A plugin is greeted
 * (`Plugin.Activate`) before its first call, again if its address has changed. Throws `not-found` for one that isn't
 * there or is no volume driver, PluginRefusal for what a plugin refuses, `unavailable` for one that can't be asked.
 */
export class Plugins {
  readonly #directory: PluginDirectory;
  readonly #patience: PluginPatience;
  /** What has greeted back, with what it said it is. */
  readonly #active = new Map<string, { readonly address: string; readonly implements: readonly string[] }>();
  readonly #scopes = new Map<string, Scope>();

  constructor(directory: PluginDirectory, patience: PluginPatience = PATIENCE) {
    this.#directory = directory;
    this.#patience = patience;
  }

  /** All plugins there are files of, whatever they are plugins for. */
  names(): string[] {
    return this.#directory.names();
  }

  /** Volume plugins that have been spoken to and are still there. */
  known(): string[] {
    const isDriver = (name: string) => this.#active.get(name)?.implements.includes(CAPABILITY) === true;
    return this.names().filter(isDriver);
  }

  /** Whether it is a volume plugin, by a greeting of at most that long. */
  async isDriver(name: string, timeoutMs = this.#patience.askAllMs): Promise<boolean> {
    const manifest = await this.#greeted(name, { timeoutMs, retryMs: 0 });
    return manifest.implements.includes(CAPABILITY);
  }

  async create(driver: string, name: string, options: Readonly<Record<string, string>>): Promise<void> {
    await this.#call(driver, "Create", { Name: name, Opts: options }, this.#long());
  }

  async remove(driver: string, name: string): Promise<void> {
    await this.#call(driver, "Remove", { Name: name }, this.#short());
  }

  /** The folder with its content, for as long as nobody unmounts it with the same id. */
  async mount(driver: string, name: string, id: string): Promise<string> {
    await this.#arrived(driver);
    const { Mountpoint } = await this.#call(driver, "Mount", { Name: name, ID: id }, this.#long());
    return this.#folder(driver, "Mount", Mountpoint);
  }

  /** Waits less for a plugin to come back: whoever lets go of a volume may be ending. */
  async unmount(driver: string, name: string, id: string): Promise<void> {
    const { shortMs, retryMs } = this.#patience;
    await this.#call(driver, "Unmount", { Name: name, ID: id }, { timeoutMs: shortMs, retryMs: retryMs / 6 });
  }

  /** Where it is, mounted or not; empty where the plugin doesn't say. */
  async path(driver: string, name: string): Promise<string> {
    const { Mountpoint } = await this.#call(driver, "Path", { Name: name }, this.#short());
    return Mountpoint === undefined || Mountpoint === "" ? "" : this.#folder(driver, "Path", Mountpoint);
  }

  /** Undefined for a volume that the plugin hasn't got. `quick` is for asking every plugin. */
  async get(driver: string, name: string, options: { readonly quick: boolean }): Promise<PluginVolume | undefined> {
    let answer: Readonly<Record<string, unknown>>;
    try {
      answer = await this.#call(driver, "Get", { Name: name }, options.quick ? this.#askAll() : this.#short());
    } catch (error) {
      if (error instanceof PluginRefusal) return undefined;
      throw error;
    }
    const { Volume } = answer;
    if (Volume === undefined || Volume === null) return undefined;
    const volume = this.#volume(driver, "Get", Volume);
    // What it calls another name is another volume.
    return volume.name === name ? volume : undefined;
  }

  async list(driver: string): Promise<readonly PluginVolume[]> {
    const { Volumes } = await this.#call(driver, "List", {}, this.#askAll());
    if (Volumes === undefined || Volumes === null) return [];
    if (!Array.isArray(Volumes)) throw garbage(driver, "List", "Volumes", Volumes);
    if (Volumes.length > MOST_VOLUMES) throw garbage(driver, "List", "Volumes", `${Volumes.length} rows`);
    return Volumes.map((row) => this.#volume(driver, "List", row));
  }

  /** A plugin that doesn't say is local. */
  async scope(driver: string): Promise<Scope> {
    const known = this.#scopes.get(driver);
    if (known !== undefined) return known;
    const { Capabilities } = await this.#call(driver, "Capabilities", {}, this.#askAll()).catch((error: unknown) => {
      if (error instanceof PluginRefusal) return { Capabilities: undefined };
      throw error;
    });
    const said = (Capabilities as { Scope?: unknown } | null | undefined)?.Scope;
    const scope = typeof said === "string" && said.toLowerCase() === "global" ? "global" : "local";
    this.#scopes.set(driver, scope);
    return scope;
  }

  async #call(
    driver: string,
    method: string,
    body: object,
    patience: Patience,
  ): Promise<Readonly<Record<string, unknown>>> {
    const manifest = await this.#greeted(driver, patience);
    if (!manifest.implements.includes(CAPABILITY)) {
      throw new GantryError(
        "not-found",
        `plugin does not implement the requested driver: plugin=${JSON.stringify(driver)}, requested implementation="${CAPABILITY}"`,
      );
    }
    return callPlugin(driver, manifest.at, `${CAPABILITY}.${method}`, body, patience);
  }

  async #greeted(name: string, patience: Patience) {
    const at = this.#addressOf(name);
    const address = JSON.stringify(at);
    const known = this.#active.get(name);
    if (known?.address === address) return { ...known, at };
    let answer: Readonly<Record<string, unknown>>;
    try {
      answer = await callPlugin(name, at, "Plugin.Activate", undefined, patience);
    } catch (error) {
      if (!(error instanceof PluginRefusal)) throw error;
      throw new GantryError("unavailable", `the volume plugin ${JSON.stringify(name)} refused: ${error.message}`);
    }
    const { Implements } = answer;
    if (!Array.isArray(Implements)) throw garbage(name, undefined, "Implements", Implements);
    const manifest = { address, implements: Implements.filter((each) => typeof each === "string").slice(0, 100) };
    this.#active.set(name, manifest);
    this.#scopes.delete(name);
    return { ...manifest, at };
  }

  /** A plugin that had a volume may be about to come back, at the start of the machine above all. */
  async #arrived(name: string): Promise<void> {
    const deadline = Date.now() + this.#patience.retryMs;
    for (
      let wait = FIRST_WAIT_MS;
      this.#directory.find(name) === undefined && Date.now() + wait < deadline;
      wait *= 2
    ) {
      await pause(wait);
    }
  }

  #addressOf(name: string): PluginAddress {
    const address = this.#directory.find(name);
    if (address !== undefined) return address;
    throw new GantryError(
      "not-found",
      `error looking up volume plugin ${name}: plugin ${JSON.stringify(name)} not found`,
    );
  }

  #volume(driver: string, method: string, row: unknown): PluginVolume {
    const { Name, Mountpoint, CreatedAt, Status } = (row ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof Name !== "string" || Name === "") throw garbage(driver, method, "Name", Name);
    const mountpoint =
      Mountpoint === undefined || Mountpoint === null || Mountpoint === ""
        ? ""
        : this.#folder(driver, method, Mountpoint);
    const isTime = typeof CreatedAt === "string" && !Number.isNaN(Date.parse(CreatedAt)) && !/^0001-/.test(CreatedAt);
    const hasStatus = typeof Status === "object" && Status !== null && !Array.isArray(Status);
    if (hasStatus && !isWritable(Status)) throw garbage(driver, method, "Status", "{…", "nested too deeply");
    return {
      name: Name,
      mountpoint,
      ...(isTime && { createdAt: CreatedAt }),
      ...(hasStatus && { status: Status as Readonly<Record<string, unknown>> }),
    };
  }

  /** A plugin is trusted to name any folder, but it must be one. */
  #folder(driver: string, method: string, given: unknown): string {
    if (typeof given !== "string" || !isAbsolute(given) || given.includes("\0")) {
      throw garbage(driver, method, "Mountpoint", given, "no absolute path");
    }
    return normalize(given).replace(/(.)\/$/, "$1");
  }

  #long(): Patience {
    return { timeoutMs: this.#patience.longMs, retryMs: this.#patience.retryMs };
  }

  #short(): Patience {
    return { timeoutMs: this.#patience.shortMs, retryMs: this.#patience.retryMs };
  }

  #askAll(): Patience {
    return { timeoutMs: this.#patience.askAllMs, retryMs: 0 };
  }
}

/** What is nested deeper than a stack can be read, but not written. */
function isWritable(value: object): boolean {
  try {
    JSON.stringify(value);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

function garbage(plugin: string, method: string | undefined, field: string, given: unknown, why?: string): GantryError {
  const shown = given === undefined ? "nothing" : (JSON.stringify(given) ?? "nothing").slice(0, 100);
  const at = method === undefined ? "Plugin.Activate" : `${CAPABILITY}.${method}`;
  return new GantryError(
    "unavailable",
    `the volume plugin ${JSON.stringify(plugin)} failed at ${at}: it answered with ${shown} for ${field}${why === undefined ? "" : `, which is ${why}`}`,
  );
}
