import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
} from "node:fs";
import { join } from "node:path";
import { flushFolder, syncFolder } from "../base/atomic-file.ts";
import { GantryError, hasCode, unlessCode } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { FreshFlight } from "../base/fresh-flight.ts";
import { syncfs } from "../kernel/path.ts";
import { withFolder } from "../kernel/with-folder.ts";
import { removeTree } from "./remove-tree.ts";
import type { SnapshotLoan } from "./snapshotter.ts";

export interface Row {
  readonly id: string;
  readonly kind: "active" | "committed";
  /** Name of the committed snapshot below. */
  readonly parent: string | undefined;
  /** Name of its folder: short, so that many layers fit into one mount. */
  readonly folder: string;
  /** Bytes it adds to its parent, where that is known. */
  readonly size?: number;
  /** Where its files are, of one that is lent: it has no folder. */
  readonly lentFs?: string;
  readonly hasRoot?: boolean;
  /** Why it can't be mounted. */
  readonly refusal?: string;
}

/** What `meta` of a snapshot says that is being renamed: children that name the former name mean it. */
interface Renamed extends Row {
  readonly formerly?: string;
}

/**
 * Which snapshots there are: a folder each, described by the target of the symbolic link `meta` in it. A link appears
 * whole with one call and lies in the file system's journal, not in its data: that is durable in order with whatever
 * is synced later (the container's record), and costs an active snapshot no fsync of its own.
 */
export class SnapshotTable {
  readonly #folders: string;
  readonly #trash: string;
  readonly #rows = new Map<string, Row>();
  readonly #children = new Map<string, number>();
  readonly #lent = new Map<string, Row>();
  /** What snapshots were called before, for those who began with that name. */
  readonly #formerly = new Map<string, string>();
  /** On the disk soon, and no snapshots before. */
  readonly #nameless = new Set<Row>();
  /** Folders of committed snapshots that a power loss may damage. */
  readonly #unsynced = new Set<string>();
  #last = 0;
  readonly #synced: FreshFlight;
  readonly #renamed: FreshFlight;

