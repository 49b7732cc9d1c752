import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { GantryError, hasCode } from "../base/errors.ts";
import { bindMount } from "../kernel/mount.ts";
import { FolderSnapshotter, type Layout } from "./folder-snapshotter.ts";
import { addMountPoints } from "./mount-points.ts";
import { deletingWhiteouts } from "./whiteouts.ts";

const COPY = "/bin/cp";

const layout: Layout = {
  driver: "vfs",
  whiteouts: deletingWhiteouts,
  marks: false,

  async furnish(folder, parentFs, use) {
    if (parentFs !== undefined) await copy(parentFs, join(folder, "fs"));
    if (use === "active") addMountPoints(join(folder, "fs"));
  },

  mount(folder, _ancestors, target, { readonly }) {
    bindMount(join(folder, "fs"), target, { readonly });
  },

  describe: () => ({}),
};

async function copy(from: string, to: string): Promise<void> {
  try {
    await promisify(execFile)(COPY, ["-a", "--reflink=auto", "--", `${from}/.`, to]);
  } catch (error) {
    const said = String((error as { stderr?: string }).stderr ?? "").trim();
    const full = hasCode(error, "ENOSPC") || said.includes("No space left");
    const why = full ? "no space left on device" : said.slice(0, 300) || String(error);
    throw new GantryError("internal", `cannot copy the parent of a snapshot: ${why}`, { cause: error });
  }
}

/** Snapshots as whole copies of their parents: for file systems that can't carry overlayfs. Slow, and large. */
export class VfsSnapshotter extends FolderSnapshotter {
  constructor({ root }: { readonly root: string }) {
    super({ root, layout });
  }
}
