import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readdirSync, readlinkSync, readSync, writeSync } from "node:fs";
import { hasCode, messageOf } from "../../../base/errors.ts";
import { O_PATH, openBeneath, openInRoot, readFileInRoot, statIfThere } from "../../../kernel/path.ts";
import type { Subject } from "../statement.ts";
import { isJavaArchive, readJavaArchive } from "./archives.ts";
import { type RandomAccess, readProgram } from "./binaries.ts";
import { readApk, readCopyright, readDpkg, readOsRelease } from "./distribution.ts";
import type { Distribution, Found, FoundPackage } from "./found.ts";
import { LANGUAGE_FILES } from "./languages.ts";
import { readRpmDatabase, readRpmHeader } from "./rpm.ts";
import { berkeleyHeaders, ndbHeaders } from "./rpm-files.ts";

export interface ScanLimits {
  /** Files and folders that are looked at. */
  readonly entries: number;
  readonly depth: number;
  readonly packages: number;
  /** Bytes of one list of packages. */
  readonly text: number;
}

/** What each path of must be told or none at all. */
const EVERYTHING: Pick<ScanLimits, "depth" | "entries"> = { entries: Number.POSITIVE_INFINITY, depth: 1000 };

export const SCAN_LIMITS: ScanLimits = { entries: 2_000_000, depth: 100, packages: 200_000, text: 64 << 20 };

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const MOST_SMALL = 1 << 20;
const MOST_LICENCE = MOST_SMALL;
const MOST_NOTES = 100;
const MOST_PATH = 4000;
const CHUNK = 1 << 20;
/** What is no part of an image. */
const ELSEWHERE: ReadonlySet<string> = new Set(["/dev", "/proc", "/sys"]);
const DPKG = "/var/lib/dpkg";
const APK = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
const RPM = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];

interface Walked {
  readonly path: string;
  readonly isFile: boolean;
  readonly isExecutable: boolean;
}

/**
 * Finds the packages in a root filesystem. Blocks: for a thread of its own. Files may be hostile: what is too long, too
 * deep or damaged is passed over and noted, and no path leads out of the root.
 */
export function scanPackages(root: string, limits: ScanLimits = SCAN_LIMITS): Found {
  return inFolder(root, (fd) => new Scan(fd, limits).run());
}

/**
 * Writes the regular files of a root with their digests to a new file, as a list in JSON; gives its length. Blocks, as
 * well. What it holds at a time is the names of one folder.
 */
export function writeDigests(root: string, file: string): number {
  return inFolder(root, (fd) => {
    using list = new SubjectList(file);
    digestsIn(fd, list);
    return list.end();
  });
}

/** An open folder: names are looked up from there, and the root's own path only once. */
function inFolder<T>(root: string, act: (fd: number) => T): T {
  const fd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return act(fd);
  } finally {
    closeSync(fd);
  }
}

function digestsIn(root: number, list: SubjectList): void {
  const buffer = Buffer.alloc(CHUNK);
  const onLimit = (why: string): never => {
    throw new Error(why);
  };
  for (const { isFile, path } of walk(root, EVERYTHING, onLimit)) {
    if (!isFile) continue;
    const hash = createHash("sha256");
    using file = openFile(root, path);
    if (file === undefined) continue;
    for (let count = 1; count > 0; ) {
      count = readSync(file.fd, buffer, 0, buffer.length, null);
      hash.update(buffer.subarray(0, count));
    }
    list.add({ name: path.slice(1), digest: { sha256: hash.digest("hex") } });
  }
}

/** Subjects as JSON in a file, written in pieces. */
class SubjectList implements Disposable {
  readonly #fd: number;
  #piece = "[";
  #isFirst = true;
  #size = 0;

  constructor(path: string) {
    this.#fd = openSync(path, "wx", 0o600);
  }