  /** Makes what is missing of `root` and reads what is there. */
  constructor(root: string) {
    this.#folders = join(root, "l");
    this.#trash = join(root, "trash");
    this.#synced = new FreshFlight(async () => {
      const before = [...this.#unsynced];
      await withFolder(this.#folders, syncfs);
      for (const folder of before) this.#unsynced.delete(folder);
    });
    this.#renamed = new FreshFlight(() => flushFolder(this.#folders));
    for (const path of [this.#folders, this.#trash]) mkdirSync(path, { recursive: true, mode: 0o710 });
    const renamed: Renamed[] = [];
    for (const folder of readdirSync(this.#folders)) {
      this.#last = Math.max(this.#last, Number.parseInt(folder, 36) || 0);
      const row = this.#read(folder);
      if (row === undefined) continue;
      this.#add(row);
      // The last process may have died between a commit and its sync.
      if (row.kind === "committed") this.#unsynced.add(folder);
      if (row.formerly !== undefined) renamed.push(row);
    }
    // A crash came between.
    for (const { id } of renamed) {
      const { formerly = "", ...row }: Renamed = this.need(id);
      this.#rows.set(id, row);
      this.#finishRename(row, formerly);
    }
    for (const folder of readdirSync(this.#trash)) this.#last = Math.max(this.#last, Number.parseInt(folder, 36) || 0);
  }

  get(id: string): Row | undefined {
    return this.#rows.get(id);
  }

  /** The row, or `not-found`. */
  need(id: string): Row {
    const row = this.#rows.get(id);
    if (row === undefined) throw new GantryError("not-found", `snapshot ${id} does not exist`);
    return row;
  }

  list(): Row[] {
    return [...this.#rows.values()];
  }

  /** What stands for a committed snapshot that is to come, until it is there or the result is disposed of. */
  lend(name: string, { fs, hasRoot, parent, refusal }: SnapshotLoan): Disposable {
    const lent = { lentFs: fs, hasRoot, ...(refusal !== undefined && { refusal }) };
    const row: Row = { id: name, kind: "committed", parent, folder: "", ...lent };
    this.#lent.set(name, row);
    return {
      [Symbol.dispose]: () => {
        if (this.#lent.get(name) === row) this.#lent.delete(name);
      },
    };
  }

  /** The files of a snapshot, or of what stands for it. */
  fs(row: Pick<Row, "folder" | "lentFs">): string {
    return row.lentFs ?? this.path(row, "fs");
  }

  path(row: Pick<Row, "folder">, ...rest: string[]): string {
    return join(this.#folders, row.folder, ...rest);
  }

  /** The row's parent, its parent and so on: nearest first. */
  ancestors(row: Pick<Row, "parent">): Row[] {
    const all: Row[] = [];
    for (let name = row.parent; name !== undefined; name = all.at(-1)!.parent) all.push(this.#below(name));
    return all;
  }

  /** Of a lent layer that doesn't say how its root looks, what is below it does. */
  #lookOf(name: string): Pick<Stats, "mode" | "uid" | "gid"> {
    const row = this.#below(name);
    if (row.refusal !== undefined) throw new GantryError("unavailable", row.refusal);
    if (row.lentFs === undefined || row.hasRoot === true) return statSync(this.fs(row));
    return row.parent === undefined ? { mode: 0o755, uid: 0, gid: 0 } : this.#lookOf(row.parent);
  }

  #below(name: string): Row {
    return this.#rows.get(name) ?? this.#lent.get(name) ?? this.need(this.#formerly.get(name) ?? name);
  }

  /**
   * Refuses an id that is taken (conflict) and a parent that isn't a committed snapshot (not-found). What is active may
   * stand on what is lent.
   */
  check(id: string, parent: string | undefined, use: "active" | "layer" = "layer"): void {
    if (this.#rows.has(id)) throw new GantryError("conflict", `snapshot ${id} already exists`);
    if (parent === undefined) return;
    const row = use === "active" ? this.#below(parent) : this.need(this.#nameNow(parent));
    if (row.kind !== "committed")
      throw new GantryError("invalid", `cannot use snapshot ${parent} as a parent: it is not committed`);
  }

  /** Makes the root of a folder look as the parent's does. */
  dressRoot(folder: string, parent: string): void {
    const like = statSync(this.path(this.need(this.#nameNow(parent)), "fs"));
    const fs = this.path({ folder }, "fs");
    chownSync(fs, like.uid, like.gid);
    chmodSync(fs, like.mode & 0o7777);
  }

  /** A new folder with an empty `fs`, whose root looks as the parent's does. No snapshot yet: recover() would remove it. */
  allocate(parent: string | undefined): string {
    const folder = (++this.#last).toString(36);
    const fs = join(this.#folders, folder, "fs");
    mkdirSync(join(this.#folders, folder), { mode: 0o710 });
    mkdirSync(fs, { mode: 0o755 });
    const like = parent === undefined ? undefined : this.#lookOf(parent);
    if (like !== undefined && (like.uid !== 0 || like.gid !== 0)) chownSync(fs, like.uid, like.gid);
    chmodSync(fs, like === undefined ? 0o755 : like.mode & 0o7777);
    return folder;
  }

  /** Makes an active snapshot of an allocated folder. */
  activate(key: string, parent: string | undefined, folder: string): void {
    const row: Row = { id: key, kind: "active", parent: this.#nameNow(parent), folder };
    symlinkSync(encode(row), this.path(row, "meta"));
    this.#add(row);
  }

  /** Everything written so far to the file system is on the disk when this resolves; one sync serves all who wait. */
  sync(): Promise<void> {
    return this.#synced.run();
  }

  /**
   * Makes a folder the committed snapshot `name`: everything in it is on the disk before the name is. `synced` says
   * that the caller has called `sync` since it was last written to.
   */
  async commit(
    name: string,
    from: Pick<Row, "parent" | "folder" | "size"> & { readonly id?: string; readonly synced?: boolean },
  ): Promise<void> {
    const { folder, size } = from;
    if (from.synced !== true) await this.sync();
    failpoint("snapshots.commit.synced");
    // Others had their turn meanwhile.
    const parent = this.#nameNow(from.parent);
    const row: Row = { id: name, kind: "committed", parent, folder, ...(size !== undefined && { size }) };
    this.check(name, parent);
    if (from.id !== undefined) this.need(from.id);
    this.#write(row);
    failpoint("snapshots.commit.renamed");
    const active = from.id === undefined ? undefined : this.need(from.id);
    if (active !== undefined) this.#drop(active);
    // Nobody sees the name until it is on the disk, and nobody may remove what it stands on meanwhile.
    this.#countChild(parent, 1);
    this.#nameless.add(row);
    try {
      await Promise.all([flushFolder(this.path(row, "fs")), flushFolder(this.path(row)), this.#renamed.run()]);
    } catch (error) {
      if (active !== undefined) this.#add({ ...active, parent: this.#nameNow(active.parent) });
      throw error;
    } finally {
      this.#nameless.delete(row);
      this.#countChild(this.#nameNow(parent), -1);
    }
    failpoint("snapshots.commit.durable");
    this.#add({ ...row, parent: this.#nameNow(parent) });
  }

  /** Makes an active snapshot the committed one `name`, which a power loss may damage until the next `sync`. */
  commitAtOnce(name: string, active: Row): void {
    const row: Row = { id: name, kind: "committed", parent: active.parent, folder: active.folder };
    this.#write(row);
    failpoint("snapshots.commit.renamed");
    this.#drop(active);
    this.#add(row);
    this.#unsynced.add(row.folder);
  }

  /** Remembers the size of one that was committed without. It may have been renamed meanwhile; then it is not worth it. */
  measured(row: Row, size: number): void {
    if (this.#rows.get(row.id) !== row) return;
    const known: Row = { ...row, size };
    this.#rows.set(row.id, known);
    // On a full disk it is measured again after the next start.
    unlessCode(["ENOSPC", "EDQUOT"], () => this.#write(known));
  }

  /**
   * Nobody sees the new name until it is on the disk, and all that the snapshot shows is before. The caller lets nobody
   * else take it meanwhile.
   */
  async rename(name: string, to: string): Promise<void> {
    if ([this.need(name), ...this.ancestors(this.need(name))].some(({ folder }) => this.#unsynced.has(folder))) {
      await this.sync();
    }
    const row = this.need(name);
    if (row.kind !== "committed") throw new GantryError("conflict", `snapshot ${name} is not committed`);
    this.check(to, undefined);
    this.#write({ ...row, id: to, formerly: name });
    failpoint("snapshots.rename.begun");
    await flushFolder(this.path(row));
    failpoint("snapshots.rename.durable");
    // Others had their turn meanwhile; what was removed has no name.
    const now = this.need(name);
    const next = { ...now, id: to };
    // Its parent was renamed as well: that told this one, under its former name.
    if (now !== row) this.#write({ ...next, formerly: name });
    this.#rows.delete(name);
    this.#rows.set(to, next);
    for (const [former, is] of this.#formerly) if (is === name) this.#formerly.set(former, to);
    this.#formerly.set(name, to);
    this.#finishRename(next, name);
  }

  /** Tells the children, then forgets the former name. */
  #finishRename(row: Row, formerly: string): void {
    for (const child of [...this.#rows.values(), ...this.#nameless]) {
      if (child.parent !== formerly) continue;
      const told = { ...child, parent: row.id };
      this.#write(told);
      if (this.#rows.get(child.id) === child) this.#rows.set(child.id, told);
      failpoint("snapshots.rename.child");
    }
    const children = this.#children.get(formerly) ?? 0;
    this.#children.delete(formerly);
    this.#children.set(row.id, (this.#children.get(row.id) ?? 0) + children);
    this.#write(row);
  }

  /** The name that a parent has by now. */
  #nameNow<T extends string | undefined>(name: T): T | string {
    if (name === undefined || this.#rows.has(name)) return name;
    return this.#formerly.get(name) ?? name;
  }

  /** In one step. */
  #write(row: Renamed): void {
    const temp = this.path(row, "meta.new");
    // What a crash has left there.
    rmSync(temp, { force: true });
    symlinkSync(encode(row), temp);
    renameSync(temp, this.path(row, "meta"));
  }

  /** Gone at once by a rename; what was in the folder goes by and by. Conflict while others build on it. */
  /** The files go when `after` has come. */
  async remove(row: Row, after?: Promise<void>): Promise<void> {
    if ((this.#children.get(row.id) ?? 0) > 0)
      throw new GantryError("conflict", `cannot remove snapshot ${row.id}: it has children`);
    this.#drop(row);
    await this.discard(row.folder, { durable: row.kind === "committed", after });
  }

  async discard(
    folder: string,
    options: { readonly durable?: boolean; readonly after?: Promise<void> } = {},
  ): Promise<void> {
    renameSync(join(this.#folders, folder), join(this.#trash, folder));
    this.#unsynced.delete(folder);
    if (options.durable === true) syncFolder(this.#folders);
    failpoint("snapshots.discard.renamed");
    await options.after;
    await withFolder(this.#trash, (trash) => removeTree(trash, folder));
  }

  /** Removes folders that are no snapshots, active ones nobody knows, and those that lost their parent. */
  async recover(liveKeys: ReadonlySet<string>): Promise<void> {
    for (let found = true; found; ) {
      found = false;
      for (const row of this.list()) {
        const orphan = row.parent !== undefined && !this.#rows.has(row.parent) && !this.#lent.has(row.parent);
        if (orphan || (row.kind === "active" && !liveKeys.has(row.id))) {
          this.#drop(row);
          found = true;
        }
      }
    }
    const known = new Set(this.list().map(({ folder }) => folder));
    for (const folder of readdirSync(this.#folders)) if (!known.has(folder)) await this.discard(folder);
    await withFolder(this.#trash, async (trash) => {
      for (const folder of readdirSync(this.#trash)) await removeTree(trash, folder);
    });
  }

  #add(row: Row): void {
    this.#rows.set(row.id, row);
    this.#countChild(row.parent, 1);
  }

  #drop(row: Row): void {
    this.#rows.delete(row.id);
    for (const [former, is] of this.#formerly) if (is === row.id) this.#formerly.delete(former);
    this.#countChild(row.parent, -1);
  }

  #countChild(parent: string | undefined, by: 1 | -1): void {
    if (parent !== undefined) this.#children.set(parent, (this.#children.get(parent) ?? 0) + by);
  }

  #read(folder: string): Renamed | undefined {
    try {
      const meta = readlinkSync(join(this.#folders, folder, "meta"));
      const { id, kind, parent, size, formerly } = JSON.parse(meta) as Partial<Renamed>;
      if (typeof id !== "string" || (kind !== "active" && kind !== "committed")) return undefined;
      return {
        id,
        kind,
        parent: typeof parent === "string" ? parent : undefined,
        folder,
        ...(typeof size === "number" && { size }),
        ...(typeof formerly === "string" && { formerly }),
      };
    } catch (error) {
      if (error instanceof SyntaxError || hasCode(error, "ENOENT", "EINVAL", "ENOTDIR")) return undefined;
      throw error;
    }
  }
}

function encode({ id, kind, parent, size, formerly }: Renamed): string {
  return JSON.stringify({ id, kind, parent, size, formerly });
}
