/** Bits of Go's fs.FileMode beside the nine permissions: Docker's API and BuildKit's file sync tell modes so. */
export const GO_MODE = {
  dir: 2 ** 31,
  symlink: 2 ** 27,
  device: 2 ** 26,
  namedPipe: 2 ** 25,
  socket: 2 ** 24,
  setuid: 2 ** 23,
  setgid: 2 ** 22,
  charDevice: 2 ** 21,
  sticky: 2 ** 20,
  irregular: 2 ** 19,
} as const;

const TYPES: ReadonlyMap<number, number> = new Map([
  [0o040000, GO_MODE.dir],
  [0o120000, GO_MODE.symlink],
  [0o010000, GO_MODE.namedPipe],
  [0o140000, GO_MODE.socket],
  [0o060000, GO_MODE.device],
  [0o020000, GO_MODE.device + GO_MODE.charDevice],
]);

/** True if a mode of Go's has this bit. */
export function hasGoMode(goMode: number, bit: number): boolean {
  return (goMode & bit) !== 0;
}

/** A `st_mode` of Linux as Go has it. */
export function goModeOf(mode: number): number {
  const special =
    (mode & 0o4000 ? GO_MODE.setuid : 0) + (mode & 0o2000 ? GO_MODE.setgid : 0) + (mode & 0o1000 ? GO_MODE.sticky : 0);
  return (TYPES.get(mode & 0o170000) ?? 0) + special + (mode & 0o777);
}

/** What chmod(2) takes of a mode of Go's: permissions with setuid, setgid and sticky. */
export function permissionsOfGoMode(goMode: number): number {
  const special =
    (goMode & GO_MODE.setuid ? 0o4000 : 0) |
    (goMode & GO_MODE.setgid ? 0o2000 : 0) |
    (goMode & GO_MODE.sticky ? 0o1000 : 0);
  return special | (goMode & 0o777);
}
