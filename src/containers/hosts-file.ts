import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeFileSync } from "node:fs";
import { hasCode } from "../base/errors.ts";

/** A file that a container has grown beyond this is its own business. */
const MOST_BYTES = 1 << 20;

/**
 * Changes a running container's hosts file so that `names` stand for just these addresses; all other lines stay. In
 * place: the file is bound into the container. One that is gone, or has become huge, is left alone.
 */
export function setHosts(path: string, names: string, addresses: readonly string[]): void {
  const text = readBounded(path);
  if (text === undefined) return;
  const lines = text.endsWith("\n") || text === "" ? text : `${text}\n`;
  const kept = lines.split(/(?<=\n)/).filter((line) => {
    const [address, rest] = line.trimEnd().split("\t");
    return rest !== names || addresses.includes(address ?? "");
  });
  const present = new Set(kept.map((line) => line.trimEnd()));
  const missing = addresses.map((address) => `${address}\t${names}`).filter((line) => !present.has(line));
  const changed = [...kept, ...missing.map((line) => `${line}\n`)].join("");
  if (changed !== text) overwrite(path, changed);
}

/** Writes `after` over a file that still says `before`: one that the container changed stays as it is. */
export function replaceUnchanged(path: string, before: string, after: string): void {
  if (before !== after && readBounded(path) === before) overwrite(path, after);
}

function readBounded(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
  try {
    // No more memory than the file needs: a megabyte each time would keep the collector busy. One byte shows its growth.
    const buffer = Buffer.allocUnsafe(Math.min(fstatSync(fd).size, MOST_BYTES) + 1);
    let length = 0;
    for (;;) {
      const read = readSync(fd, buffer, length, buffer.length - length, null);
      length += read;
      if (read === 0 || length === buffer.length) break;
    }
    return length === buffer.length ? undefined : buffer.toString("utf8", 0, length);
  } finally {
    closeSync(fd);
  }
}

/** Without emptying the file first: ext4 would write it to the disk before it is closed. */
function overwrite(path: string, text: string): void {
  const fd = openSync(path, "r+");
  try {
    writeFileSync(fd, text);
    ftruncateSync(fd, Buffer.byteLength(text));
  } finally {
    closeSync(fd);
  }
}
