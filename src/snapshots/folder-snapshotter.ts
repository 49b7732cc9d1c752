import { closeSync, constants, openSync } from "node:fs";
import type { Readable } from "node:stream";
import { cancelOnAbort } from "../base/abort.ts";
import { Breath } from "../base/breath.ts";
import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import { detachMount, isMountPoint } from "../kernel/mount.ts";
import { type Change, sizeOf } from "./changes.ts";
import { extractLayer } from "./extract-layer.ts";
import type { Whiteouts } from "./extractor.ts";
import { packLayer } from "./pack-layer.ts";
import type { ApplyOptions, MountOptions, SnapshotInfo, Snapshotter } from "./snapshotter.ts";
import { type Row, SnapshotTable } from "./table.ts";

/** What differs between the ways to keep snapshots in folders. */
export interface Layout {
  readonly driver: Snapshotter["driver"];
  readonly whiteouts: Whiteouts;
  /** Fills a new folder, whose `fs` is there and empty. */
  furnish(folder: string, parentFs: string | undefined, use: "active" | "layer"): Promise<void>;
  /** Mounts `fs` over the `fs` of its ancestors (nearest first) at `target`. */
  mount(folder: string, ancestors: readonly string[], target: string, options: MountOptions): void;
  /** What the folder `fs` adds to that of its parent. */
  changes(fs: number, parentFs: number | undefined): Iterable<Change>;
  describe(folder: string, ancestors: readonly string[], target: string | undefined): Record<string, string>;
}

/** The kernel takes 500 lower layers (OVL_MAX_STACK). */
const MOST_LAYERS = 500;

/** Snapshots in folders of this machine, laid out in one way or another. */
export class FolderSnapshotter implements Snapshotter {
  readonly driver: Snapshotter["driver"];
  readonly #layout: Layout;
  readonly #table: SnapshotTable;
  readonly #lock = new KeyedLock();
  /** Where the active ones are mounted, for `describe`. */
  readonly #targets = new Map<string, string>();

  constructor({ root, layout }: { readonly root: string; readonly layout: Layout }) {
    this.driver = layout.driver;
    this.#layout = layout;
    this.#table = new SnapshotTable(root);
  }

  has(nameOrKey: string): boolean {
    return this.#table.get(nameOrKey) !== undefined;
  }

  info(nameOrKey: string): SnapshotInfo | undefined {
    const row = this.#table.get(nameOrKey);
    return row && { id: row.id, kind: row.kind, parent: row.parent };
  }

  list(): SnapshotInfo[] {
    return this.#table.list().map(({ id, kind, parent }) => ({ id, kind, parent }));
  }

  async prepare(key: string, parent: string | undefined): Promise<void> {
    this.#table.check(key, parent);
    if (this.#table.ancestors({ parent }).length > MOST_LAYERS) throw new GantryError("invalid", "max depth exceeded");
    const folder = this.#table.allocate(parent);
    try {
      await this.#furnish(folder, parent, "active");
      failpoint("snapshots.prepare.furnished");
      this.#table.check(key, parent);
      this.#table.activate(key, parent, folder);
    } catch (error) {
      await this.#table.discard(folder);
      throw error;
    }
  }

  async mount(nameOrKey: string, target: string, options: MountOptions = {}): Promise<void> {
    const row = this.#table.need(nameOrKey);
    if (isMountPoint(target)) return;
    const readonly = row.kind === "committed" || options.readonly === true;
    this.#layout.mount(this.#table.path(row), this.#ancestors(row), target, { ...options, readonly });
    this.#targets.set(nameOrKey, target);
  }

  async unmount(target: string): Promise<void> {
    if (isMountPoint(target)) await detachMount(target);
    for (const [key, at] of this.#targets) if (at === target) this.#targets.delete(key);
  }

  async commit(name: string, key: string): Promise<void> {
    await this.#lock.run(name, async () => {
      const row = this.#table.need(key);
      if (row.kind !== "active") throw new GantryError("conflict", `snapshot ${key} is already committed`);
      this.#table.check(name, row.parent);
      const size = await this.usage(key);
      await this.#table.commit(name, { ...row, size });
    });
  }

  async remove(nameOrKey: string, options: { readonly after?: Promise<void> } = {}): Promise<void> {
    this.#targets.delete(nameOrKey);
    await this.#table.remove(this.#table.need(nameOrKey), options.after);
  }

  async apply(
    name: string,
    parent: string | undefined,
    layer: Readable,
    options: ApplyOptions = {},
  ): Promise<{ size: number }> {
    return this.#lock.run(name, async () => {
      if (this.has(name)) {
        await drain(layer, options.signal);
        return { size: await this.usage(name) };
      }
      this.#table.check(name, parent);
      const folder = this.#table.allocate(parent);
      try {
        await this.#furnish(folder, parent, "layer");
        const size = await extractLayer(this.#table.path({ folder }, "fs"), layer, this.#layout.whiteouts, options);
        failpoint("snapshots.apply.extracted");
        await this.#table.commit(name, { parent, folder, size });
        return { size };
      } catch (error) {
        await this.#table.discard(folder);
        throw error;
      }
    });
  }

  async extract(key: string, layer: Readable, options: ApplyOptions = {}): Promise<{ size: number }> {
    const row = this.#table.need(key);
    if (row.kind !== "active") throw new GantryError("conflict", `snapshot ${key} is already committed`);
    return { size: await extractLayer(this.#table.path(row, "fs"), layer, this.#layout.whiteouts, options) };
  }

  async *diff(nameOrKey: string): AsyncGenerator<Uint8Array> {
    using open = this.#open(this.#table.need(nameOrKey));
    yield* packLayer(this.#layout.changes(open.fs, open.parentFs));
  }

  async usage(nameOrKey: string): Promise<number> {
    const row = this.#table.need(nameOrKey);
    if (row.size !== undefined) return row.size;
    using open = this.#open(row);
    return await sizeOf(this.#layout.changes(open.fs, open.parentFs), new Breath());
  }

  describe(nameOrKey: string): Record<string, string> {
    const row = this.#table.need(nameOrKey);
    return this.#layout.describe(this.#table.path(row), this.#ancestors(row), this.#targets.get(nameOrKey));
  }

  async recover(liveKeys: ReadonlySet<string>): Promise<void> {
    await this.#table.recover(liveKeys);
  }

  async #furnish(folder: string, parent: string | undefined, use: "active" | "layer"): Promise<void> {
    const parentFs = parent === undefined ? undefined : this.#table.path(this.#table.need(parent), "fs");
    await this.#layout.furnish(this.#table.path({ folder }), parentFs, use);
  }

  #ancestors(row: Row): string[] {
    return this.#table.ancestors(row).map((one) => this.#table.path(one, "fs"));
  }

  #open(row: Row): { readonly fs: number; readonly parentFs: number | undefined } & Disposable {
    const open = (one: Row): number =>
      openSync(this.#table.path(one, "fs"), constants.O_RDONLY | constants.O_DIRECTORY);
    const parentFs = row.parent === undefined ? undefined : open(this.#table.need(row.parent));
    const fs = open(row);
    return {
      fs,
      parentFs,
      [Symbol.dispose]() {
        closeSync(fs);
        if (parentFs !== undefined) closeSync(parentFs);
      },
    };
  }
}

async function drain(layer: Readable, signal: AbortSignal | undefined): Promise<void> {
  using _watch = cancelOnAbort(signal, layer);
  for await (const _ of layer) void _;
}
