import { join } from "node:path";
import type { Asked } from "./asked.ts";
import { cachesOf } from "./caches.ts";
import { contextOf, namedContext } from "./contexts.ts";
import type { Folder } from "./folder.ts";
import type { Input } from "./input.ts";
import type { LayoutStore } from "./layout-store.ts";
import { frontendOptions } from "./options.ts";
import { outputsOf } from "./outputs.ts";
import { repositoryOptions } from "./repository.ts";
import type { Result } from "./results.ts";
import type { Typed } from "./typed.ts";

/** A build in the words of BuildKit's frontend, and what of this machine it may have. */
export interface Prepared {
  readonly options: Readonly<Record<string, string>>;
  readonly exporters: readonly Typed[];
  readonly cacheImports: readonly Typed[];
  readonly cacheExports: readonly Typed[];
  readonly entitlements: readonly string[];
  readonly folders: ReadonlyMap<string, Folder>;
  readonly results: ReadonlyMap<string, Result>;
  readonly stores: ReadonlyMap<string, LayoutStore>;
  readonly upload: AsyncIterable<Uint8Array> | undefined;
  /** The context's folder; undefined if it is none of this machine. */
  readonly folder: string | undefined;
}

/** Makes a build's request. Throws invalid, naming what is wrong with what was asked for. */
export async function prepare(asked: Asked, input: Input, env: NodeJS.ProcessEnv): Promise<Prepared> {
  const places: Record<string, string> = {};
  const folders = new Map<string, Folder>();
  const stores = new Map<string, LayoutStore>();
  const place = await contextOf(asked, input, places, folders);
  for (const given of asked.contexts) namedContext(given, places, folders, stores);
  const caches = cachesOf(asked, stores, env);
  const { exporters, results } = outputsOf(asked, stores);
  const repository = await repositoryOf(place.folder, places.filename ?? "Dockerfile", folders, env);
  return {
    // What somebody asks for lies over what is found out.
    options: { ...repository, ...places, ...frontendOptions(asked, env) },
    exporters,
    ...caches,
    entitlements: asked.allow,
    folders,
    results,
    stores,
    ...place,
  };
}

function repositoryOf(
  folder: string | undefined,
  file: string,
  folders: ReadonlyMap<string, Folder>,
  env: NodeJS.ProcessEnv,
): Promise<Record<string, string>> {
  if (folder === undefined) return Promise.resolve({});
  const paths = new Map([...folders].flatMap(([name, each]) => ("path" in each ? [[name, each.path] as const] : [])));
  return repositoryOptions(folder, join(paths.get("dockerfile") ?? folder, file), paths, env);
}
