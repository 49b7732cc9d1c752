import type { Readable } from "node:stream";
import { GantryError } from "../base/errors.ts";
import { readTar } from "../oci/tar/reader.ts";
import type { SnapshotInfo, Snapshotter } from "../snapshots/snapshotter.ts";

/** Snapshots that only count: layers are parsed, nothing is extracted. */
export function memorySnapshotter(): Snapshotter {
  const snapshots = new Map<string, SnapshotInfo & { size: number }>();
  const get = (id: string) => {
    const found = snapshots.get(id);
    if (found === undefined) throw new GantryError("not-found", `no snapshot ${id}`);
    return found;
  };
  const extract = async (key: string, layer: Readable): Promise<{ size: number }> => {
    let size = 0;
    for await (const { entry } of readTar(layer)) size += entry.size;
    snapshots.set(key, { ...get(key), size });
    return { size };
  };
  const unused = (): never => {
    throw new Error("the images' tests mount nothing");
  };
  const self: Snapshotter = {
    driver: "vfs",
    extractsAlone: false,
    has: (id) => snapshots.has(id),
    info: (id) => snapshots.get(id),
    list: () => [...snapshots.values()],
    isIntact: (id) => snapshots.get(id)?.kind === "committed",
    prepare: async (id, parent) => {
      if (parent !== undefined) get(parent);
      snapshots.set(id, { id, kind: "active", parent, size: 0 });
    },
    mount: unused,
    unmount: unused,
    lend: unused,
    commit: async (name, key) => {
      if (snapshots.has(name)) throw new GantryError("conflict", `snapshot ${name} exists`);
      snapshots.set(name, { ...get(key), id: name, kind: "committed" });
      snapshots.delete(key);
    },
    rename: async (name, to) => {
      if (snapshots.has(to)) throw new GantryError("conflict", `snapshot ${to} exists`);
      snapshots.set(to, { ...get(name), id: to });
      snapshots.delete(name);
      for (const [id, one] of snapshots) if (one.parent === name) snapshots.set(id, { ...one, parent: to });
    },
    rebase: async (source, name, parent) => {
      snapshots.set(name, { ...get(source), id: name, parent });
    },
    remove: async (id) => {
      if ([...snapshots.values()].some(({ parent }) => parent === id))
        throw new GantryError("conflict", `${id} has children`);
      get(id);
      snapshots.delete(id);
    },
    apply: unused,
    extract,
    draft: unused,
    sync: async () => {},
    diff: unused,
    packing: unused,
    changes: unused,
    usage: async (id) => get(id).size,
    describe: () => ({}),
    recover: async () => {},
  };
  return self;
}
