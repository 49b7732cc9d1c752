import { closeSync, constants, openSync } from "node:fs";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** A descriptor of a folder of our own, which is no link. The caller closes it. */
export function openFolder(path: string): number {
  return openSync(path, FOLDER);
}

/** Opens a folder of our own for as long as `act` takes. */
export async function withFolder<T>(path: string, act: (fd: number) => T | Promise<T>): Promise<T> {
  const fd = openFolder(path);
  try {
    return await act(fd);
  } finally {
    closeSync(fd);
  }
}
