import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  ftruncateSync,
  futimesSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  writevSync,
} from "node:fs";
import { posix } from "node:path";
import { nameToBytes } from "../../base/byte-string.ts";
import { hasCode } from "../../base/errors.ts";
import type { TarEntry } from "../../oci/tar/entry.ts";
import { TarParser } from "../../oci/tar/parser.ts";

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** So much of a file is gathered before it is written. */
const BATCH = 1024 * 1024;

/**
 * Extracts an archive into a folder of this machine. What comes from a container is not trusted: no name leads out of
 * the folder, and nothing is written through a link that the archive has brought. Owners are those of who extracts.
 */
export async function unpackLocal(
  archive: AsyncIterable<Uint8Array>,
  folder: string,
  rename: ((name: string) => string) | undefined,
): Promise<void> {
  const writer = new Unpacker(folder, rename ?? ((same) => same));
  const parser = new TarParser(writer);
  try {
    for await (const chunk of archive) parser.push(chunk as Buffer);
    parser.finish();
    writer.finish();
  } finally {
    writer.close();
  }
}

class Unpacker {
  readonly #folder: string;
  readonly #rename: (name: string) => string;
  /** Folders below the top one that are known to be folders, and no links. */
  readonly #real = new Set<string>([""]);
  readonly #folders: { readonly path: string; readonly entry: TarEntry }[] = [];
  #file: { readonly fd: number; readonly entry: TarEntry } | undefined;
  #batch: Buffer[] = [];
  #batched = 0;
  #offset = 0;

  constructor(folder: string, rename: (name: string) => string) {
    this.#folder = folder;
    this.#rename = rename;
  }

  entry(entry: TarEntry): void {
    const name = this.#clean(this.#rename(entry.name), entry);
    if (name === "") {
      if (entry.type === "directory") return;
      throw new Error(`invalid tar header: ${JSON.stringify(entry.name)}: it has no name of its own`);
    }
    this.#enter(posix.dirname(name) === "." ? "" : posix.dirname(name));
    const path = this.#path(name);
    const was = lstatSync(path, { throwIfNoEntry: false });
    const is = was?.isDirectory() === true;
    const will = entry.type === "directory";
    if (was !== undefined && is !== will) {
      if (is)
        throw new Error(
          `cannot overwrite directory ${JSON.stringify(this.#shown(name))} with non-directory ${JSON.stringify(this.#folder)}`,
        );
      if (will)
        throw new Error(
          `cannot overwrite non-directory ${JSON.stringify(this.#shown(name))} with directory ${JSON.stringify(this.#folder)}`,
        );
    }
    if (was !== undefined && !is) rmSync(path);
    switch (entry.type) {
      case "directory":
        if (was === undefined) mkdirSync(path, 0o700);
        this.#real.add(name);
        this.#folders.push({ path: name, entry });
        return;
      case "file":
        this.#file = { fd: openSync(path, NEW_FILE, 0o600), entry };
        return;
      case "symlink":
        symlinkSync(nameToBytes(entry.linkName), path);
        break;
      case "hardlink": {
        const target = this.#clean(this.#rename(entry.linkName), entry);
        this.#enter(posix.dirname(target) === "." ? "" : posix.dirname(target));
        linkSync(this.#path(target), path);
        return;
      }
      default:
        makeNode(path.toString(), entry);
        chmodSync(path, entry.mode);
    }
    setTimes(path, entry);
  }

  data(bytes: Buffer, offset: number): void {
    if (this.#file === undefined) return;
    if (this.#batched > 0 && offset !== this.#offset + this.#batched) this.#flush();
    if (this.#batched === 0) this.#offset = offset;
    this.#batch.push(bytes);
    this.#batched += bytes.length;
    if (this.#batched >= BATCH) this.#flush();
  }

  end(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#flush();
    this.#file = undefined;
    try {
      if (file.entry.sparse !== undefined) ftruncateSync(file.fd, file.entry.size);
      fchmodSync(file.fd, file.entry.mode);
      const time = secondsOf(file.entry);
      futimesSync(file.fd, time, time);
    } finally {
      closeSync(file.fd);
    }
  }

  /** Folders get their modes and times last: a read-only one can't be filled, and filling changes the time. */
  finish(): void {
    for (const { path: name, entry } of this.#folders.reverse()) {
      const path = this.#path(name);
      chmodSync(path, entry.mode);
      setTimes(path, entry);
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
    this.#file = undefined;
  }

  #flush(): void {
    const file = this.#file;
    if (file === undefined || this.#batched === 0) return;
    let batch: Buffer[] = this.#batch;
    let at = this.#offset;
    this.#batch = [];
    this.#batched = 0;
    while (batch.length > 0) {
      const written = writevSync(file.fd, batch, at);
      at += written;
      batch = after(batch, written);
    }
  }

  /** Makes the folders above a name that are missing, and refuses those that are none. */
  #enter(folder: string): void {
    if (this.#real.has(folder)) return;
    const above = posix.dirname(folder);
    this.#enter(above === "." ? "" : above);
    const path = this.#path(folder);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) mkdirSync(path, 0o755);
    else if (!stat.isDirectory())
      throw new Error(`cannot extract below ${JSON.stringify(this.#shown(folder))}: it is no folder`);
    this.#real.add(folder);
  }

  /** A name below the folder; "" is the folder itself. */
  #clean(name: string, entry: TarEntry): string {
    const clean = posix.normalize(name).replace(/^\/+/, "").replace(/\/$/, "");
    if (clean === ".." || clean.startsWith("../") || name.includes("\0")) {
      throw new Error(`${JSON.stringify(entry.name)} is outside of ${JSON.stringify(this.#folder)}`);
    }
    return clean === "." ? "" : clean;
  }

  #path(name: string): Buffer {
    return Buffer.concat([Buffer.from(this.#folder === "/" ? "/" : `${this.#folder}/`), nameToBytes(name)]);
  }

  #shown(name: string): string {
    return posix.join(this.#folder, name);
  }
}

const NODE_LETTERS: Partial<Record<TarEntry["type"], string>> = { fifo: "p", character: "c", block: "b" };

/** Neither runtime can make devices or FIFOs itself. */
function makeNode(path: string, { type, major, minor }: TarEntry): void {
  const numbers = type === "fifo" ? [] : [String(major), String(minor)];
  const { execFileSync } = process.getBuiltinModule("node:child_process");
  execFileSync("mknod", ["--", path, NODE_LETTERS[type] ?? "", ...numbers], { stdio: ["ignore", "ignore", "pipe"] });
}

function after(batch: readonly Buffer[], written: number): Buffer[] {
  let left = written;
  for (let at = 0; at < batch.length; at++) {
    const buffer = batch[at]!;
    if (left < buffer.length) return [buffer.subarray(left), ...batch.slice(at + 1)];
    left -= buffer.length;
  }
  return [];
}

function setTimes(path: Buffer, entry: TarEntry): void {
  const time = secondsOf(entry);
  try {
    lutimesSync(path, time, time);
  } catch (error) {
    // Some file systems keep none for links.
    if (!hasCode(error, "ENOSYS", "EOPNOTSUPP")) throw error;
  }
}

function secondsOf({ mtime }: TarEntry): number {
  return mtime.seconds + mtime.nanoseconds / 1e9;
}
