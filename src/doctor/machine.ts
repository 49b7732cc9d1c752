import type { ForwardObstacle } from "../kernel/foreign-forward.ts";
import type { Observation } from "../remote/observed.ts";
import type { ProxySettings } from "../remote/settings.ts";

/** What checks ask of the machine: small ports, each with a fake in the tests. */
export interface Machine {
  readonly files: Files;
  readonly programs: Programs;
  readonly kernel: KernelProbes;
  readonly disk: Disk;
  readonly network: NetworkProbes;
  readonly clock: Clock;
  readonly records: Records;
}

export interface Files {
  /** The text of a file; undefined if it can't be read. */
  read(path: string): string | undefined;
  /** Names in a folder; none if it can't be read. */
  list(path: string): readonly string[];
  /** The path with all links followed; undefined if it leads nowhere. */
  resolve(path: string): string | undefined;
}

export interface Programs {
  /** What a program prints, both streams; undefined if there is none or it fails. */
  run(name: string, args: readonly string[]): Promise<string | undefined>;
}

export type KernelCall = "openat2" | "pidfd" | "mount-api";

export interface KernelProbes {
  /** Why a call doesn't work; undefined if it does. */
  refusal(call: KernelCall): string | undefined;
}

export interface Space {
  readonly bytes: number;
  readonly freeBytes: number;
  /** 0 where the file system has no fixed number. */
  readonly inodes: number;
  readonly freeInodes: number;
  /** `ext4`, `xfs` … */
  readonly fileSystem: string;
}

export interface Disk {
  space(path: string): Promise<Space>;
  /** Why an overlay in this folder can't be mounted, or doesn't hold what is written; undefined if all is well. */
  overlayRefusal(folder: string): Promise<string | undefined>;
  /** Milliseconds of some synced writes in this folder, in the order of their length. */
  syncTimes(folder: string): Promise<readonly number[]>;
}

export interface SandboxRefusals {
  readonly namespace?: string;
  readonly bridge?: string;
  readonly veth?: string;
  readonly nftables?: string;
}

export interface HostRoute {
  /** CIDR. */
  readonly destination: string;
  readonly device: string;
}

export interface NetworkProbes {
  /** Why a bridge, a pair of links or a table can't be made, tried in a namespace of their own. */
  sandboxRefusals(folder: string): SandboxRefusals;
  /** Of other programs: what drops a bridge's packets. */
  forwardObstacles(bridge: string): Promise<readonly ForwardObstacle[]>;
  /** Of all tables, but for default routes and the kernel's own. */
  routes(): readonly HostRoute[];
  /** MTU of the link of the default route; undefined without one. */
  defaultMtu(): number | undefined;
  /** Why a listener on loopback can't be reached; undefined if it can. */
  loopbackRefusal(): Promise<string | undefined>;
}

export interface Clock {
  /** As the kernel was told by whoever keeps it. */
  synchronization(): { readonly isSynced: boolean; readonly maxErrorMs: number };
  /** Unix milliseconds. */
  now(): number;
}

export interface Records {
  /** What a look through a database says: `ok`, or what is wrong. Throws if it can't be read. */
  integrity(path: string): Promise<string>;
}

/** What the checks are about: one engine's folders and settings, and the engine where it runs. */
export interface Installation {
  readonly version: string;
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly mtu: number;
  readonly bridge: string;
  /** The default runtime: its name and where it is, undefined if it isn't. */
  readonly runtime: { readonly name: string; readonly path: string | undefined };
  readonly seccompProfile: string;
  /** Why images can't be started before they are whole, where the engine was told to; else undefined. */
  readonly lazyRefusal: string | undefined;
  /** Path of the signature policy; empty for none. */
  readonly signaturePolicy: string;
  /** Folders with one of certificates for each registry. */
  readonly certificateFolders: readonly string[];
  /** Those of the way to registries; empty texts for none. */
  readonly proxies: ProxySettings;
  /** Where an engine of this configuration leaves its process id. */
  readonly pidfile: string;
  /** The engine that asks; undefined for a doctor that looks from outside, whether one runs or not. */
  readonly engine: RunningEngine | undefined;
}

/** What checks ask of an engine that runs. */
export interface RunningEngine {
  /** Rejects if the supervisor doesn't answer. */
  askSupervisor(): Promise<unknown>;
  /** Images that were started before they are whole, and why the rest of one can't be had. */
  imagesUnderWay(): readonly { readonly name: string; readonly problem: string | undefined }[];
  /** Ids of containers that run. */
  running(): Promise<readonly string[]>;
  /** How it went with registries lately. */
  registries(): readonly Observation[];
  networks(): readonly {
    readonly name: string;
    readonly subnets: readonly string[];
    /** The bridge. */
    readonly link: string;
  }[];
}
