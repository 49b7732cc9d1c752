import type { SelectionDigest } from "../operator.ts";
import type { ContentIndex, Root } from "../root.ts";
import type { Reading } from "./digest.ts";

const MOST = 2000;
/** Of more files than that none is remembered by its name: whoever explains a miss asks soon. */
const MOST_ROWS = 200;

/** Digests of what never changes: of snapshots by their name, of folders for as long as their index is there. */
export class Remembered {
  readonly #ofSnapshots = new Map<string, SelectionDigest>();
  readonly #ofFolders = new WeakMap<ContentIndex, Map<string, SelectionDigest>>();

  get(root: Root | undefined, reading: Reading): SelectionDigest | undefined {
    const key = keyOf(root, reading);
    const found = this.#mapOf(root)?.get(key);
    if (found === undefined || root?.index !== undefined) return found;
    this.#ofSnapshots.delete(key);
    this.#ofSnapshots.set(key, found);
    return found;
  }

  set(root: Root | undefined, reading: Reading, digest: SelectionDigest): void {
    if (root?.index !== undefined && !this.#ofFolders.has(root.index)) this.#ofFolders.set(root.index, new Map());
    const map = this.#mapOf(root);
    if (map === undefined) return;
    const isLong = digest.files !== undefined && digest.files.size > MOST_ROWS;
    map.set(keyOf(root, reading), isLong ? { digest: digest.digest, files: undefined } : digest);
    const [oldest] = map.keys();
    if (map.size > MOST && oldest !== undefined) map.delete(oldest);
  }

  #mapOf(root: Root | undefined): Map<string, SelectionDigest> | undefined {
    if (root?.index !== undefined) return this.#ofFolders.get(root.index);
    return root?.snapshot === undefined ? undefined : this.#ofSnapshots;
  }
}

function keyOf(root: Root | undefined, reading: Reading): string {
  const { sources, wildcard, allowEmpty, followLinks, parents, exclude, withFolder } = reading;
  const words = [sources, wildcard, allowEmpty, followLinks, parents, exclude, withFolder];
  return `${root?.snapshot ?? ""} ${JSON.stringify(words)}`;
}
