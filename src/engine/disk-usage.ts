import type { BuildCacheRow, DiskUsage, DiskUsageType } from "../api/disk-usage.ts";
import type { Volume } from "../api/volume.ts";
import { SingleFlight } from "../base/single-flight.ts";
import type { Builder, CacheUsage } from "../build/builder.ts";
import type { ContainerController } from "../containers/controller.ts";
import type { ImageRegistry } from "../images/image.ts";
import type { VolumeStore } from "../volumes/volume.ts";

export interface DiskUsagePorts {
  readonly images: Pick<ImageRegistry, "list" | "layersSize">;
  readonly containers: Pick<ContainerController, "list">;
  readonly volumes: Pick<VolumeStore, "list" | "usage">;
  readonly builder: Pick<Builder, "usage">;
  /** Ids of the containers that use a volume. */
  readonly usersOf: (volume: string) => readonly string[];
}

/**
 * What takes up the disk. Of images the store knows; what containers and volumes hold is walked, once for all who ask
 * at the same time.
 */
export class DiskUsageReader {
  readonly #ports: DiskUsagePorts;
  readonly #containers: SingleFlight<NonNullable<DiskUsage["Containers"]>>;
  readonly #volumes: SingleFlight<Volume[]>;
  readonly #cache: SingleFlight<BuildCacheRow[]>;

  constructor(ports: DiskUsagePorts) {
    this.#ports = ports;
    this.#containers = new SingleFlight(() =>
      ports.containers.list({ all: true, limit: undefined, size: true, filters: {} }),
    );
    this.#volumes = new SingleFlight(() => this.#measureVolumes());
    this.#cache = new SingleFlight(async () => (await ports.builder.usage([])).map(cacheRow));
  }

  async read(types: ReadonlySet<DiskUsageType>): Promise<DiskUsage> {
    const { images } = this.#ports;
    const [Images, Containers, Volumes, BuildCache] = await Promise.all([
      types.has("image") ? images.list({ sharedSize: true }) : null,
      types.has("container") ? this.#containers.run() : null,
      types.has("volume") ? this.#volumes.run() : null,
      types.has("build-cache") ? this.#cache.run() : null,
    ]);
    return {
      LayersSize: types.has("image") ? images.layersSize() : 0,
      Images,
      Containers,
      Volumes,
      BuildCache,
    };
  }

  async #measureVolumes(): Promise<Volume[]> {
    const measured: Volume[] = [];
    for (const volume of this.#ports.volumes.list()) {
      // What is mounted for a volume of a device lies somewhere else; one that is removed meanwhile holds nothing.
      const Size = (await this.#ports.volumes.usage(volume.Name).catch(() => undefined)) ?? -1;
      measured.push({ ...volume, UsageData: { Size, RefCount: this.#ports.usersOf(volume.Name).length } });
    }
    return measured;
  }
}

function cacheRow(usage: CacheUsage): BuildCacheRow {
  return {
    ID: usage.id,
    ...(usage.parents.length > 0 && { Parents: [...usage.parents] }),
    Type: usage.type,
    Description: usage.description,
    InUse: usage.inUse,
    Shared: usage.shared,
    Size: usage.size,
    CreatedAt: new Date(usage.createdAt).toISOString(),
    LastUsedAt: new Date(usage.lastUsedAt).toISOString(),
    UsageCount: usage.usageCount,
  };
}
