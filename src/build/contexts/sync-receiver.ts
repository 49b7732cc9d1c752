import { closeSync, constants, mkdirSync, openSync } from "node:fs";
import { Breath } from "../../base/breath.ts";
import { GantryError } from "../../base/errors.ts";
import type { FileReceiver, FileStat } from "../session.ts";
import { type FileKind, kindOf } from "./file-kind.ts";
import { stageFile, stageOther } from "./staging.ts";
import { IndexWriter, linkTarget, RecordEncoder, type StatIndex } from "./stat-index.ts";

/** More than any folder that is built from: beyond it, what is kept of them in memory would not be little. */
const MOST_FILES = 4_000_000;
/** Records that are passed without a look at the clock. */
const MOST_AT_ONCE = 2048;

/** How a folder differs from what was known of it; offsets are those of records. */
export interface Difference {
  readonly former: StatIndex;
  readonly index: StatIndex;
  /** Of the former index: gone, or replaced by another kind. What is in a folder that is gone is left out. */
  readonly removed: readonly number[];
  /** Of the new index, in its order: new or changed. */
  readonly put: readonly Put[];
  /** Bytes that came. */
  readonly bytes: number;
}

export interface Put {
  readonly offset: number;
  /** Attributes of a folder: only those are set later. */
  readonly xattrs: FileStat["xattrs"];
  /** The name it has in the folder of what came; undefined for folders and hard links. */
  readonly staged: string | undefined;
}

/**
 * Compares what a client tells of a folder with what is known of it, and takes what is new into a folder aside: what
 * is known stays as it is.
 */
export class SyncReceiver implements FileReceiver {
  readonly #former: StatIndex;
  readonly #writer: IndexWriter;
  readonly #encoder = new RecordEncoder();
  readonly #staging: number;
  readonly #onBytes: (bytes: number) => void;
  readonly #breath = new Breath();
  readonly #removed: number[] = [];
  readonly #put: Put[] = [];
  readonly #pending = new Map<string, { offset: number; staged: string }>();
  /** Files that are new or changed where there was something before: links to them are made anew. */
  readonly #changed = new Set<string>();
  /** The folders that the last file was in, each with a slash behind it. */
  readonly #parents: string[] = [""];
  #at = 0;
  /** Path of the folder that was removed last. */
  #gone: Buffer | undefined;
  #count = 0;
  #bytes = 0;
  #difference: Difference | undefined;

  /** `staging` is made; it is the caller's to remove. */
  constructor(former: StatIndex, staging: string, onBytes: (bytes: number) => void = () => {}) {
    this.#former = former;
    this.#onBytes = onBytes;
    this.#writer = new IndexWriter(former);
    mkdirSync(staging, { mode: 0o700 });
    this.#staging = openSync(staging, constants.O_RDONLY | constants.O_DIRECTORY);
  }

