import type { Volume } from "../api/volume.ts";

/** Volumes, and what is in the way of saying them all. */
export interface VolumeListing {
  readonly volumes: readonly Volume[];
  readonly warnings: readonly string[];
}

/**
 * What keeps volumes: the machine's own folders (`local`), or a plugin. A volume is made, then mounted and released any
 * number of times by holders, then removed. A holder is a container that runs, or whoever else needs the content for a
 * while; it holds a volume once, however often it mounts it.
 *
 * All that waits ends in bounded time by itself: a plugin that hangs is given up on. Errors are `invalid` for what the
 * driver refuses, `not-found` for a volume that it hasn't got, `unavailable` where it can't be reached, each in one
 * sentence that names the volume.
 */
export interface VolumeDriver {
  /** True for a volume that was made here through it, or that it was asked for by a container. No asking, no waiting. */
  owns(name: string): boolean;
  /** What is recorded of a volume. No asking, no waiting. */
  get(name: string): Volume | undefined;
  /** The same as the driver says it now, with its status; also of a volume that others made. */
  inspect(name: string): Promise<Volume | undefined>;
  /** All of the driver's volumes, also those that others made. */
  all(): Promise<VolumeListing>;
  /** A volume of that name that is there already is the answer. */
  make(request: VolumeRequest & { readonly name: string }): Promise<Volume>;
  /** `conflict` while a container uses it. With `force` what isn't there is no error. */
  remove(name: string, options: { readonly force: boolean }): Promise<void>;
  /** Bytes of its files; undefined where the driver doesn't say. */
  usage(name: string): Promise<number | undefined>;
  /** Sees to it that the content is there until `release` of the same holder. Answers with its folder. */
  mount(name: string, holder: string): Promise<string>;
  /** Ends what a holder holds; what nobody holds any more is unmounted. */
  release(holder: string): Promise<void>;
  /** At boot: who holds what, by holder. What is mounted and held by nobody is unmounted. */
  adopt(holders: ReadonlyMap<string, readonly string[]>): Promise<void>;
}

export interface VolumeRequest {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** `type`, `o`, `device`: what to mount when the volume is used. */
  readonly options?: Readonly<Record<string, string>>;
  readonly driver?: string;
}
