import type { Volume } from "../api/volume.ts";

/** Data that outlives containers: for now the `local` driver's folders under the data root. */
export interface VolumeStore {
  get(name: string): Volume | undefined;
  list(): Volume[];
  create(request: {
    name?: string;
    labels?: Record<string, string>;
    options?: Record<string, string>;
    driver?: string;
  }): Volume;
  /** conflict while a container uses it. */
  remove(name: string, options: { force: boolean }): Promise<void>;
  /** True for volumes made for a container without a name, which `rm -v` takes with it. */
  isAnonymous(name: string): boolean;
}
