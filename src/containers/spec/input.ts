import type { ContainerConfig, HostConfig, Ulimit } from "../../api/container.ts";
import type { HostFacts } from "./host.ts";

/** All that a container's runtime spec is made of. Nothing else is asked but the rootfs, /dev and the mount table. */
export interface SpecInput {
  /** 64 hex digits. */
  readonly id: string;
  /** The user's wishes already merged over the image's. */
  readonly config: ContainerConfig;
  readonly hostConfig: HostConfig;
  /** Where the root filesystem is mounted now: users and groups are looked up inside. */
  readonly rootfs: string;
  readonly mounts: readonly InputMount[];
  /** Files of the engine that are bound into /etc; what is left out isn't bound. */
  readonly files: { readonly hostname?: string; readonly hosts?: string; readonly resolvConf?: string };
  /** Namespace files of the containers that a mode `container:X` names, e.g. `/proc/123/ns/ipc`. */
  readonly joined?: { readonly pid?: string; readonly ipc?: string; readonly net?: string; readonly uts?: string };
  /** The sandbox's network namespace; undefined for `host`, and for a namespace that the runtime makes. */
  readonly netns?: string;
  /**
   * A tmpfs on the host to bind at /dev/shm: what a shareable container and those that join it have in common.
   * Left out, the container gets one of its own of HostConfig.ShmSize bytes.
   */
  readonly shmPath?: string;
  readonly defaults: EngineDefaults;
  /** Read from this machine when left out. */
  readonly host?: HostFacts;
}

/** A mount point whose content is settled; `source` is empty for a tmpfs. */
export interface InputMount {
  readonly type: "bind" | "volume" | "tmpfs" | "image";
  readonly source: string;
  readonly destination: string;
  readonly readonly: boolean;
  /** `rprivate`, `shared` …; empty leaves it to the runtime. */
  readonly propagation: string;
  /** Nobody chose it: where it can't be, the mount is private. */
  readonly usualPropagation?: boolean;
  /** Show what is mounted beneath the source as well. */
  readonly recursive: boolean;
  /** Read-only for the first mount only, not for those beneath it. */
  readonly readonlyNonRecursive?: boolean;
  /** Refuse to start where those beneath it can't be read-only. */
  readonly readonlyForceRecursive?: boolean;
  /** Of a tmpfs: `size=64m`, `exec` …; of a volume those of `nosuid`, `nodev` and `noexec` that hold. */
  readonly options: readonly string[];
}

export interface EngineDefaults {
  readonly ulimits: readonly Ulimit[];
  /** Absolute path of an init such as tini; undefined if the host has none. */
  readonly initPath: string | undefined;
  /** Give every container an init unless it says otherwise. */
  readonly init: boolean;
  /** Path of a profile in Docker's JSON form, or `unconfined`. */
  readonly seccompProfile: string;
  readonly cgroupParent: string;
  readonly noNewPrivileges: boolean;
}
