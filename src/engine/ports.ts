import type { SystemInfo, VersionInfo } from "../api/system.ts";
import type { BuildWire } from "../build/build-wire.ts";
import type { Builder, CacheArchives, FailedSteps } from "../build/builder.ts";
import type { ContainerController } from "../containers/controller.ts";
import type { EventBus } from "../events/bus.ts";
import type { ImageRegistry } from "../images/image.ts";
import type { NetworkController } from "../networks/network.ts";
import type { Registries } from "../remote/registry.ts";
import type { VolumeCare } from "../volumes/care.ts";
import type { VolumeStore } from "../volumes/volume.ts";
import type { DiskUsageReader } from "./disk-usage.ts";
import type { Doctor } from "./doctor.ts";
import type { EngineMetrics } from "./metrics.ts";

/** What the engine says about itself. */
export interface EngineSystem {
  version(): VersionInfo;
  info(): Promise<SystemInfo>;
}

/** Everything that the routes call. */
export interface EnginePorts {
  readonly containers: ContainerController;
  readonly images: ImageRegistry;
  readonly networks: NetworkController;
  readonly volumes: VolumeStore;
  readonly volumeCare: VolumeCare;
  readonly registries: Registries;
  readonly builder: Builder;
  /** BuildKit's protocols: loaded by who speaks them. */
  readonly buildWire: () => Promise<BuildWire>;
  readonly failedSteps: FailedSteps;
  readonly cacheArchives: CacheArchives;
  readonly doctor: Doctor;
  readonly events: EventBus;
  readonly system: EngineSystem;
  readonly diskUsage: DiskUsageReader;
  readonly metrics: EngineMetrics;
}
