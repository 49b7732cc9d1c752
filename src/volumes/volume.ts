import type { Filters } from "../api/filters.ts";
import type { Volume } from "../api/volume.ts";
import type { VolumeListing, VolumeRequest } from "./driver.ts";

/** Data that outlives containers: the volumes of all drivers, each under a name of its own. */
export interface VolumeStore {
  /** What is recorded of a volume. */
  get(name: string): Volume | undefined;
  /** Those of the `local` driver. */
  list(): Volume[];
  /** A volume as its driver says it now; every driver is asked for one that isn't recorded. */
  inspect(name: string): Promise<Volume | undefined>;
  /** Those of all drivers, as the drivers say them now. */
  listAll(): Promise<VolumeListing>;
  /** `local` and the plugins that can be asked, sorted but for the first. */
  drivers(): Promise<string[]>;
  /** A volume of that name and driver that is there already is the answer, whatever else is asked for. */
  make(request: VolumeRequest): Promise<Volume>;
  /** The same for what a plugin is to do or has done already; undefined for what is the `local` driver's to make. */
  prepare(request: VolumeRequest): Promise<Volume | undefined>;
  /** The same at once, as a transaction needs it, for volumes that `prepare` answered nothing for. */
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
   * Sees to it that the content is there until `release` of the same holder, and says in which folder. For volumes
   * that are a folder and no more it is done at once.
   */
  mount(name: string, holder: string): Promise<string>;
  /** Ends what a holder holds; what nobody holds any more is unmounted. */
  release(holder: string): Promise<void>;
  /** At boot: who holds what, by holder. What is mounted and held by nobody is unmounted. */
  adopt(holders: ReadonlyMap<string, readonly string[]>): Promise<void>;
}
