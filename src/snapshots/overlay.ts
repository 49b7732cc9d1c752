import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { bindMount, mountOverlay } from "../kernel/mount.ts";
import { FolderSnapshotter, type Layout } from "./folder-snapshotter.ts";
import { overlayWhiteouts } from "./whiteouts.ts";

/** What a distribution's kernel may turn on by default, and what a layer must not depend on. */
const OPTIONS = ["index=off", "redirect_dir=off", "metacopy=off"];

const layout: Layout = {
  driver: "overlay2",
  whiteouts: overlayWhiteouts,
  marks: true,

  async furnish(folder, _parentFs, use) {
    if (use === "active") mkdirSync(join(folder, "work"), { mode: 0o700 });
  },

  mount(folder, ancestors, target, { readonly, volatile, mountPoints }) {
    const lower = mountPoints === undefined ? ancestors : [...ancestors, mountPoints];
    const upper = join(folder, "fs");
    const work = join(folder, "work");
    if (!readonly && lower.length > 0) mkdirSync(work, { recursive: true, mode: 0o700 });
    // The kernel leaves this mark so that a volatile mount that a power loss cut off is not taken for whole. Here it is
    // a restart: what volatile snapshots hold is forgotten with the boot that follows a power loss.
    if (volatile) rmSync(join(work, "work/incompat"), { recursive: true, force: true });
    if (lower.length === 0) bindMount(upper, target, { readonly });
    else if (readonly) mountOverlay(target, { lower: [upper, ...lower], options: OPTIONS });
    else mountOverlay(target, { lower, upper, work, options: volatile ? [...OPTIONS, "volatile"] : OPTIONS });
  },

  describe(folder, lower, target) {
    return {
      ...(lower.length > 0 && { LowerDir: lower.join(":") }),
      MergedDir: target ?? join(folder, "merged"),
      UpperDir: join(folder, "fs"),
      WorkDir: join(folder, "work"),
    };
  },
};

/** Snapshots as overlayfs layers: each folder holds what it adds to its parent, marks for what it hides included. */
export class OverlaySnapshotter extends FolderSnapshotter {
  constructor({ root }: { readonly root: string }) {
    super({ root, layout });
  }
}
