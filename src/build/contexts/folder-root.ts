import type { ContentIndex, OpenRoot, Root } from "../root.ts";

/** A plain folder as a root. `release` is called when the last who holds it has let go. */
export function folderRoot(folder: string, index: ContentIndex | undefined, release: () => Promise<void> | void): Root {
  let holders = 0;
  const hold = (): Root => {
    holders++;
    let isHeld = true;
    const [dispose, share, open] = [
      async (): Promise<void> => {
        if (!isHeld) return;
        isHeld = false;
        if (--holders === 0) await release();
      },
      (): Root => hold(),
      async (): Promise<OpenRoot> => ({ path: folder, [Symbol.asyncDispose]: async () => {} }),
    ];
    return {
      snapshot: undefined,
      folder,
      layers: [],
      ...(index !== undefined && { index }),
      share,
      open,
      [Symbol.asyncDispose]: dispose,
    };
  };
  return hold();
}
