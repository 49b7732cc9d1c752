import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { GantryError } from "../../base/errors.ts";
import type { Asked } from "./asked.ts";
import { layoutDigest } from "./layout-digest.ts";
import { LayoutStore } from "./layout-store.ts";
import { type Typed, typed } from "./typed.ts";

/** Where cached steps come from and go to; folders of this machine become stores of the session. */
export function cachesOf(
  asked: Asked,
  stores: Map<string, LayoutStore>,
  env: NodeJS.ProcessEnv,
): { cacheImports: Typed[]; cacheExports: Typed[] } {
  const byRef = (ref: string): Typed => ({ type: "registry", attributes: { ref } });
  const cacheImports = asked.cacheFrom
    .map((given) => typed(given, byRef))
    .map((cache) => localCache(cache, "src", stores));
  const cacheExports = asked.cacheTo
    .map((given) => typed(given, (word) => (word === "inline" ? { type: "inline", attributes: {} } : byRef(word))))
    .map((cache) => localCache(cache, "dest", stores));
  if (env.BUILDKIT_INLINE_CACHE === "1") cacheExports.push({ type: "inline", attributes: {} });
  return { cacheImports, cacheExports };
}

/** A folder's cache is a store of this machine's, and the manifest that its index names. */
function localCache(cache: Typed, field: "src" | "dest", stores: Map<string, LayoutStore>): Typed {
  if (cache.type !== "local") return cache;
  const { [field]: path = "", ...rest } = cache.attributes;
  if (path === "")
    throw new GantryError("invalid", `local cache ${field === "src" ? "importer" : "exporter"} requires ${field}`);
  const folder = resolve(path);
  // The name by which BuildKit's own client would call it.
  const store = `local:${folder}`;
  if (field === "dest") {
    stores.set(store, new LayoutStore(folder).prepare());
    return { type: "local", attributes: { ...rest, dest: folder } };
  }
  if (!existsSync(join(folder, "index.json"))) {
    throw new GantryError("not-found", `cannot import the cache of ${path}: it has no index.json`);
  }
  stores.set(store, new LayoutStore(folder));
  const digest = rest.digest ?? layoutDigest(folder, rest.tag ?? "latest");
  return { type: "local", attributes: { ...rest, src: folder, digest } };
}
