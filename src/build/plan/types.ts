import type { ImageConfig, Platform } from "../../oci/image.ts";
import type { BuildRequest } from "../builder.ts";
import type { Graph, PlannedTarget } from "../graph.ts";
import type { BuildWarning } from "../progress.ts";

/** Patterns of an ignore file in its order, as `readIgnoreFile` of src/dockerfile gives them. */
export type IgnorePatterns = readonly string[];

/** All that a plan is made of. It asks nobody else, and has no clock and no chance. */
export interface PlanInput {
  /** The Dockerfile. */
  readonly text: string;
  /** Its name in messages and source ranges. */
  readonly file: string;
  readonly request: BuildRequest;
  readonly hostPlatform: Platform;
  /** Of the main context's .dockerignore; undefined where there is none. */
  readonly ignore: IgnorePatterns | undefined;
  readonly ports: PlanPorts;
  readonly signal: AbortSignal;
}

/** What has to be asked for while planning. Each question is asked once. A rejection is reported with its line. */
export interface PlanPorts {
  /** An image for a platform, by a reference in its normal form with a tag or digest. */
  resolveBase(reference: string, platform: Platform, options: { readonly pull: boolean }): Promise<ResolvedBase>;
  /** An image in a layout of the client's: what stands behind `oci-layout://` in a named context. */
  resolveLayout(value: string, platform: Platform): Promise<ResolvedLayout>;
  /** The text of another Dockerfile: of a named context, `context` is the main one. */
  include(context: string, path: string): Promise<string>;
  /** Of a folder of the client's, by the name that it has there. */
  ignoreOf(local: string): Promise<IgnorePatterns | undefined>;
}

export interface ResolvedBase {
  /** `sha256:…` of the image's config. */
  readonly id: string;
  readonly config: ImageConfig;
  /** In its normal form, with a digest where the registry told one. */
  readonly reference: string;
}

export interface ResolvedLayout {
  readonly store: string;
  /** Of the image's manifest. */
  readonly digest: string;
  readonly config: ImageConfig;
}

export interface Plan {
  readonly graph: Graph;
  /** One for each platform, in the request's order; none for a question. */
  readonly targets: readonly PlannedTarget[];
  readonly warnings: readonly BuildWarning[];
  /** Of `call` other than `build`. */
  readonly answer?: PlanAnswer;
}

/** As `BuildResult.answer`: for people, as JSON, and the exit code. */
export interface PlanAnswer {
  readonly text: string;
  readonly json: string;
  readonly code: number;
}
