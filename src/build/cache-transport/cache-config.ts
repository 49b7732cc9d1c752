import * as v from "valibot";
import { checked, parseDocumentInSteps } from "../../oci/image-config.ts";

/** BuildKit's media type of a cache's table. */
export const CACHE_CONFIG_TYPE = "application/vnd.buildkit.cacheconfig.v0";

/** Which key has which layers: BuildKit's JSON, with this builder's keys as digests of records. */
export interface CacheConfig {
  readonly layers: readonly CacheLayer[];
  readonly records: readonly CacheRecord[];
  /** This builder's own: what cache mounts held, as tars. */
  readonly mounts?: readonly CacheMount[];
}

export interface CacheMount {
  /** The id that steps know it by. */
  readonly id: string;
  /** Digest of the blob. */
  readonly blob: string;
}

export interface CacheLayer {
  /** Digest of the blob. */
  readonly blob: string;
  /** Number of the layer below, -1 is none. */
  readonly parent: number;
}

export interface CacheRecord {
  /** The key. */
  readonly digest: string;
  /** Numbers of the records of its inputs. */
  readonly inputs?: readonly (readonly { readonly selector?: string; readonly link: number }[])[];
  /** Results: the topmost layer, those below it by `parent`. */
  readonly layers?: readonly { readonly layer: number; readonly createdAt: string }[];
  /** Results whose layers are named one by one; -1 is a layer that changes nothing. */
  readonly chains?: readonly { readonly layers: readonly number[]; readonly createdAt: string }[];
}

/** More than any build has. */
const MOST_RECORDS = 100_000;
const MOST_LAYERS = 10_000;
const DEEPEST = 500;
/** Which takes a millisecond or two. */
const ROWS_AT_ONCE = 200;
const MOST_MOUNTS = 1_000;

const digest = v.pipe(v.string(), v.regex(/^sha256:[a-f0-9]{64}$/, "not a sha256 digest"));
const number = v.pipe(v.number(), v.safeInteger());
const record = v.looseObject({
  digest: v.optional(v.string(), ""),
  inputs: v.nullish(
    v.array(v.nullish(v.array(v.looseObject({ selector: v.optional(v.string()), link: number })), [])),
    [],
  ),
  layers: v.nullish(v.array(v.looseObject({ layer: number, createdAt: v.optional(v.string(), "") })), []),
  chains: v.nullish(v.array(v.looseObject({ layers: v.array(number), createdAt: v.optional(v.string(), "") })), []),
});
const records = v.pipe(v.array(v.unknown()), v.maxLength(MOST_RECORDS, `more than ${MOST_RECORDS} records`));
const config = v.looseObject({
  layers: v.nullish(
    v.pipe(
      v.array(v.looseObject({ blob: digest, parent: v.optional(number, 0) })),
      v.maxLength(MOST_LAYERS, `more than ${MOST_LAYERS} layers`),
    ),
    [],
  ),
  records: v.nullish(records, []),
  mounts: v.nullish(
    v.pipe(
      v.array(v.looseObject({ id: v.pipe(v.string(), v.minLength(1), v.maxLength(4096)), blob: digest })),
      v.maxLength(MOST_MOUNTS, `more than ${MOST_MOUNTS} cache mounts`),
    ),
    [],
  ),
});

/** A result as it can be fetched: numbers of layers, bottom first, -1 for one that changes nothing. */
export interface CachedChain {
  readonly layers: readonly number[];
  /** Unix milliseconds; 0 where it isn't told. */
  readonly createdAt: number;
}

/** Reads a table, which may be large: yields, so that others can have their turn. Throws `invalid`. */
export function* readCacheConfig(bytes: Uint8Array): Generator<void, CacheConfig> {
  const what = "cache config";
  const document = yield* parseDocumentInSteps(bytes, what);
  yield;
  const read = checked(config, document, what);
  const rows = yield* rowsOf(read.records ?? [], what);
  return { layers: read.layers ?? [], records: rows, mounts: read.mounts ?? [] };
}

/** Reads the records that an image's config holds, in the same way: their layers are the image's. */
export function* readInlineRecords(bytes: Uint8Array): Generator<void, readonly CacheRecord[]> {
  const what = "inline cache";
  const document = yield* parseDocumentInSteps(bytes, what);
  yield;
  return yield* rowsOf(checked(records, document, what), what);
}

