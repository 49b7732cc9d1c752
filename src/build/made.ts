import type { Platform } from "../oci/image.ts";
import type { PlannedTarget, Vertex } from "./graph.ts";
import type { Root } from "./root.ts";

/** Where a build's contents come from. */
export interface UsedSource {
  readonly vertex: Vertex;
  /** Of an image's manifest, a commit (`sha1:…`) or a file's bytes; undefined where nobody knows it. */
  readonly digest: string | undefined;
}

/** What a build made for one platform, before anything is made of that. */
export interface MadeTarget {
  readonly target: PlannedTarget;
  /** Undefined is an empty root. Held by the build that made it: who wants it longer shares it. */
  readonly root: Root | undefined;
  /** Equal keys are equal roots. Undefined of a client's folder. */
  readonly key: string | undefined;
  readonly sources: readonly UsedSource[];
}

/** Another build as a context: what it makes, or is about to make. */
export interface BuildInput {
  /** Waits for it; what comes is held for as long as the build that asks goes on. */
  made(platform: Platform, signal: AbortSignal): Promise<MadeTarget>;
}
