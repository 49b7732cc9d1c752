import { hasCode } from "../../base/errors.ts";
import { type FileStat, fchmod, fchmodat, fchownat, utimensat } from "../../kernel/path.ts";
import { getXattr, listXattrs, setXattr } from "../../kernel/xattr.ts";
import { isFolderStat } from "./folder.ts";
import { type ModeChange, permissionsOf } from "./mode.ts";
import type { Ids } from "./owner.ts";

/** What is said of what is copied; else it is as in the source. */
export interface Look {
  readonly owner: Ids | undefined;
  readonly mode: ModeChange | undefined;
}

/** Owner before mode before attributes: a change of owner takes capabilities away, a list of rights has a say in the mode. */
export function dressOpen(from: number, to: number, stat: FileStat, look: Look, keepsTime = true): void {
  const { uid, gid } = look.owner ?? stat;
  fchownat(to, "", uid, gid);
  fchmod(to, modeOf(stat, look));
  copyAttributes(from, to);
  if (keepsTime) utimensat(to, "", stat.atime, stat.mtime);
}

/** What can't be opened. The name is what was made there; no call follows it. */
export function dressNamed(
  from: { readonly dir: number; readonly base: string; readonly stat: FileStat },
  to: { readonly dir: number; readonly base: string },
  look: Look,
  hasMode: boolean,
): void {
  const { stat } = from;
  const { uid, gid } = look.owner ?? stat;
  fchownat(to.dir, to.base, uid, gid);
  if (hasMode) fchmodat(to.dir, to.base, modeOf(stat, look));
  copyAttributes(`/proc/self/fd/${from.dir}/${from.base}`, `/proc/self/fd/${to.dir}/${to.base}`);
  utimensat(to.dir, to.base, stat.atime, stat.mtime);
}

function modeOf(stat: FileStat, { mode }: Look): number {
  const own = permissionsOf(stat.mode);
  return mode === undefined ? own : mode(own, isFolderStat(stat));
}

/** Names of the attributes that a copy has as well: not the host's labels, nor overlayfs's marks. */
export function attributesOf(target: string | number): string[] {
  return listXattrs(target).filter((name) => name !== "security.selinux" && !/^(trusted|user)\.overlay\./.test(name));
}

function copyAttributes(from: string | number, to: string | number): void {
  for (const name of attributesOf(from)) {
    const value = getXattr(from, name);
    if (value === undefined) continue;
    try {
      setXattr(to, name, value);
    } catch (error) {
      // A file system without them, one that keeps some for itself, or a kind of file that can't have it.
      if (!hasCode(error, "EOPNOTSUPP", "EPERM")) throw error;
    }
  }
}
