import type { Ulimit } from "../api/container.ts";
import type { Logger } from "../base/log.ts";
import type { EventBus } from "../events/bus.ts";
import type { ImageRegistry, ResolvedImage } from "../images/image.ts";
import type { NetworkController } from "../networks/network.ts";
import type { OciRuntime, ProcessRuntime } from "../runtime/process.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import type { Store } from "../state/store.ts";
import type { VolumeStore } from "../volumes/volume.ts";
import type { EngineDns } from "./files.ts";
import type { ContainerRecord } from "./record.ts";

/** What the containers are built on. */
export interface ContainerPorts {
  readonly store: Store;
  readonly events: EventBus;
  readonly log: Logger;
  readonly images: ImageRegistry;
  /** Throws for an image that the engine's policy does not let run under the name or id that it was asked for by. */
  readonly admit?: (image: ResolvedImage, asked: string) => Promise<void>;
  readonly snapshots: Snapshotter;
  readonly networks: NetworkController;
  readonly volumes: VolumeStore;
  readonly runtime: ProcessRuntime;
  readonly shippedLogs: LogForwarding;
  /** Told of each probe of a container's health. */
  readonly onHealthCheck?: (failed: boolean) => void;
  /** Read anew at each use: a reload may have changed it. */
  readonly settings: () => ContainerSettings;
}

/** Sends the logs of the containers whose driver is a log service; of others it does nothing. */
export interface LogForwarding {
  /**
   * To be called before the container's process is let go. Throws what Docker says of a driver that can't begin: an
   * option that can't be, a service that is not there.
   */
  begin(record: ContainerRecord): Promise<void>;
  /** The container has ended: what is left is sent while nobody waits. */
  ended(id: string): void;
  /** Gives the container's files free: what is left is sent first if that goes soon. */
  release(id: string): Promise<void>;
  /** Takes up, at the start of the engine, what runs and what did not get through before. */
  resume(records: readonly ContainerRecord[]): Promise<void>;
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
  /** One of `LOG_DRIVERS`. */
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
