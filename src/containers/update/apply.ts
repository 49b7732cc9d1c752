import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import { type ControllerFolders, readControl, writeControl } from "../../kernel/cgroup-files.ts";
import type { ControlWrite, LimitWrites } from "./control-writes.ts";

/**
 * Writes limits to a container's cgroup: all of them or none. What was written is taken back, last first, when the
 * kernel refuses one, and when the result is called: for a caller that can't keep the rest of its promise.
 */
export function applyWrites(place: ControllerFolders, writes: readonly LimitWrites[]): () => void {
  const undo: (() => void)[] = [];
  const takeBack = () => {
    for (const act of undo.splice(0).reverse()) act();
  };
  try {
    for (const one of writes) {
      for (const write of "outer" in one ? inOrder(place, one.inner, one.outer) : [one]) undo.push(apply(place, write));
    }
  } catch (error) {
    takeBack();
    throw error;
  }
  return takeBack;
}

/** The outer limit goes up before the inner and down after it. */
function inOrder(place: ControllerFolders, inner: ControlWrite | undefined, outer: ControlWrite): ControlWrite[] {
  if (inner === undefined) return [outer];
  const rises = Number(outer.value) < 0 || Number(outer.value) >= Number(locate(place, outer).before);
  return rises ? [outer, inner] : [inner, outer];
}

interface Located {
  readonly folder: string;
  readonly file: string;
  readonly before: string;
}

function locate({ folders }: ControllerFolders, { controller, files }: ControlWrite): Located {
  const folder = folders[controller];
  for (const file of files) {
    const before = readControl(folder, file);
    if (folder !== undefined && before !== undefined) return { folder, file, before: before.trim() };
  }
  throw new GantryError("invalid", `failed to write ${files[0]}: the kernel has no such limit`);
}

function apply(place: ControllerFolders, write: ControlWrite): () => void {
  const { folder, file, before } = locate(place, write);
  try {
    writeControl(folder, file, write.value);
  } catch (error) {
    throw refusal(error, folder, file, write.value);
  }
  const value = write.undo?.(before) ?? before;
  return () => {
    try {
      writeControl(folder, file, value);
    } catch (error) {
      // Of a container that has ended meanwhile there is nothing to take back.
      if (!hasCode(error, "ENOENT", "ENODEV")) throw error;
    }
  };
}

function refusal(error: unknown, folder: string, file: string, value: string): unknown {
  if (hasCode(error, "EBUSY") && file === "memory.limit_in_bytes") {
    const usage = readControl(folder, "memory.usage_in_bytes")?.trim();
    const peak = readControl(folder, "memory.max_usage_in_bytes")?.trim();
    return new GantryError(
      "conflict",
      `unable to set memory limit to ${value} (current usage: ${usage}, peak usage: ${peak})`,
    );
  }
  if (!hasCode(error, "EINVAL", "ERANGE", "EBUSY", "EOPNOTSUPP", "ENOTSUP", "ENODEV", "ENOSPC")) return error;
  const why = messageOf(error).replace(/, (open|write).*$/, "");
  return new GantryError("conflict", `failed to write "${value}" to ${file}: ${why}`);
}
