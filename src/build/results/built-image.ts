import { allOrFirst } from "../../base/all-or-first.ts";
import { GantryError } from "../../base/errors.ts";
import { Gate } from "../../base/gate.ts";
import type { AssembledLayer, ImageAssembly, PackOptions } from "../../images/assemble.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { ImageConfig, Platform } from "../../oci/image.ts";
import type { BuildRequest } from "../builder.ts";
import type { SolvedTarget } from "../parts.ts";
import { type ConfigOptions, imageConfigOf } from "./image-config.ts";

/** Layers that are packed at a time. */
const MOST_PACKED = 4;

/** An image of one platform: what all outputs that ask for it in the same way share. */
export interface BuiltImage {
  readonly platform: Platform;
  readonly target: SolvedTarget;
  readonly config: ImageConfig;
  readonly configBytes: Buffer;
  /** Bottom first, none that is empty. */
  readonly layers: readonly AssembledLayer[];
  /** Of them, those of the base image. */
  readonly baseCount: number;
}

export type InlineCache = (layers: readonly AssembledLayer[], empty: ReadonlySet<string>) => string | undefined;

export interface BuiltImageOptions {
  readonly epoch: number | undefined;
  readonly rewriteTimestamps: boolean;
  readonly request: Pick<BuildRequest, "labels" | "squash">;
  /** Makes the records of an inline cache, once the layers are known; `empty` are snapshots that change nothing. */
  readonly inlineCache?: InlineCache | undefined;
  /** Makes one layer of several. */
  readonly squash: (
    layers: readonly AssembledLayer[],
    below: string | undefined,
    options: PackOptions,
  ) => Promise<AssembledLayer>;
  readonly signal: AbortSignal;
}

/** Packs the layers of a target and writes its config; the layers' blobs are the assembly's. */
export async function buildImage(
  assembly: ImageAssembly,
  solved: SolvedTarget,
  options: BuiltImageOptions,
): Promise<BuiltImage> {
  const { base, added } = await layersOf(assembly, solved, options);
  const { epoch, request, signal } = options;
  const kept = added.filter(({ isEmpty }) => !isEmpty);
  const plain: ConfigOptions = { base, added, epoch, labels: request.labels };
  if (request.squash && kept.length > 0) {
    const latest = options.rewriteTimestamps ? epoch : undefined;
    const one = await options.squash(kept, base.at(-1)?.snapshot, { latest, signal });
    const config = squashedConfig(solved, plain, one);
    return builtOf(solved, config, one.isEmpty ? base : [...base, one], base.length);
  }
  const layers = [...base, ...kept];
  const empty = new Set(added.filter(({ isEmpty }) => isEmpty).map(({ snapshot }) => snapshot));
  const inlineCache = options.inlineCache?.(layers, empty);
  return builtOf(solved, imageConfigOf(solved.target, { ...plain, inlineCache }), layers, base.length);
}

function builtOf(
  target: SolvedTarget,
  config: ImageConfig,
  layers: readonly AssembledLayer[],
  baseCount: number,
): BuiltImage {
  const configBytes = Buffer.from(JSON.stringify(config));
  return { platform: target.target.platform, target, config, configBytes, layers, baseCount };
}

async function layersOf(
  assembly: ImageAssembly,
  { root, target }: SolvedTarget,
  { epoch, rewriteTimestamps, signal }: BuiltImageOptions,
): Promise<{ base: readonly AssembledLayer[]; added: readonly AssembledLayer[] }> {
  const steps = target.history.filter(({ vertex }) => vertex !== undefined).length;
  const baseCount = (root?.layers.length ?? 0) - steps;
  if (baseCount < 0) {
    throw new GantryError("internal", `cannot make an image: ${steps} steps have ${root?.layers.length ?? 0} layers`);
  }
  const gate = new Gate(MOST_PACKED);
  const pack = (from: number, to: number, latest: number | undefined): Promise<AssembledLayer[]> =>
    allOrFirst(
      Array.from({ length: to - from }, (_, index) =>
        gate.run(() => assembly.layer(() => root!.layers[from + index]!.snapshot, { latest, signal })),
      ),
    );
  const named = target.base === undefined ? undefined : await assembly.base(target.base.id, { signal });
  // An image that was removed meanwhile, or never was in the store, still has its snapshots.
  const base =
    named?.length === baseCount
      ? named
      : (await pack(0, baseCount, undefined)).map((layer) => ({ ...layer, isEmpty: false, created: 0 }));
  const added = await pack(baseCount, baseCount + steps, rewriteTimestamps ? epoch : undefined);
  return { base, added };
}

/** As Docker's: the steps' rows stay without layers, and a last one has all of them. */
function squashedConfig({ target }: SolvedTarget, plain: ConfigOptions, one: AssembledLayer): ImageConfig {
  const whole = imageConfigOf(target, plain);
  const id = sha256Of(JSON.stringify(whole));
  const comment = target.base === undefined ? `create new from ${id}` : `merge ${id} to ${target.base.id}`;
  const steps = target.history.filter(({ vertex }) => vertex !== undefined).length;
  const created = Math.max(...plain.added.map((layer) => layer.created));
  const vertex = `squash ${id}`;
  return imageConfigOf(
    { ...target, history: [...target.history, { createdBy: "", comment, vertex }] },
    {
      ...plain,
      added: [...plain.added.slice(0, steps).map((layer) => ({ ...layer, isEmpty: true })), { ...one, created }],
    },
  );
}
