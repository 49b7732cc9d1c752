import { constants } from "node:fs";

/** Bits of Go's fs.FileMode, as clients tell them. */
const GO = {
  folder: 0x8000_0000,
  link: 1 << 27,
  device: 1 << 26,
  pipe: 1 << 25,
  socket: 1 << 24,
  setuid: 1 << 23,
  setgid: 1 << 22,
  characters: 1 << 21,
  sticky: 1 << 20,
  irregular: 1 << 19,
} as const;

export type FileKind = "file" | "folder" | "link" | "pipe" | "block" | "character" | "socket" | "unknown";

export function kindOf(goMode: number): FileKind {
  if ((goMode & GO.folder) !== 0) return "folder";
  if ((goMode & GO.link) !== 0) return "link";
  if ((goMode & GO.pipe) !== 0) return "pipe";
  if ((goMode & GO.socket) !== 0) return "socket";
  if ((goMode & GO.device) !== 0) return (goMode & GO.characters) === 0 ? "block" : "character";
  return (goMode & GO.irregular) === 0 ? "file" : "unknown";
}

/** Permissions with setuid, setgid and sticky, as chmod(2) takes them. */
export function permissionsOf(goMode: number): number {
  let mode = goMode & 0o777;
  if ((goMode & GO.setuid) !== 0) mode |= 0o4000;
  if ((goMode & GO.setgid) !== 0) mode |= 0o2000;
  if ((goMode & GO.sticky) !== 0) mode |= 0o1000;
  return mode;
}

/** The reverse: st_mode as Go has it. */
export function goModeOf(mode: number): number {
  let go = mode & 0o777;
  if ((mode & 0o4000) !== 0) go |= GO.setuid;
  if ((mode & 0o2000) !== 0) go |= GO.setgid;
  if ((mode & 0o1000) !== 0) go |= GO.sticky;
  const kind = mode & constants.S_IFMT;
  if (kind === constants.S_IFDIR) go |= GO.folder;
  else if (kind === constants.S_IFLNK) go |= GO.link;
  else if (kind === constants.S_IFIFO) go |= GO.pipe;
  else if (kind === constants.S_IFSOCK) go |= GO.socket;
  else if (kind === constants.S_IFBLK) go |= GO.device;
  else if (kind === constants.S_IFCHR) go |= GO.device | GO.characters;
  return go >>> 0;
}
