import { closeSync } from "node:fs";
import { posix } from "node:path";
import { removeTree } from "../../snapshots/remove-tree.ts";
import type { FileAction } from "../graph.ts";
import { missing } from "./choose.ts";
import { matchSources, openSource } from "./sources.ts";

/** Takes what is at a path, or what a pattern finds, out of a root. A link goes itself, not what it leads to. */
export async function removeChosen(
  root: number,
  { allowMissing, path, wildcard }: Extract<FileAction, { type: "remove" }>,
): Promise<void> {
  for (const one of matchSources(root, path, { wildcard, followLinks: false })) {
    const found = openSource(root, one, false);
    if (found === undefined) {
      if (allowMissing || wildcard) continue;
      throw missing(one);
    }
    try {
      await removeTree(found.dir, posix.basename(found.path));
    } finally {
      closeSync(found.dir);
    }
  }
}