  file(stat: FileStat): boolean | Promise<boolean> {
    const kind = kindOf(stat.mode);
    this.#refuse(stat, kind);
    // Nothing that is built from: clients leave them out, too.
    if (kind === "socket") return false;
    this.#encoder.encode(stat);
    if (kind === "folder") this.#parents.push(`${stat.path}/`);
    if (this.#skipGone()) return this.#take(stat, kind);
    return this.#skipAllGone().then(() => this.#take(stat, kind));
  }

  #take(stat: FileStat, kind: FileKind): boolean {
    const same = this.#advance(kind === "folder");
    const isLink = kind === "file" && stat.linkname !== "";
    if (same !== undefined && !(isLink && this.#changed.has(linkTarget(stat.linkname)))) {
      this.#writer.keep(same);
      return false;
    }
    const offset = this.#writer.add(this.#encoder);
    if (++this.#count > MOST_FILES) throw new GantryError("invalid", "the context has too many files");
    if (kind === "file" && this.#former.bytes.length > 0) this.#changed.add(stat.path);
    if (kind === "folder" || isLink) {
      this.#put.push({ offset, xattrs: stat.xattrs, staged: undefined });
      return false;
    }
    const staged = String(offset);
    this.#put.push({ offset, xattrs: stat.xattrs, staged });
    if (kind === "file" && stat.size > 0) {
      this.#pending.set(stat.path, { offset, staged });
      return true;
    }
    stageOther(this.#staging, staged, stat);
    if (kind === "file") this.#writer.setDigest(offset, EMPTY);
    return false;
  }

  async contents(stat: FileStat, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const wanted = this.#pending.get(stat.path);
    if (wanted === undefined) {
      throw new GantryError("invalid", `cannot take ${JSON.stringify(stat.path)} of the context: nobody asked for it`);
    }
    const { size, digest } = await stageFile(this.#staging, wanted.staged, stat, bytes);
    this.#pending.delete(stat.path);
    this.#bytes += size;
    this.#writer.setDigest(wanted.offset, digest);
    this.#onBytes(this.#bytes);
    if (this.#breath.isDue) await this.#breath.take();
  }

  async end(): Promise<void> {
    const [missing] = this.#pending.keys();
    if (missing !== undefined) {
      throw new GantryError("invalid", `cannot take ${JSON.stringify(missing)} of the context: it was not sent`);
    }
    const { bytes } = this.#former;
    for (let count = 1; this.#at < bytes.length; count++) {
      this.#remove();
      if (count % MOST_AT_ONCE === 0) await this.#breath.take();
    }
    const index = this.#writer.finish();
    this.#difference = { former: this.#former, index, removed: this.#removed, put: this.#put, bytes: this.#bytes };
  }

  /** What was found; the sync must have come to its end. */
  get difference(): Difference {
    if (this.#difference === undefined) {
      throw new GantryError("invalid", "cannot take the context: the client ended before it had sent all of it");
    }
    return this.#difference;
  }

  close(): void {
    closeSync(this.#staging);
  }

  /** Throws for what no walk of a folder tells. The order is checked where the record is made. */
  #refuse({ path, mode, size, linkname }: FileStat, kind: FileKind): void {
    const parents = this.#parents;
    while (!path.startsWith(parents.at(-1)!)) parents.pop();
    const base = path.slice(parents.at(-1)!.length);
    const isName = base !== "" && base !== "." && base !== ".." && !base.includes("/") && !base.includes("\0");
    if (!isName) throw refused(path, "it is no path of a file in a folder that was told before");
    if (kind === "unknown") throw refused(path, `no file has the mode ${mode}`);
    if (!Number.isSafeInteger(size) || size < 0) throw refused(path, `no file has the size ${size}`);
    if (linkname.includes("\0")) throw refused(path, "what it links to contains NUL");
    if (kind === "file" && linkname !== "" && linkTarget(linkname) === path) throw refused(path, "it links to itself");
  }

  /** Removes what comes before the file in the former index and is gone. False where that is more than for one turn. */
  #skipGone(): boolean {
    const { length } = this.#former.bytes;
    for (let count = 0; count < MOST_AT_ONCE; count++) {
      if (this.#at >= length || this.#encoder.compare(this.#former, this.#at) >= 0) return true;
      this.#remove();
    }
    return false;
  }

  async #skipAllGone(): Promise<void> {
    while (!this.#skipGone()) await this.#breath.take();
  }

  /** The record of the former index that says the same; what came before it there was skipped. */
  #advance(isFolder: boolean): number | undefined {
    const offset = this.#at;
    if (offset >= this.#former.bytes.length || this.#encoder.compare(this.#former, offset) !== 0) return undefined;
    const isSame = this.#encoder.equals(this.#former, offset);
    // What takes another's place by its name alone needs no removal before it.
    if (isSame || (this.#former.kindAt(offset) === "folder") === isFolder) this.#at = this.#former.after(offset);
    else this.#remove();
    return isSame ? offset : undefined;
  }

  #remove(): void {
    const offset = this.#at;
    this.#at = this.#former.after(offset);
    if (this.#gone !== undefined && this.#former.isBelow(offset, this.#gone)) return;
    this.#removed.push(offset);
    this.#gone = this.#former.kindAt(offset) === "folder" ? this.#former.pathAt(offset) : undefined;
  }
}

const EMPTY = Buffer.from("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "hex");

function refused(path: string, why: string): GantryError {
  return new GantryError("invalid", `cannot take ${JSON.stringify(path.slice(0, 200))} of the context: ${why}`);
}
