import type { Filters } from "../api/filters.ts";
import type { Volume } from "../api/volume.ts";

/** Data that outlives containers: the `local` driver's volumes. */
export interface VolumeStore {
  get(name: string): Volume | undefined;
  list(): Volume[];
  /** A volume of that name that is there already is the answer, whatever else is asked for. */
  create(request: VolumeRequest): Volume;
  /** conflict while a container uses it. */
  remove(name: string, options: { force: boolean }): Promise<void>;
  /** Removes volumes that no container refers to: those without a name, or with the filter `all` any. */
  prune(filters: Filters): Promise<{ readonly deleted: string[]; readonly spaceReclaimed: number }>;
  /** Bytes of a volume's files; undefined for one whose content is elsewhere. */
  usage(name: string): Promise<number | undefined>;
  /** True for volumes made for a container without a name, which `rm -v` takes with it. */
  isAnonymous(name: string): boolean;
  /**
   * Sees to it that the content is at the mount point until `release` of the same holder. Only volumes of a device
   * need it; for the others it is done at once.
   */
  mount(name: string, holder: string): Promise<void>;
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
