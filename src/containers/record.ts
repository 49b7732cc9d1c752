import type { ContainerConfig, EndpointSettings, HostConfig, Mount, MountPoint, PortMap } from "../api/container.ts";
import type { ImageDescriptor } from "../api/image-descriptor.ts";
import { realtimeNano } from "../kernel/clock.ts";
import type { HealthRecord } from "./health.ts";

/** What the store holds of a container. Written whole at each change; in memory it is replaced, never edited. */
export interface ContainerRecord {
  /** 64 hex digits. */
  readonly id: string;
  /** Without the leading slash. */
  readonly name: string;
  /** RFC 3339 with nanoseconds. */
  readonly created: string;
  readonly imageId: string;
  /** The image as the user named it. */
  readonly image: string;
  /** Of what it was made; records of former engines don't say. */
  readonly imageManifest?: ImageDescriptor;
  /** Chain id of the image's root filesystem; the container's snapshot has this as parent and `id` as key. */
  readonly chainId: string | undefined;
  readonly platform: string;
  readonly config: ContainerConfig;
  readonly hostConfig: HostConfig;
  readonly endpoints: Readonly<Record<string, Partial<EndpointSettings>>>;
  readonly mounts: readonly ResolvedMount[];
  readonly state: StoredState;
  readonly restartCount: number;
  /** The user said `stop`: a restart policy other than `always` does not bring it back, also not at boot. */
  readonly stoppedByUser: boolean;
  /** Not answered yet: its volumes are being filled. Boot removes it. */
  readonly pending: boolean;
  /** An OCI runtime's name; empty for the engine's default at each start. */
  readonly runtime: string;
  /** Missing until a container with a health check has started. */
  readonly health?: HealthRecord | undefined;
  /** Its health asked for a restart, which is to come even if the engine dies before it. */
  readonly restartWanted?: boolean;
}

/** Where a mount point's content comes from, as settled at create. */
export interface ResolvedMount {
  readonly type: "bind" | "volume" | "tmpfs" | "image";
  /** A volume's name, or an image's as the user wrote it. */
  readonly name?: string;
  /** Of a volume: whose it is; `local` if it isn't said. */
  readonly driver?: string;
  /** Of an image: what is mounted. */
  readonly image?: { readonly id: string; readonly chainId?: string };
  /** Host path; empty for tmpfs, and for a volume whose plugin says it only when it is mounted. */
  readonly source: string;
  /** What of the source is mounted: a path within it, for the kernel to resolve. */
  readonly subpath?: string;
  readonly destination: string;
  readonly readonly: boolean;
  /** Read-only for the first mount alone, not for those below it. */
  readonly shallowReadonly?: boolean;
  /** As inspect shows it: the mode part of `-v`. */
  readonly mode: string;
  readonly propagation: MountPoint["Propagation"];
  /** The propagation is nobody's choice: where it can't be, the mount is private. */
  readonly usualPropagation?: boolean;
  readonly recursive: boolean;
  /** Mount options of a tmpfs. */
  readonly options: readonly string[];
  /** True for a volume made for this container without a name: `rm -v` and `--rm` take it along. */
  readonly anonymous: boolean;
  /** The `--mount` it came from. */
  readonly from?: Mount;
}

/** A pid exists only where a process does. `exited` is also how a stopped container is called. */
export type StoredState =
  | { readonly status: "created"; readonly error: string; readonly exitCode: number }
  | RunningState
  | ExitedState;

/** What the engine pauses a container for by itself: its image, or a copy of one of its volumes. */
export type PauseReason = "commit" | "volume";

export interface RunningState {
  readonly status: "running";
  readonly pid: number;
  readonly startedAt: string;
  readonly paused: boolean;
  /** Set while the engine itself pauses it: a boot that finds it lets the processes go on. */
  readonly pausedFor?: PauseReason;
  readonly networks: Readonly<Record<string, EndpointSettings>>;
  readonly ports: PortMap;
  readonly sandboxKey: string;
  /** It asks the engine for names. */
  readonly hasResolver?: boolean;
}

export interface ExitedState {
  readonly status: "exited";
  readonly exitCode: number;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly oomKilled: boolean;
  readonly error: string;
}

/** What of a container lives in this process only. */
export interface Transient {
  /** Waiting to be started again by its restart policy, or being started. */
  restarting: boolean;
  /** The wait is over: it is being started, and whoever wants it otherwise waits for that. */
  comingBack: boolean;
  removing: boolean;
  /** A removal failed half-way: docker's `dead`. */
  dead: boolean;
  /** The running process has been asked to end by stop, kill, restart or removal: no restart policy brings it back. */
  manuallyStopped: boolean;
  /** It was stop or restart that asked: its end is told as `stop`. */
  stopTold: boolean;
  /** A signal that is being sent, and told of: its effects are told after it. */
  signalling: Promise<unknown> | undefined;
  /** Milliseconds to wait before the next restart. */
  backoffMs: number;
  restartTimer: NodeJS.Timeout | undefined;
  readonly execIds: Set<string>;
}

export const NEVER = "0001-01-01T00:00:00Z";

/** Now, as RFC 3339 with nanoseconds: later calls give later texts, which is what lists are sorted by. */
export function timestamp(): string {
  return rfc3339Nano(realtimeNano());
}

/** `2006-01-02T15:04:05.000000000Z`, nine digits always. */
export function rfc3339Nano(nano: bigint): string {
  const seconds = new Date(Number(nano / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(nano % 1_000_000_000n).padStart(9, "0")}Z`;
}
