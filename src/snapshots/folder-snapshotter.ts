import { existsSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { cancelOnAbort } from "../base/abort.ts";
import { Breath } from "../base/breath.ts";
import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import { bindMount, detachMount, isMountPoint } from "../kernel/mount.ts";
import { type PathChange, pathChanges, SizeCount, sizeOf } from "./changes.ts";
import { extractLayer } from "./extract-layer.ts";
import type { Whiteouts } from "./extractor.ts";
import { linkLayer } from "./link-layer.ts";
import { mountPointsFolder } from "./mount-points.ts";
import { changesOf, openSource, type PackSource, packSource } from "./pack-source.ts";
import type {
  ApplyOptions,
  Extracted,
  LayerDraft,
  MountOptions,
  SnapshotInfo,
  SnapshotLoan,
  SnapshotPacking,
  Snapshotter,
} from "./snapshotter.ts";
import { type Row, SnapshotTable } from "./table.ts";

/** What differs between the ways to keep snapshots in folders. */
export interface Layout {
  readonly driver: Snapshotter["driver"];
  readonly whiteouts: Whiteouts;
  /** Deletions are overlayfs's marks in `fs`; else `fs` is the whole tree. */
  readonly marks: boolean;
  /** Fills a new folder, whose `fs` is there and empty. */
  furnish(folder: string, parentFs: string | undefined, use: "active" | "layer"): Promise<void>;
  /** Mounts `fs` over the `fs` of its ancestors (nearest first) at `target`. */
  mount(folder: string, ancestors: readonly string[], target: string, options: LayoutMountOptions): void;
  describe(folder: string, ancestors: readonly string[], target: string | undefined): Record<string, string>;
}

export interface LayoutMountOptions extends MountOptions {
  /** A folder of a container's mount points to lay beneath all; undefined for what is no container's. */
  readonly mountPoints: string | undefined;
}

/** The kernel takes 500 lower layers (OVL_MAX_STACK); one is that of the mount points. */
const MOST_LAYERS = 499;

/** Snapshots in folders of this machine, laid out in one way or another. */
export class FolderSnapshotter implements Snapshotter {
  readonly driver: Snapshotter["driver"];
  readonly extractsAlone: boolean;
  readonly #layout: Layout;
  readonly #table: SnapshotTable;
  readonly #lock = new KeyedLock();
  readonly #mountPoints: string;
  /** Where each is mounted. */
  readonly #targets = new Map<string, Set<string>>();

  constructor({ root, layout }: { readonly root: string; readonly layout: Layout }) {
    this.driver = layout.driver;
    this.extractsAlone = layout.marks;
    this.#layout = layout;
    this.#table = new SnapshotTable(root);
    this.#mountPoints = mountPointsFolder(join(root, "mount-points"));
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

  isIntact(name: string): boolean {
    const row = this.#table.get(name);
    if (row?.kind !== "committed") return false;
    if (!existsSync(this.#table.fs(row))) return false;
    // Of whole trees the parents' are not needed any more.
    return !this.#layout.marks || row.parent === undefined || this.isIntact(row.parent);
  }

  async prepare(key: string, parent: string | undefined, options: { readonly bare?: boolean } = {}): Promise<void> {
    const use = options.bare === true ? "layer" : "active";
    this.#table.check(key, parent, use);
    if (this.#table.ancestors({ parent }).length > MOST_LAYERS) throw new GantryError("invalid", "max depth exceeded");
    const folder = this.#table.allocate(parent);
    try {
      await this.#furnish(folder, parent, use);
      failpoint("snapshots.prepare.furnished");
      this.#table.check(key, parent, use);
      this.#table.activate(key, parent, folder);
    } catch (error) {
      await this.#table.discard(folder);
      throw error;
    }
  }

  async mount(nameOrKey: string, target: string, options: MountOptions = {}): Promise<void> {
    const row = this.#table.need(nameOrKey);
    const targets = this.#targets.get(nameOrKey) ?? new Set();
    if (!isMountPoint(target)) {
      const readonly = row.kind === "committed" || options.readonly === true;
      // Two overlays of one upper folder would not see what the other does.
      const other = row.kind === "active" ? [...targets].find(isMountPoint) : undefined;
      const mountPoints = row.kind === "active" && options.bare !== true ? this.#mountPoints : undefined;
      if (other !== undefined) bindMount(other, target, { readonly });
      else {
        const [refused] = this.#table.ancestors(row).flatMap(({ refusal }) => refusal ?? []);
        if (refused !== undefined) throw new GantryError("unavailable", refused);
        this.#layout.mount(this.#table.path(row), this.#ancestors(row), target, { ...options, readonly, mountPoints });
      }
    }
    this.#targets.set(nameOrKey, targets.add(target));
  }

  lend(name: string, loan: SnapshotLoan): Disposable {
    if (!this.#layout.marks) throw new GantryError("unsupported", `${this.driver} can't show a layer from elsewhere`);
    return this.#table.lend(name, loan);
  }

  async unmount(target: string): Promise<void> {
    if (isMountPoint(target)) await detachMount(target);
    for (const [key, targets] of this.#targets) {
      targets.delete(target);
      if (targets.size === 0) this.#targets.delete(key);
    }
  }

  async commit(name: string, key: string, options: { readonly durable?: boolean } = {}): Promise<void> {
    await this.#lock.run(name, async () => {
      const row = this.#table.need(key);
      if (row.kind !== "active") throw new GantryError("conflict", `snapshot ${key} is already committed`);
      this.#table.check(name, row.parent);
      if (options.durable === false) return this.#table.commitAtOnce(name, row);
      const size = await this.usage(key);
      await this.#table.commit(name, { ...row, size });
    });
  }

  async rename(name: string, to: string): Promise<void> {
    await this.#lock.run(to, async () => {
      await this.#table.rename(name, to);
      const targets = this.#targets.get(name);
      this.#targets.delete(name);
      if (targets !== undefined) this.#targets.set(to, targets);
    });
  }

  async rebase(source: string, name: string, parent: string | undefined, options: ApplyOptions = {}): Promise<void> {
    await this.#lock.run(name, async () => {
      this.#table.check(name, parent);
      const row = this.#table.need(source);
      if (row.kind !== "committed") throw new GantryError("invalid", `snapshot ${source} is not committed`);
      if (this.#layout.marks && (await this.#rebaseByLinks(row, name, parent, options))) return;
      await this.#applyNew(name, parent, Readable.from(this.diff(row.id), { objectMode: false }), options);
    });
  }

  /** False if the files have as many names as they can have. */
  async #rebaseByLinks(row: Row, name: string, parent: string | undefined, options: ApplyOptions): Promise<boolean> {
    if (this.#table.ancestors({ parent }).length > MOST_LAYERS) throw new GantryError("invalid", "max depth exceeded");
    const folder = this.#table.allocate(parent);
    try {
      const isWhole = await linkLayer(this.#table.path(row, "fs"), this.#table.path({ folder }, "fs"), {
        hides: row.parent !== undefined,
        signal: options.signal,
      });
      if (!isWhole) {
        await this.#table.discard(folder);
        return false;
      }
      failpoint("snapshots.rebase.linked");
      await this.#table.commit(name, { parent, folder, ...(row.size !== undefined && { size: row.size }) });
      return true;
    } catch (error) {
      await this.#table.discard(folder);
      throw error;
    }
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
      return this.#applyNew(name, parent, layer, options);
    });
  }

  async #applyNew(
    name: string,
    parent: string | undefined,
    layer: Readable,
    options: ApplyOptions,
  ): Promise<{ size: number }> {
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
  }

  async extract(key: string, layer: Readable, options: ApplyOptions = {}): Promise<{ size: number }> {
    const row = this.#table.need(key);
    if (row.kind !== "active") throw new GantryError("conflict", `snapshot ${key} is already committed`);
    return { size: await extractLayer(this.#table.path(row, "fs"), layer, this.#layout.whiteouts, options) };
  }

  async draft(parent: string | undefined): Promise<LayerDraft> {
    const folder = this.#table.allocate(parent);
    let hasEnded = false;
    const discard = async (): Promise<void> => {
      if (hasEnded) return;
      hasEnded = true;
      await this.#table.discard(folder);
    };
    try {
      await this.#furnish(folder, parent, "layer");
    } catch (error) {
      await discard();
      throw error;
    }
    return {
      folder: this.#table.path({ folder }, "fs"),
      whiteouts: this.#layout.marks ? "marks" : "deletions",
      commit: async (name, actualParent, extracted) => {
        await this.#lock.run(name, async () => {
          if (this.has(name)) await discard();
          else await this.#commitDraft(name, actualParent, folder, extracted);
        });
        hasEnded = true;
      },
      discard,
    };
  }

  async #commitDraft(name: string, parent: string | undefined, folder: string, extracted: Extracted): Promise<void> {
    this.#table.check(name, parent);
    if (this.#table.ancestors({ parent }).length > MOST_LAYERS) throw new GantryError("invalid", "max depth exceeded");
    if (!extracted.hasRoot && parent !== undefined) this.#table.dressRoot(folder, parent);
    await this.#table.commit(name, { parent, folder, size: extracted.size, synced: true });
  }

  async sync(): Promise<void> {
    await this.#table.sync();
  }

  async *diff(nameOrKey: string): AsyncGenerator<Uint8Array> {
    const row = this.#table.need(nameOrKey);
    // Who packs it sees all that is to be measured.
    const count = row.kind === "committed" && row.size === undefined ? new SizeCount() : undefined;
    yield* packSource(this.#source(row), { count });
    if (count !== undefined) this.#table.measured(row, count.total);
  }

  packing(nameOrKey: string): SnapshotPacking {
    const row = this.#table.need(nameOrKey);
    return {
      source: this.#source(row),
      measured: (size) => {
        const now = this.#table.get(row.id);
        if (now?.kind === "committed" && now.folder === row.folder) this.#table.measured(now, size);
      },
    };
  }

  async *changes(nameOrKey: string): AsyncGenerator<PathChange> {
    using open = openSource(this.#source(this.#table.need(nameOrKey)));
    const breath = new Breath();
    for (const change of pathChanges(open.fs, open.below, this.#layout.marks)) {
      await breath.take();
      yield change;
    }
  }

  async usage(nameOrKey: string): Promise<number> {
    const row = this.#table.need(nameOrKey);
    if (row.size !== undefined) return row.size;
    let size: number;
    {
      const source = this.#source(row);
      using open = openSource(source);
      size = await sizeOf(changesOf(source, open), new Breath());
    }
    if (row.kind === "committed") this.#table.measured(row, size);
    return size;
  }

  describe(nameOrKey: string): Record<string, string> {
    const row = this.#table.need(nameOrKey);
    return this.#layout.describe(
      this.#table.path(row),
      this.#ancestors(row),
      [...(this.#targets.get(nameOrKey) ?? [])][0],
    );
  }

  async recover(liveKeys: ReadonlySet<string>): Promise<void> {
    await this.#table.recover(liveKeys);
  }

  async #furnish(folder: string, parent: string | undefined, use: "active" | "layer"): Promise<void> {
    const [below] = this.#table.ancestors({ parent });
    const parentFs = below && this.#table.fs(below);
    await this.#layout.furnish(this.#table.path({ folder }), parentFs, use);
  }

  #ancestors(row: Row): string[] {
    return this.#table.ancestors(row).map((one) => this.#table.fs(one));
  }

  #source(row: Row): PackSource {
    // Whole trees need no more than the parent's; of marks only the layers all together say what was there.
    const ancestors = this.#ancestors(row).slice(0, this.#layout.marks ? undefined : 1);
    return {
      fs: this.#table.path(row, "fs"),
      below: [...ancestors, this.#mountPoints],
      marks: this.#layout.marks,
      hasParent: row.parent !== undefined,
      isStill: row.kind === "committed",
    };
  }
}

async function drain(layer: Readable, signal: AbortSignal | undefined): Promise<void> {
  using _watch = cancelOnAbort(signal, layer);
  for await (const _ of layer) void _;
}
