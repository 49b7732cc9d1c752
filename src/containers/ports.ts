import type { Ulimit } from "../api/container.ts";
import type { Logger } from "../base/log.ts";
import type { EventBus } from "../events/bus.ts";
import type { ImageRegistry } from "../images/image.ts";
import type { NetworkController } from "../networks/network.ts";
import type { OciRuntime, ProcessRuntime } from "../runtime/process.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import type { Store } from "../state/store.ts";
import type { VolumeStore } from "../volumes/volume.ts";
import type { EngineDns } from "./files.ts";

/** What the containers are built on. */
export interface ContainerPorts {
  readonly store: Store;
  readonly events: EventBus;
  readonly log: Logger;
  readonly images: ImageRegistry;
  readonly snapshots: Snapshotter;
  readonly networks: NetworkController;
  readonly volumes: VolumeStore;
  readonly runtime: ProcessRuntime;
  /** Read anew at each use: a reload may have changed it. */
  readonly settings: () => ContainerSettings;
}

/** The engine's configuration as far as it shapes containers. */
export interface ContainerSettings {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly runtimes: ReadonlyMap<string, OciRuntime>;
  readonly defaultRuntime: string;
  readonly defaultUlimits: readonly Ulimit[];
  /** Bytes. */
  readonly defaultShmSize: number;
  readonly dns: EngineDns;
  /** `local`, `json-file` or `none`. */
  readonly logDriver: string;
  readonly logOptions: Readonly<Record<string, string>>;
  /** Path of the init that --init puts first; undefined when the host has none. */
  readonly initPath: string | undefined;
  /** Give every container an init unless it says otherwise. */
  readonly init: boolean;
  /** cgroup under which containers' cgroups are made. */
  readonly cgroupParent: string;
  readonly noNewPrivileges: boolean;
  /** Path of the default seccomp profile, or `unconfined`. */
  readonly seccompProfile: string;
}