  add(subject: Subject): void {
    this.#piece += `${this.#isFirst ? "" : ","}${JSON.stringify(subject)}`;
    this.#isFirst = false;
    if (this.#piece.length >= CHUNK) this.#flush();
  }

  /** How long it is. */
  end(): number {
    this.#piece += "]";
    this.#flush();
    return this.#size;
  }

  #flush(): void {
    const bytes = Buffer.from(this.#piece);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    this.#size += bytes.length;
    this.#piece = "";
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

class Scan {
  readonly #root: number;
  readonly #limits: ScanLimits;
  readonly #packages: FoundPackage[] = [];
  readonly #notes: string[] = [];
  #distribution: Distribution | undefined;

  constructor(root: number, limits: ScanLimits) {
    this.#root = root;
    this.#limits = limits;
  }

  run(): Found {
    for (const path of ["/etc/os-release", "/usr/lib/os-release"]) {
      this.#distribution ??= readOsRelease(this.#text(path, MOST_SMALL) ?? "");
    }
    this.#dpkg();
    this.#apk();
    this.#rpm();
    for (const { isExecutable, isFile, path } of walk(this.#root, this.#limits, (why) => this.#note(why))) {
      if (!isFile) continue;
      if (this.#packages.length >= this.#limits.packages) {
        this.#note(`only the first ${this.#limits.packages} packages are told`);
        break;
      }
      this.#attempt(path, () => this.#file(path, isExecutable));
    }
    return {
      distribution: this.#distribution,
      packages: this.#packages.slice(0, this.#limits.packages),
      notes: this.#notes,
    };
  }

  #dpkg(): void {
    const folder = `${DPKG}/status.d`;
    const names = namesIn(this.#root, folder) ?? [];
    const files = names.filter((name) => !name.endsWith(".md5sums")).map((name) => `${folder}/${name}`);
    const licenceOf = (name: string): string | undefined => {
      // Names of packages have no slashes: what has one leads elsewhere in the root, where no licence is.
      const text = this.#text(`/usr/share/doc/${name}/copyright`, MOST_LICENCE);
      return text === undefined ? undefined : readCopyright(text);
    };
    for (const path of [`${DPKG}/status`, ...files]) {
      const text = this.#text(path, this.#limits.text);
      if (text !== undefined) this.#add(readDpkg(text, { distribution: this.#distribution, path, licenceOf }));
    }
  }

  #apk(): void {
    for (const path of APK) {
      const text = this.#text(path, this.#limits.text);
      if (text === undefined) continue;
      this.#add(readApk(text, { distribution: this.#distribution, path }));
      return;
    }
  }

  #rpm(): void {
    for (const folder of RPM) {
      const path = `${folder}/rpmdb.sqlite`;
      using file = openFile(this.#root, path);
      if (file !== undefined) {
        const database = readlinkSync(`/proc/self/fd/${file.fd}`);
        this.#attempt(path, () => this.#add(readRpmDatabase(database, path, this.#distribution)));
        return;
      }
      for (const [name, headers] of [
        ["Packages.db", ndbHeaders],
        ["Packages", berkeleyHeaders],
      ] as const) {
        const older = `${folder}/${name}`;
        using other = openFile(this.#root, older);
        if (other === undefined) continue;
        // What was read before the damage counts.
        this.#attempt(older, () => {
          for (const header of headers(other.fd)) this.#add(readRpmHeader(header, older, this.#distribution));
        });
        return;
      }
    }
  }

  #file(path: string, isExecutable: boolean): void {
    const language = LANGUAGE_FILES.find((each) => each.path.test(path));
    if (language !== undefined) {
      const text = this.#text(path, path.endsWith(".json") || path.endsWith(".lock") ? this.#limits.text : MOST_SMALL);
      if (text !== undefined) this.#add(language.read(text, path));
      return;
    }
    const isArchive = isJavaArchive(path);
    if (!isArchive && !isExecutable) return;
    using file = openFile(this.#root, path);
    if (file === undefined) return;
    this.#add(isArchive ? readJavaArchive(file, path) : readProgram(file, path));
  }

  #text(path: string, most: number): string | undefined {
    try {
      return readFileInRoot(this.#root, path, most).toString("utf8");
    } catch (error) {
      if (!hasCode(error, "ENOENT", "ENOTDIR")) this.#note(messageOf(error));
      return undefined;
    }
  }

  #attempt(path: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#note(`${path} could not be read: ${messageOf(error)}`);
    }
  }

  #add(found: readonly FoundPackage[]): void {
    for (const one of found) this.#packages.push(one);
  }

  #note(text: string): void {
    if (this.#notes.length < MOST_NOTES) this.#notes.push(text);
  }
}

/** All files, folders before what is in them, in the order of their names. Links are not followed. */
function* walk(
  root: number,
  limits: Pick<ScanLimits, "depth" | "entries">,
  onLimit: (why: string) => void,
): Generator<Walked> {
  const pending = [""];
  let seen = 0;
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    if (folder.split("/").length > limits.depth || folder.length > MOST_PATH) {
      onLimit(`${folder.slice(0, 200)} is too deep to be looked into`);
      continue;
    }
    const folders: string[] = [];
    for (const { isExecutable, isFile, isFolder, name } of rowsIn(root, folder)) {
      if (++seen > limits.entries) return onLimit(`only the first ${limits.entries} files and folders were looked at`);
      const path = `${folder}/${name}`;
      yield { path, isFile, isExecutable };
      if (isFolder && !ELSEWHERE.has(path)) folders.push(path);
    }
    pending.push(...folders.reverse());
  }
}

interface Row extends Omit<Walked, "path"> {
  readonly name: string;
  readonly isFolder: boolean;
}

function rowsIn(root: number, folder: string): Row[] {
  let fd: number;
  try {
    fd = openBeneath(root, folder === "" ? "." : folder.slice(1), FOLDER);
  } catch (error) {
    // A name that is no text can't be asked for.
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EXDEV")) return [];
    throw error;
  }
  try {
    return readdirSync(`/proc/self/fd/${fd}`, { withFileTypes: true })
      .map((row) => {
        const isFile = row.isFile();
        const isExecutable = isFile && ((statIfThere(fd, row.name)?.mode ?? 0) & 0o111) !== 0;
        return { name: row.name, isFile, isExecutable, isFolder: row.isDirectory() };
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  } finally {
    closeSync(fd);
  }
}

function namesIn(root: number, folder: string): string[] | undefined {
  let fd: number;
  try {
    fd = openInRoot(root, folder, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
    throw error;
  }
  try {
    return readdirSync(`/proc/self/fd/${fd}`).sort();
  } finally {
    closeSync(fd);
  }
}

interface OpenFile extends RandomAccess, Disposable {
  readonly fd: number;
}

/** A regular file inside the root, opened without ever waiting for a FIFO; undefined for anything else. */
function openFile(root: number, path: string): OpenFile | undefined {
  let pinned: number;
  try {
    pinned = openInRoot(root, path, O_PATH);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG")) return undefined;
    throw error;
  }
  try {
    const stat = fstatSync(pinned);
    if (!stat.isFile()) return undefined;
    const fd = openSync(`/proc/self/fd/${pinned}`, constants.O_RDONLY);
    return {
      fd,
      size: stat.size,
      read: (offset, length) => {
        const buffer = Buffer.alloc(Math.max(0, Math.min(length, stat.size - offset)));
        return buffer.subarray(0, buffer.length === 0 ? 0 : readSync(fd, buffer, 0, buffer.length, offset));
      },
      [Symbol.dispose]: () => closeSync(fd),
    };
  } finally {
    closeSync(pinned);
  }
}
