import { readSync } from "node:fs";

/** `size` bytes from a small file's start. If it became shorter since its size was told, the rest is zeros. */
export function readWhole(fd: number, size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  for (let at = 0; at < size; ) {
    const count = readSync(fd, bytes, at, size - at, at);
    if (count === 0) return bytes.fill(0, at);
    at += count;
  }
  return bytes;
}
