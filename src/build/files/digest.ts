import { createHash, type Hash, hash } from "node:crypto";
import { closeSync, constants, readSync } from "node:fs";
import { bytesToName } from "../../base/byte-string.ts";
import { readlinkat } from "../../kernel/path.ts";
import { getXattr } from "../../kernel/xattr.ts";
import { type Choice, choose, missing } from "./choose.ts";
import { openFile } from "./contents.ts";
import { attributesOf } from "./dress.ts";
import { isFolderStat, kindOf } from "./folder.ts";
import type { Pace } from "./pace.ts";
import type { Source } from "./sources.ts";
import { type Filter, type Walked, walk } from "./walk.ts";

/** What of a root is read. */
export interface Reading extends Choice {
  readonly sources: readonly string[];
  /** How a folder itself looks counts, not only what is in it. */
  readonly withFolder: boolean;
}

/** A digest, and those of the files, unless they are many. */
export interface ReadDigest {
  readonly digest: string;
  readonly files: ReadonlyMap<string, string> | undefined;
}

/** What is known of files' bytes already, by their path in the root: hexadecimal sha256. */
export interface KnownDigests {
  get(path: string): string | undefined;
  set(path: string, digest: string): void;
  /** True of what is known to have no attributes. */
  isPlain?(path: string): boolean;
  /** As of a ContentIndex. */
  contents?(folder: string, least: number): Promise<string | undefined>;
}

const MOST_FILES = 5000;
const SMALL = 256 << 10;
const PIECE = 1 << 20;
const BATCH = 1 << 16;
let memory: Buffer | undefined;

/**
 * Digests what is read of a root: names, kinds, modes, owners, where links lead, devices, attributes and bytes, not
 * times. `root` undefined is an empty one. What must be there and isn't is not-found, in BuildKit's words.
 */
export async function digestReading(
  root: number | undefined,
  reading: Reading,
  known: KnownDigests,
  pace: Pace,
): Promise<ReadDigest> {
  const sum = new Sum();
  let files: Map<string, string> | undefined = new Map();
  for (const source of reading.sources) {
    sum.add(["source"]);
    for (const chosen of choose(root, source, reading)) {
      const { required } = chosen;
      let isThere = required === undefined;
      const top = chosen.open();
      // Links may have led to it: what is known is known by where it is.
      const base = top.path === "/" ? "" : top.path;
      try {
        sum.add(["from", chosen.path]);
        const { exclude, include } = chosen.filter;
        const isWhole = include === undefined && exclude === undefined && isFolderStat(top.stat);
        const all = isWhole ? await known.contents?.(base.slice(1), MOST_FILES) : undefined;
        if (all !== undefined) {
          sum.add(["all", all, ...(reading.withFolder ? folderLook(top, chosen.filter, known) : [])]);
          files = undefined;
          continue;
        }
        for (const walked of walk(top, chosen.filter)) {
          if (pace.isDue) await pace.take();
          if (walked.event === "leave") continue;
          const { path } = walked;
          isThere ||= path === required || path.startsWith(`${required}/`);
          if (walked.event === "enter" && path === "" && !reading.withFolder) continue;
          const whole = path === "" ? base : `${base}/${path}`;
          const content = contentOf(walked, whole, known);
          const bytes = typeof content === "string" ? content : await fileDigest(content, pace);
          if (typeof content !== "string") known.set(whole.slice(1), bytes);
          sum.add([path, ...lookOf(walked, known.isPlain?.(whole.slice(1)) === true), bytes]);
          if (files !== undefined && walked.event === "leaf") {
            files.set(whole.slice(1), bytes);
            if (files.size > MOST_FILES) files = undefined;
          }
        }
      } finally {
        closeSync(top.dir);
      }
      if (!isThere) throw missing(`${chosen.path === "/" ? "" : chosen.path}/${required}`);
    }
  }
  return { digest: sum.digest(), files };
}

/** How a folder itself looks, whatever is in it. */
function folderLook(top: Source, filter: Filter, known: KnownDigests): string[] {
  const walking = walk(top, filter);
  try {
    const { value: entered } = walking.next();
    return entered === undefined ? [] : lookOf(entered, known.isPlain?.(top.path.slice(1)) === true);
  } finally {
    // It has the folder open until it ends.
    walking.return(undefined);
  }
}

/** Numbers and attributes of a thing, its permissions apart from its kind. */
function lookOf({ event, dir, base, own, stat }: Walked, isPlain: boolean): string[] {
  const row = [stat.mode.toString(8), `${stat.uid}:${stat.gid}`];
  const kind = kindOf(stat);
  if (kind === constants.S_IFCHR || kind === constants.S_IFBLK) row.push(`${stat.rdev.major}:${stat.rdev.minor}`);
  if (isPlain) return row;
  const target = event === "enter" ? own : `/proc/self/fd/${dir}/${base}`;
  for (const name of attributesOf(target).sort()) row.push(name, getXattr(target, name)?.toString("hex") ?? "");
  return row;
}

/** The digest of a small file or a known one, where a link leads, or a large file's descriptor, to be closed. */
function contentOf({ dir, base, stat }: Walked, path: string, known: KnownDigests): string | number {
  const kind = kindOf(stat);
  if (kind === constants.S_IFLNK) return bytesToName(readlinkat(dir, base));
  if (kind !== constants.S_IFREG) return "";
  const before = known.get(path.slice(1));
  if (before !== undefined) return before;
  const fd = openFile(dir, base);
  if (stat.size > SMALL) return fd;
  try {
    memory ??= Buffer.allocUnsafeSlow(PIECE);
    const count = readSync(fd, memory, 0, SMALL, 0);
    const digest = hash("sha256", memory.subarray(0, count), "hex");
    known.set(path.slice(1), digest);
    return digest;
  } finally {
    closeSync(fd);
  }
}

async function fileDigest(fd: number, pace: Pace): Promise<string> {
  try {
    const own = createHash("sha256");
    for (let at = 0; ; ) {
      memory ??= Buffer.allocUnsafeSlow(PIECE);
      const count = readSync(fd, memory, 0, PIECE, at);
      if (count === 0) return own.digest("hex");
      own.update(memory.subarray(0, count));
      at += count;
      if (pace.isDue) await pace.take();
    }
  } finally {
    closeSync(fd);
  }
}

/** Rows of texts, so that no two lists of rows have the same bytes. */
class Sum {
  readonly #hash: Hash = createHash("sha256");
  #batch = "";

  add(row: readonly string[]): void {
    for (const text of row) this.#batch += `${text.length} ${text}`;
    this.#batch += "\n";
    if (this.#batch.length > BATCH) this.#flush();
  }

  digest(): string {
    this.#flush();
    return `sha256:${this.#hash.digest("hex")}`;
  }

  /** As UTF-16: names of bytes that are no UTF-8 differ, too. */
  #flush(): void {
    this.#hash.update(Buffer.from(this.#batch, "utf16le"));
    this.#batch = "";
  }
}
