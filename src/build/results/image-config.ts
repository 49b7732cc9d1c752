import { GantryError } from "../../base/errors.ts";
import type { History, ImageConfig } from "../../oci/image.ts";
import type { PlannedHistory, PlannedTarget } from "../graph.ts";

/** A layer as the config tells of it. */
export interface ConfigLayer {
  readonly diffId: string;
  /** Unix milliseconds; 0 is unknown. */
  readonly created: number;
  readonly isEmpty: boolean;
}

export interface ConfigOptions {
  /** Layers of the base image. */
  readonly base: readonly ConfigLayer[];
  /** One for each row of the history that has a vertex. */
  readonly added: readonly ConfigLayer[];
  readonly labels: ReadonlyMap<string, string>;
  /** Unix seconds: the time of all that was made here. */
  readonly epoch: number | undefined;
  /** For caches: JSON of `moby.buildkit.cache.v0`. */
  readonly inlineCache?: string | undefined;
}

interface Row {
  readonly planned: PlannedHistory;
  readonly isOfBase: boolean;
  readonly layer: ConfigLayer | undefined;
  readonly isEmpty: boolean;
}

/** What Docker calls the field in which BuildKit keeps an image's cache. */
export const INLINE_CACHE = "moby.buildkit.cache.v0";

/**
 * An image's config with its history and layers. Of equal plans and layers it is the same bytes: times are those of the
 * layers, or of SOURCE_DATE_EPOCH; rows without a layer have the time of the first one that was made here.
 */
export function imageConfigOf(target: PlannedTarget, options: ConfigOptions): ImageConfig {
  const rows = rowsOf(target.history, options);
  const history = historyOf(rows, options.epoch);
  const { architecture, author, config, os, variant, created: _, ...rest } = target.config;
  const created =
    options.epoch !== undefined ? timeOf(options.epoch * 1000) : history.findLast((row) => row.created)?.created;
  const labels = Object.fromEntries(options.labels);
  const hasLabels = options.labels.size > 0;
  const layers = [...options.base, ...options.added.filter(({ isEmpty }) => !isEmpty)];
  const document = {
    ...(created !== undefined && { created }),
    ...(author !== undefined && { author }),
    architecture,
    os,
    ...(variant !== undefined && { variant }),
    ...rest,
    ...((config !== undefined || hasLabels) && {
      config: hasLabels ? { ...config, Labels: { ...config?.Labels, ...labels } } : config,
    }),
    rootfs: { type: "layers" as const, diff_ids: layers.map(({ diffId }) => diffId) },
    history,
    ...(options.inlineCache !== undefined && {
      [INLINE_CACHE]: Buffer.from(options.inlineCache).toString("base64"),
    }),
  };
  return document as ImageConfig;
}

function rowsOf(planned: readonly PlannedHistory[], { added, base }: ConfigOptions): Row[] {
  const expected = planned.filter(({ vertex }) => vertex !== undefined).length;
  if (expected !== added.length) {
    throw new GantryError("internal", `cannot make an image: it has ${added.length} new layers, and ${expected} steps`);
  }
  let at = 0;
  let baseSeen = 0;
  return planned.map((row): Row => {
    if (row.vertex !== undefined) {
      const layer = added[at++]!;
      return { planned: row, isOfBase: false, layer, isEmpty: layer.isEmpty };
    }
    // Rows that were never given a time may be the base image's, too: then they have its layers.
    const isOfBase = row.created !== undefined || row.emptyLayer !== undefined || baseSeen < base.length;
    const isEmpty = !isOfBase || row.emptyLayer === true;
    if (!isEmpty) baseSeen++;
    return { planned: row, isOfBase, layer: undefined, isEmpty };
  });
}

function historyOf(rows: readonly Row[], epoch: number | undefined): History[] {
  const told = rows.map((row) => ({ row, created: createdOf(row, epoch) }));
  const firstUntold = told.findIndex(({ created }) => created === undefined);
  // The time of the first layer that comes after a row without one; where there is none, the last that is known.
  const later = firstUntold === -1 ? undefined : told.slice(firstUntold).find(({ created }) => created !== undefined);
  let current = later?.created ?? told.findLast(({ created }) => created !== undefined)?.created;
  let hasGap = false;
  return told.map(({ created, row: { isEmpty, planned } }): History => {
    if (created === undefined) hasGap = true;
    else if (hasGap) current = created;
    const time = created ?? current;
    return {
      ...(time !== undefined && { created: time }),
      ...(planned.author !== undefined && planned.author !== "" && { author: planned.author }),
      ...(planned.createdBy !== "" && { created_by: planned.createdBy }),
      ...(planned.comment !== undefined && planned.comment !== "" && { comment: planned.comment }),
      ...(isEmpty && { empty_layer: true }),
    };
  });
}

function createdOf({ isOfBase, layer, planned }: Row, epoch: number | undefined): string | undefined {
  if (isOfBase) return planned.created;
  if (epoch !== undefined) return timeOf(epoch * 1000);
  return layer === undefined || layer.created === 0 ? undefined : timeOf(layer.created);
}

/** As Go writes times: no fraction where it is nothing. */
function timeOf(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(".000Z", "Z");
}