function* rowsOf(rows: readonly unknown[], what: string): Generator<void, CacheRecord[]> {
  const read: CacheRecord[] = [];
  for (const [index, each] of rows.entries()) {
    if (index % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) yield;
    const row = checked(record, each, `${what}: record ${index}`);
    read.push({
      digest: row.digest,
      inputs: (row.inputs ?? []).map((links) => (links ?? []).map(({ link }) => ({ link }))),
      layers: row.layers ?? [],
      chains: row.chains ?? [],
    });
  }
  return read;
}

/**
 * Results by key. A record whose numbers lead nowhere, or in a circle, has none: it is a miss. The first result of a
 * key is taken. Yields, so that others can have their turn.
 */
export function* chainsOf({ layers, records: rows }: CacheConfig): Generator<void, ReadonlyMap<string, CachedChain>> {
  const found = new Map<string, CachedChain>();
  // Shared by all results that have the same top: each may name the deepest.
  const byTop = new Map<number, readonly number[] | undefined>();
  const belowOnce = (top: number): readonly number[] | undefined => {
    if (!byTop.has(top)) byTop.set(top, below(layers, top));
    return byTop.get(top);
  };
  for (const [index, row] of rows.entries()) {
    if (index % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) yield;
    if (found.has(row.digest)) continue;
    const [result] = row.layers ?? [];
    const [chained] = row.chains ?? [];
    const numbers = result !== undefined ? belowOnce(result.layer) : chained?.layers;
    if (numbers === undefined || numbers.length === 0 || numbers.length > DEEPEST) continue;
    if (result === undefined && !numbers.every((each) => each >= -1 && each < layers.length)) continue;
    const createdAt = Date.parse((result ?? chained)?.createdAt ?? "");
    found.set(row.digest, { layers: numbers, createdAt: Number.isNaN(createdAt) || createdAt < 0 ? 0 : createdAt });
  }
  return found;
}

function below(layers: readonly CacheLayer[], top: number): number[] | undefined {
  const numbers: number[] = [];
  for (let at = top; at !== -1; at = layers[at]!.parent) {
    if (layers[at] === undefined || numbers.length > DEEPEST) return undefined;
    numbers.push(at);
  }
  return numbers.reverse();
}

/** A step's result, as layers that are told apart by `blob`. */
export interface RecordedStep {
  readonly key: string;
  readonly inputs: readonly string[];
  /** Further keys of the same result: each is a record. */
  readonly definitions: readonly string[];
  readonly createdAt: number;
  /** Digests of blobs, bottom first. */
  readonly blobs: readonly string[];
}

/** The table of some steps. Of equal steps it is the same bytes. */
export function cacheConfigOf(steps: readonly RecordedStep[]): CacheConfig {
  const layers: CacheLayer[] = [];
  const known = new Map<string, number>();
  const numberOf = (blob: string, parent: number): number => {
    const key = `${blob} ${parent}`;
    const there = known.get(key);
    if (there !== undefined) return there;
    known.set(key, layers.length);
    return layers.push({ blob, parent }) - 1;
  };
  const rows = recordsOf(steps, ({ blobs }) => {
    let top = -1;
    for (const blob of blobs) top = numberOf(blob, top);
    return { top };
  });
  return { layers, records: rows };
}

/** The records of steps whose layers are numbers already: of an image that has its cache in its config. */
export function recordsOf<S extends Omit<RecordedStep, "blobs">>(
  steps: readonly S[],
  place: (step: S) => { readonly top: number } | { readonly chain: readonly number[] },
): CacheRecord[] {
  const links = new Map(steps.map(({ key }, index) => [key, index]));
  const further: CacheRecord[] = [];
  const rows = steps.map((step): CacheRecord => {
    const createdAt = new Date(step.createdAt).toISOString();
    const placed = place(step);
    const inputs = step.inputs.flatMap((key) => {
      const link = links.get(key);
      return link === undefined ? [] : [[{ link }]];
    });
    const result =
      "top" in placed
        ? { layers: [{ layer: placed.top, createdAt }] }
        : { chains: [{ layers: placed.chain, createdAt }] };
    for (const digest of step.definitions) further.push({ ...result, digest });
    return { ...result, digest: step.key, ...(inputs.length > 0 && { inputs }) };
  });
  return [...rows, ...further];
}
