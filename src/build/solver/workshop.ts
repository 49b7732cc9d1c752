import { randomBytes } from "node:crypto";
import { GantryError } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import type { Work } from "../operator.ts";
import type { Root } from "../root.ts";
import type { Roots } from "../roots.ts";

export interface WorkshopPorts {
  readonly snapshots: Snapshotter;
  readonly roots: Roots;
}

/** Where roots are made: a place over the parent's root, mounted, and committed when the work has succeeded. */
export class Workshop {
  readonly #ports: WorkshopPorts;

  constructor(ports: WorkshopPorts) {
    this.#ports = ports;
  }

  /**
   * Makes a root of what `act` changes in one over `parent`. A rejection leaves nothing, unless the place is held; then
   * it goes with the last who holds it. `bare` shows no mount points of a container.
   */
  async change(
    parent: Root | undefined,
    options: { readonly bare: boolean },
    act: (place: Pick<Work, "root" | "hold">) => Promise<void>,
  ): Promise<Root> {
    const { roots, snapshots } = this.#ports;
    if (parent?.folder !== undefined)
      throw new GantryError("invalid", "cannot build on a folder: copy it into a stage");
    const id = randomBytes(12).toString("hex");
    const key = `building-${id}`;
    const holders = new Set<object>();
    let undo: (() => Promise<void>) | undefined;
    const path = roots.place();
    const clear = async (): Promise<void> => {
      await roots.clear(path);
      if (snapshots.has(key)) await snapshots.remove(key);
    };
    try {
      await snapshots.prepare(key, parent?.snapshot, { bare: options.bare });
      failpoint("build.step.prepared");
      // What a power loss takes back has no record yet; a sync of all comes before it gets one.
      await snapshots.mount(key, path, { volatile: true, bare: options.bare });
      failpoint("build.step.mounted");
      await act({
        root: path,
        hold: () => {
          const holder = {};
          holders.add(holder);
          return {
            [Symbol.asyncDispose]: async () => {
              if (holders.delete(holder) && holders.size === 0) await undo?.();
            },
          };
        },
      });
    } catch (error) {
      if (holders.size === 0) await clear();
      else undo = clear;
      throw error;
    }
    failpoint("build.step.done");
    try {
      await roots.clear(path);
      failpoint("build.step.unmounted");
      return await this.#commit(id, () => snapshots.commit(`build-${id}`, key, { durable: false }));
    } catch (error) {
      if (snapshots.has(key)) await snapshots.remove(key);
      throw error;
    }
  }

  /** Makes a root of the topmost layer of one, laid on another. */
  async lay(layer: Root | undefined, parent: Root | undefined, signal: AbortSignal): Promise<Root> {
    const { snapshots } = this.#ports;
    const source = layer?.snapshot;
    if (source === undefined) return this.change(parent, { bare: true }, async () => {});
    if (parent?.folder !== undefined)
      throw new GantryError("invalid", "cannot build on a folder: copy it into a stage");
    const id = randomBytes(12).toString("hex");
    return this.#commit(id, () => snapshots.rebase(source, `build-${id}`, parent?.snapshot, { signal }));
  }

  /** It is held before it is there, so that no collection takes it. */
  async #commit(id: string, commit: () => Promise<void>): Promise<Root> {
    const root = this.#ports.roots.snapshot(`build-${id}`);
    try {
      await commit();
      failpoint("build.step.committed");
      return root;
    } catch (error) {
      await root[Symbol.asyncDispose]();
      throw error;
    }
  }
}
