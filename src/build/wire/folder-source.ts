import { closeSync, constants, createReadStream, openSync } from "node:fs";
import { Breath } from "../../base/breath.ts";
import { bytesToName } from "../../base/byte-string.ts";
import { goModeOf } from "../../base/go-mode.ts";
import type { FileSource } from "../../buildkit/file-send.ts";
import type { Stat } from "../../buildkit/packet.ts";
import { fstatat, openBeneath, readlinkat } from "../../kernel/path.ts";
import { getXattr, listXattrs } from "../../kernel/xattr.ts";
import { walk } from "../files/walk.ts";
import type { SendFolderOptions } from "../session.ts";

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
const PIECE = 256 << 10;

/** A folder of this machine's as it is sent to a client. What is in it leads nowhere outside. */
export class FolderSource implements FileSource, Disposable {
  readonly #root: number;
  readonly #options: SendFolderOptions;
  /** Where files with several names were told first. */
  readonly #links = new Map<string, string>();

  constructor(folder: string, options: SendFolderOptions) {
    this.#root = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#options = options;
  }

  async *files(): AsyncIterable<Stat> {
    const { under } = this.#options;
    const source = { dir: this.#root, base: ".", stat: fstatat(this.#root, ""), path: "" };
    if (under !== undefined) yield this.#stat("", source.dir, "", source.stat);
    const breath = new Breath();
    for (const { event, path, dir, base, stat } of walk(source, { include: undefined, exclude: undefined })) {
      if (event === "leave" || path === "") continue;
      // Nobody listens on a socket that is in an image.
      if ((stat.mode & constants.S_IFMT) !== constants.S_IFSOCK) yield this.#stat(path, dir, base, stat);
      if (breath.isDue) await breath.take();
    }
  }

  async *open(path: string): AsyncIterable<Uint8Array> {
    const { under } = this.#options;
    const below = under === undefined ? path : path.slice(under.length + 1);
    const fd = openBeneath(this.#root, below, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    yield* createReadStream("", { fd, autoClose: true, highWaterMark: PIECE });
  }

  [Symbol.dispose](): void {
    closeSync(this.#root);
  }

  #stat(path: string, dir: number, base: string, stat: ReturnType<typeof fstatat>): Stat {
    const { under, modTime } = this.#options;
    const kind = stat.mode & constants.S_IFMT;
    const told = under === undefined ? path : path === "" ? under : `${under}/${path}`;
    const isDevice = kind === constants.S_IFCHR || kind === constants.S_IFBLK;
    return {
      path: told,
      mode: goModeOf(stat.mode),
      uid: stat.uid,
      gid: stat.gid,
      size: kind === constants.S_IFREG ? stat.size : 0,
      modTime:
        modTime === undefined
          ? BigInt(stat.mtime.seconds) * 1_000_000_000n + BigInt(stat.mtime.nanoseconds)
          : BigInt(modTime) * 1_000_000_000n,
      linkname: this.#linkname(told, kind, dir, base, stat),
      devmajor: isDevice ? stat.rdev.major : 0,
      devminor: isDevice ? stat.rdev.minor : 0,
      xattrs: kind === constants.S_IFLNK ? NO_XATTRS : xattrsOf(dir, base),
    };
  }

  #linkname(told: string, kind: number, dir: number, base: string, stat: ReturnType<typeof fstatat>): string {
    if (kind === constants.S_IFLNK) return bytesToName(readlinkat(dir, base));
    if (kind !== constants.S_IFREG || stat.nlink < 2) return "";
    const file = `${stat.dev}:${stat.ino}`;
    const first = this.#links.get(file);
    if (first === undefined) this.#links.set(file, told);
    return first ?? "";
  }
}

function xattrsOf(dir: number, base: string): ReadonlyMap<string, Uint8Array> {
  // A path is the way to those of a file that can't be opened; one that is no text has none.
  if (!base.isWellFormed()) return NO_XATTRS;
  const file = `/proc/self/fd/${dir}/${base === "" ? "." : base}`;
  const names = listXattrs(file);
  if (names.length === 0) return NO_XATTRS;
  const xattrs = new Map<string, Uint8Array>();
  for (const name of names) {
    const value = name.startsWith("trusted.") ? undefined : getXattr(file, name);
    if (value !== undefined) xattrs.set(name, value);
  }
  return xattrs;
}
