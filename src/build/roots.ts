import { mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { listMounts, MNT, unmount } from "../kernel/mount.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import type { ContentIndex, OpenRoot, Root, RootLayer } from "./root.ts";

export interface RootsPorts {
  readonly snapshots: Snapshotter;
  /** For mounts: a folder of its own below the exec root. */
  readonly folder: string;
}

/** What all holders of one root share. */
interface Held {
  readonly layers: () => readonly RootLayer[];
  readonly open: () => Promise<OpenRoot>;
  readonly end: () => Promise<void>;
  snapshot: string | undefined;
  readonly folder: string | undefined;
  readonly index: ContentIndex | undefined;
  count: number;
}

export interface FolderOptions {
  readonly index?: ContentIndex;
  /** Called when the last holder has disposed of it. */
  readonly onEnd?: () => Promise<void> | void;
}

/** The roots of all builds: who holds which snapshot, so that nothing takes it away meanwhile. */
export class Roots {
  readonly #snapshots: Snapshotter;
  readonly #folder: string;
  readonly #held = new Map<string, Held>();
  /** By snapshot: where it is mounted to be read, and by how many. */
  readonly #open = new Map<string, { readonly path: Promise<string>; count: number }>();
  #mounts = 0;

  constructor({ snapshots, folder }: RootsPorts) {
    this.#snapshots = snapshots;
    this.#folder = folder;
  }

  /** A holder of a committed snapshot; the caller disposes of it. */
  snapshot(name: string): Root {
    let held = this.#held.get(name);
    if (held === undefined) {
      const made: Held = {
        layers: () => this.#layersOf(made.snapshot),
        open: () => this.#openSnapshot(made),
        end: async () => {
          if (made.snapshot !== undefined && this.#held.get(made.snapshot) === made) this.#held.delete(made.snapshot);
        },
        snapshot: name,
        folder: undefined,
        index: undefined,
        count: 0,
      };
      held = made;
      this.#held.set(name, held);
    }
    return new HeldRoot(held);
  }

  /** A holder of a folder that never changes. */
  folder(path: string, { index, onEnd }: FolderOptions = {}): Root {
    return new HeldRoot({
      layers: () => [],
      open: async () => ({ path, [Symbol.asyncDispose]: async () => {} }),
      end: async () => onEnd?.(),
      snapshot: undefined,
      folder: path,
      index,
      count: 0,
    });
  }

  /** Names of the snapshots that somebody holds. */
  held(): Iterable<string> {
    return this.#held.keys();
  }

  isHeld(snapshot: string): boolean {
    return this.#held.has(snapshot);
  }

  /** Tells the holders of a snapshot that it has another name. */
  renamed(from: string, to: string): void {
    const held = this.#held.get(from);
    if (held === undefined) return;
    this.#held.delete(from);
    held.snapshot = to;
    this.#held.set(to, held);
    const open = this.#open.get(from);
    if (open === undefined) return;
    this.#open.delete(from);
    this.#open.set(to, open);
  }

  /** A folder to mount at, of its own. */
  place(): string {
    const path = join(this.#folder, (++this.#mounts).toString(36));
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  }

  /** Unmounts what is mounted at a place and removes it. */
  async clear(path: string): Promise<void> {
    await this.#snapshots.unmount(path);
    rmdirSync(path);
  }

  /** Takes down what the last engine had mounted. Before any build, and before snapshots recover. */
  recover(): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    for (const { target } of listMounts(this.#folder).toReversed()) unmount(target, MNT.DETACH | MNT.NOFOLLOW);
    // Empty once nothing is mounted there; never what is in them.
    for (const name of readdirSync(this.#folder)) rmdirSync(join(this.#folder, name));
  }

  async #openSnapshot(held: Held): Promise<OpenRoot> {
    const name = held.snapshot!;
    let open = this.#open.get(name);
    if (open === undefined) {
      open = { path: this.#mount(name), count: 0 };
      this.#open.set(name, open);
    }
    const opened = open;
    opened.count++;
    let isOpen = true;
    const close = async () => {
      if (!isOpen) return;
      isOpen = false;
      if (--opened.count > 0) return;
      for (const [key, each] of this.#open) if (each === opened) this.#open.delete(key);
      await opened.path.then(
        (path) => this.clear(path),
        () => {},
      );
    };
    try {
      return { path: await opened.path, [Symbol.asyncDispose]: close };
    } catch (error) {
      await close();
      throw error;
    }
  }

  async #mount(name: string): Promise<string> {
    const path = this.place();
    try {
      await this.#snapshots.mount(name, path, { readonly: true });
    } catch (error) {
      rmdirSync(path);
      throw error;
    }
    return path;
  }

  #layersOf(name: string | undefined): readonly RootLayer[] {
    const layers: RootLayer[] = [];
    for (let next = name; next !== undefined; next = this.#snapshots.info(next)?.parent)
      layers.unshift({ snapshot: next });
    return layers;
  }
}

/** One holder of what it shares with others. */
class HeldRoot implements Root {
  readonly #held: Held;
  #isHeld = true;

  constructor(held: Held) {
    this.#held = held;
    held.count++;
  }

  get snapshot(): string | undefined {
    return this.#held.snapshot;
  }

  get folder(): string | undefined {
    return this.#held.folder;
  }

  get index(): ContentIndex | undefined {
    return this.#held.index;
  }

  get layers(): readonly RootLayer[] {
    return this.#held.layers();
  }

  get isShared(): boolean {
    return this.#held.count > 1;
  }

  share(): Root {
    if (!this.#isHeld) throw new Error("a root was shared after its end");
    return new HeldRoot(this.#held);
  }

  open(): Promise<OpenRoot> {
    return this.#held.open();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    if (--this.#held.count === 0) await this.#held.end();
  }
}
