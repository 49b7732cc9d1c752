import { closeSync, constants, openSync } from "node:fs";
import type { Readable } from "node:stream";
import { fstatat } from "../../kernel/path.ts";
import { decompress } from "../../oci/compression.ts";
import { packTree } from "../../snapshots/pack-tree.ts";
import { extractArchive } from "../../snapshots/unpack-tree.ts";
import type { CacheArchives } from "../builder.ts";
import type { CacheMounts } from "./cache-mounts.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Cache mounts as tar archives, out of one engine and into another. */
export function cacheArchives(caches: CacheMounts): CacheArchives {
  return {
    has: (idOrName) => caches.has(idOrName),
    read: (idOrName) => {
      const held = caches.hold(idOrName);
      let dir: number;
      try {
        dir = openSync(held.path, FOLDER);
      } catch (error) {
        held[Symbol.dispose]();
        throw error;
      }
      return packTree({ dir, base: ".", stat: fstatat(dir, "") }, { name: "./" }, () => {
        closeSync(dir);
        held[Symbol.dispose]();
      });
    },
    write: async (idOrName, archive, signal) => {
      const { stream } = await decompress(archive, { keepSource: true });
      try {
        await caches.replace(idOrName, (folder) => extractArchive(folder, stream, { ...WHOLE, signal }));
      } finally {
        if (stream !== archive) (stream as Readable).destroy();
      }
    },
  };
}

const WHOLE = { destination: "/", mountPoints: [], owner: undefined, keepKinds: false, dressRoot: true };
