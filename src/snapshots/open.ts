import { mkdirSync, mkdtempSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, messageOf } from "../base/errors.ts";
import { MNT, mountOverlay, unmount } from "../kernel/mount.ts";
import { getXattr, setXattr } from "../kernel/xattr.ts";
import { OverlaySnapshotter } from "./overlay.ts";
import type { Snapshotter } from "./snapshotter.ts";
import { VfsSnapshotter } from "./vfs.ts";

/**
 * The snapshots under `root`, a folder a driver. Without `driver` overlay2 is taken where it works there, else vfs.
 * `unsupported` for a driver that doesn't work, or that nobody knows. Call `recover` before anything else.
 */
export function openSnapshotter({ root, driver }: { readonly root: string; readonly driver?: string }): Snapshotter {
  mkdirSync(root, { recursive: true, mode: 0o710 });
  if (driver === "vfs") return new VfsSnapshotter({ root: join(root, "vfs") });
  if (driver !== undefined && driver !== "" && driver !== "overlay2" && driver !== "overlay")
    throw new GantryError("unsupported", `error initializing graphdriver: driver not supported: ${driver}`);
  const why = overlayFailure(root);
  if (why === undefined) return new OverlaySnapshotter({ root: join(root, "overlay2") });
  if (driver === undefined || driver === "") return new VfsSnapshotter({ root: join(root, "vfs") });
  throw new GantryError("unsupported", `error initializing graphdriver: driver not supported: overlay2: ${why}`);
}

/** Why overlayfs can't be had in this folder; undefined if a real mount with a real deletion works. */
function overlayFailure(root: string): string | undefined {
  const trial = mkdtempSync(join(root, "trial-"));
  const [lower, other, upper, work, merged] = ["lower", "other", "upper", "work", "merged"].map((name) => {
    mkdirSync(join(trial, name));
    return join(trial, name);
  }) as [string, string, string, string, string];
  try {
    writeFileSync(join(lower, "file"), "");
    setXattr(upper, "trusted.overlay.opaque", Buffer.from("n"));
    if (getXattr(upper, "trusted.overlay.opaque") === undefined) return "no extended attributes";
    mountOverlay(merged, {
      lower: [lower, other],
      upper,
      work,
      options: ["index=off", "redirect_dir=off", "metacopy=off"],
    });
    try {
      unlinkSync(join(merged, "file"));
      return statSync(join(upper, "file")).isCharacterDevice() ? undefined : "no whiteouts";
    } finally {
      unmount(merged, MNT.DETACH | MNT.NOFOLLOW);
    }
  } catch (error) {
    return messageOf(error);
  } finally {
    rmSync(trial, { recursive: true, force: true });
  }
}
