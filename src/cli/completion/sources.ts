import type { ContainerSummary } from "../../api/container.ts";
import type { ImageSummary } from "../../api/image.ts";
import type { NetworkInspect } from "../../api/network.ts";
import type { Volume, VolumeSnapshot } from "../../api/volume.ts";
import { type EngineClient, filtersQuery } from "../../client/client.ts";
import { ContextStore } from "../contexts/store.ts";
import { HUB_KEY, keyOf } from "../credentials/address.ts";
import type { Settings } from "../settings.ts";

/** What the engine is given to answer in: a shell waits. */
const PATIENCE_MS = 400;

/** What a word may be completed to; `files` and `folders` leave it to the shell, `nospace` expects more. */
export interface Candidates {
  readonly values: readonly (string | readonly [value: string, description: string])[];
  readonly also?: "files" | "folders" | "nospace";
}

export interface Asked {
  readonly settings: Settings;
  readonly client: () => Promise<EngineClient>;
  /** Values of a flag that were given before. */
  readonly flag: (name: string) => string;
  readonly flagList: (name: string) => readonly string[];
  /** The arguments before. */
  readonly args: readonly string[];
}

export type Source = (asked: Asked, word: string) => Promise<Candidates> | Candidates;

export async function ask<T>(
  asked: Asked,
  path: string,
  query: Readonly<Record<string, string | boolean | undefined>> = {},
): Promise<T> {
  const client = await asked.client();
  return await client.json<T>("GET", path, { query, signal: AbortSignal.timeout(PATIENCE_MS) });
}

export function among(...values: readonly string[]): Source {
  return () => ({ values });
}

export const files: Source = () => ({ values: [], also: "files" });
export const folders: Source = () => ({ values: [], also: "folders" });
export const nothing: Source = () => ({ values: [] });

/** Names of containers in these states; of all without any. */
export function containers(...states: readonly string[]): Source {
  return async (asked) => {
    const filters = states.length === 0 ? undefined : filtersQuery(new Map([["status", states]]));
    const found = await ask<ContainerSummary[]>(asked, "/containers/json", { all: true, filters });
    const values = found.map((container) => {
      const names = container.Names.map((name) => name.slice(1)).filter((name) => !name.includes("/"));
      return [names[0] ?? container.Id.slice(0, 12), container.Image] as const;
    });
    return { values };
  };
}

export const images: Source = async (asked, word) => {
  const found = await ask<ImageSummary[]>(asked, "/images/json");
  const tags = found.flatMap((image) => image.RepoTags ?? []).filter((tag) => !tag.startsWith("<none>"));
  // A name stands for its latest; with a colon typed its tags are wanted.
  const names = tags.filter((tag) => tag.endsWith(":latest")).map((tag) => tag.slice(0, -":latest".length));
  return { values: word.includes(":") ? tags : [...names, ...tags.filter((tag) => !tag.endsWith(":latest"))] };
};

export const networks: Source = async (asked) => {
  const found = await ask<NetworkInspect[]>(asked, "/networks");
  return { values: found.map((network) => [network.Name, network.Driver] as const) };
};

export const volumes: Source = async (asked) => {
  const found = await ask<{ readonly Volumes: readonly Volume[] | null }>(asked, "/volumes");
  return { values: (found.Volumes ?? []).map((volume) => volume.Name) };
};

/** Of the volume that was named before. */
export const snapshots: Source = async (asked) => {
  const volume = asked.args.find((name) => name !== "rm" && name !== "create") ?? "";
  const found = await ask<VolumeSnapshot[]>(asked, `/gantry/volumes/${encodeURIComponent(volume)}/snapshots`);
  return { values: found.map(({ Name }) => Name) };
};

export const contexts: Source = (asked) => ({
  values: ["default", ...new ContextStore(asked.settings.configFolder).list().map((context) => context.Name)],
});

/** Registries that there are credentials for. */
export const registries: Source = (asked) => {
  const { auths = {}, credHelpers = {} } = asked.settings.config();
  const names = [...Object.keys(auths), ...Object.keys(credHelpers)].map((name) => {
    const key = keyOf(name);
    return key === HUB_KEY ? "docker.io" : key;
  });
  return { values: [...new Set(names)].sort() };
};

export function plugins(kind: "Log" | "Network" | "Volume"): Source {
  return async (asked) => {
    const info = await ask<{ readonly Plugins?: Readonly<Record<string, readonly string[] | null>> }>(asked, "/info");
    return { values: info.Plugins?.[kind] ?? [] };
  };
}

export const runtimes: Source = async (asked) => {
  const info = await ask<{ readonly Runtimes?: Readonly<Record<string, unknown>> }>(asked, "/info");
  return { values: Object.keys(info.Runtimes ?? {}) };
};

/** The candidates of several sources; one that fails is left out. */
export function anyOf(...sources: readonly Source[]): Source {
  return async (asked, word) => {
    const settled = await Promise.allSettled(sources.map(async (source) => await source(asked, word)));
    const found = settled.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    const also = found.find((candidates) => candidates.also !== undefined)?.also;
    return { values: found.flatMap((candidates) => candidates.values), ...(also === undefined ? {} : { also }) };
  };
}

/** `prefix` before each name, as `container:NAME`. */
export function prefixed(prefix: string, source: Source): Source {
  return async (asked, word) => {
    const { values } = await source(asked, word.slice(prefix.length));
    return { values: values.map((value) => `${prefix}${typeof value === "string" ? value : value[0]}`) };
  };
}

/** Keys of `--filter`, and the values of those that have few. */
export function filterKeys(keys: Readonly<Record<string, Source>>): Source {
  return async (asked, word) => {
    const equals = word.indexOf("=");
    if (equals === -1) return { values: Object.keys(keys).map((key) => `${key}=`), also: "nospace" };
    const key = word.slice(0, equals);
    const source = keys[key];
    return source === undefined ? { values: [] } : await prefixed(`${key}=`, source)(asked, word);
  };
}
