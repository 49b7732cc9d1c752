import type { Platform } from "../../oci/image.ts";
import type { FilesOperation } from "../graph.ts";
import type { DraftVertex } from "../plan/draft-graph.ts";
import type { OriginImage } from "../plan/stage-state.ts";

/** A root that an operation of a definition makes, before its vertex has an id. */
export interface PlannedRoot {
  /** undefined is an empty root. */
  readonly vertex: DraftVertex | undefined;
  readonly platform: Platform;
  /** Which stands on it: a folder of somebody's has no layers, so nothing can. */
  readonly isFolder: boolean;
  /** The image at its bottom. */
  readonly image?: OriginImage;
  /** The topmost of what was made on that, each a layer. */
  readonly layer?: MadeLayer;
}

/** One on another: roots that share what is below share this, too. */
interface MadeLayer {
  readonly vertex: DraftVertex;
  readonly below: MadeLayer | undefined;
}

/** What a client says beside what an operation does. */
export interface Surroundings {
  /** As the client calls it; empty where it doesn't. */
  readonly name: string;
  readonly ignoreCache: boolean;
  readonly platform: Platform;
}

/** What was made on the image, in order. */
export function layersOf({ layer }: PlannedRoot): readonly DraftVertex[] {
  const layers: DraftVertex[] = [];
  for (let next = layer; next !== undefined; next = next.below) layers.push(next.vertex);
  return layers.reverse();
}

export function emptyRoot(platform: Platform): PlannedRoot {
  return { vertex: undefined, platform, isFolder: false };
}

/** What a vertex makes of a root. */
export function changedRoot(root: PlannedRoot, vertex: DraftVertex): PlannedRoot {
  return { ...root, vertex, isFolder: false, layer: { vertex, below: root.layer } };
}

/** A root that others can stand on: a folder is copied into a layer. */
export function standing(root: PlannedRoot): PlannedRoot {
  if (!root.isFolder || root.vertex === undefined) return root;
  const operation: FilesOperation = {
    kind: "files",
    root: -1,
    platform: root.platform,
    actions: [
      {
        type: "copy",
        input: 0,
        sources: ["/"],
        target: "/",
        wildcard: false,
        allowEmpty: true,
        followLinks: false,
        contentsOnly: true,
        createTarget: true,
        parents: false,
        exclude: [],
        unpack: "never",
        owner: undefined,
        mode: undefined,
      },
    ],
  };
  const { name, site } = root.vertex;
  const vertex: DraftVertex = {
    operation,
    inputs: [root.vertex],
    name: `copy ${name}`,
    stage: "",
    site: `${site}/copy`,
  };
  return changedRoot({ vertex: undefined, platform: root.platform, isFolder: false }, vertex);
}
