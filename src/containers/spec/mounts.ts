import { realpathSync, statSync } from "node:fs";
import { GantryError } from "../../base/errors.ts";
import { listMounts, type MountInfo } from "../../kernel/mount.ts";
import type { SpecMount } from "../../oci/runtime-spec.ts";
import type { HostFacts } from "./host.ts";
import type { InputMount, SpecInput } from "./input.ts";
import { checkProcMounts } from "./proc-mounts.ts";
import type { SecurityOptions } from "./security-options.ts";
import { mergeTmpfsOptions } from "./tmpfs.ts";

/** What stays writable on a read-only root filesystem. */
const ALWAYS_WRITABLE = new Set(["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]);
/** Where `--init` puts the host's init. */
export const INIT_PATH = "/sbin/docker-init";

export interface BuiltMounts {
  readonly mounts: SpecMount[];
  /** Of the root filesystem: set when a mount of the user's is to see or be seen. */
  readonly rootfsPropagation?: string;
}

/**
 * The engine's own mounts, less those that the user covers, and the user's after them. `initPath` is bound when the
 * container gets an init.
 */
export function buildMounts(
  input: SpecInput,
  host: HostFacts,
  security: SecurityOptions,
  initPath: string | undefined,
): BuiltMounts {
  const { hostConfig } = input;
  const byUser = new Set(input.mounts.map((mount) => mount.destination));
  const covered = (path: string) => byUser.has(path) || (byUser.has("/dev") && path.startsWith("/dev/"));
  const own = [...systemMounts(input, security), ...fileMounts(input)];
  if (initPath !== undefined) {
    own.push({ destination: INIT_PATH, type: "bind", source: initPath, options: ["bind", "ro"] });
  }
  if (hostConfig.ReadonlyRootfs) {
    for (const mount of own) {
      if (ALWAYS_WRITABLE.has(mount.destination) || mount.options?.includes("ro")) continue;
      mount.options = [...(mount.options ?? []), "ro"];
    }
  }
  const recursiveReadonly = host.kernel.major > 5 || (host.kernel.major === 5 && host.kernel.minor >= 12);
  checkProcMounts(input.rootfs, input.mounts);
  const mounts = withPossiblePropagation(input.mounts);
  const propagation = rootfsPropagation(mounts);
  return {
    mounts: [
      ...own.filter((mount) => !covered(mount.destination)),
      ...mounts.map((mount) => userMount(mount, recursiveReadonly)),
    ],
    ...(propagation !== undefined && { rootfsPropagation: propagation }),
  };
}

function systemMounts(input: SpecInput, security: SecurityOptions): SpecMount[] {
  const { Privileged, IpcMode } = input.hostConfig;
  const plain = ["nosuid", "noexec", "nodev"];
  const readonlyUnless = (writable: boolean) => (writable ? plain : [...plain, "ro"]);
  const rows: SpecMount[] = [
    { destination: "/proc", type: "proc", source: "proc", options: plain },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: readonlyUnless(Privileged) },
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: readonlyUnless(security.writableCgroups ?? Privileged),
    },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: plain },
  ];
  if (IpcMode === "none") return rows;
  const shared = IpcMode === "host" ? "/dev/shm" : input.shmPath;
  rows.push(
    shared === undefined
      ? {
          destination: "/dev/shm",
          type: "tmpfs",
          source: "shm",
          options: [...plain, "mode=1777", `size=${input.hostConfig.ShmSize || 64 * 1024 * 1024}`],
        }
      : { destination: "/dev/shm", type: "bind", source: shared, options: ["rbind", "rprivate", ...plain] },
  );
  return rows;
}

function fileMounts(input: SpecInput): SpecMount[] {
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["/etc/resolv.conf", input.files.resolvConf],
    ["/etc/hostname", input.files.hostname],
    ["/etc/hosts", input.files.hosts],
  ];
  return rows.flatMap(([destination, source]) =>
    source === undefined ? [] : [{ destination, type: "bind", source, options: ["rbind", "rprivate"] }],
  );
}

function userMount(mount: InputMount, recursiveReadonly: boolean): SpecMount {
  const { destination } = mount;
  if (mount.type === "tmpfs") {
    const options = mergeTmpfsOptions(mount.readonly ? [...mount.options, "ro"] : mount.options);
    return { destination, type: "tmpfs", source: "tmpfs", options };
  }
  const options = [mount.recursive ? "rbind" : "bind"];
  if (mount.readonly) {
    if (mount.readonlyForceRecursive === true && !recursiveReadonly) {
      throw new GantryError("unsupported", "rro is not supported: the kernel is older than 5.12");
    }
    // Nothing lies beneath a file, a socket or a device, and crun before 1.14.4 takes the target of "rro" for a folder.
    const deep = recursiveReadonly && mount.readonlyNonRecursive !== true && isFolder(mount.source);
    options.push(deep ? "rro" : "ro");
  }
  // crun takes an "r" anywhere for a bind of all that lies beneath; where nothing does, it says nothing.
  if (mount.propagation !== "") options.push(mount.recursive ? mount.propagation : mount.propagation.replace(/^r/, ""));
  options.push(...mount.options.filter((option) => /^no(suid|dev|exec)$/.test(option)));
  return { destination, type: "bind", source: mount.source, options };
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** What nobody asked to see mounts come and go needs not. */
function withPossiblePropagation(mounts: readonly InputMount[]): readonly InputMount[] {
  if (!mounts.some(({ usualPropagation, propagation }) => usualPropagation === true && propagation === "rslave")) {
    return mounts;
  }
  const table = listMounts();
  return mounts.map((mount) => {
    if (mount.usualPropagation !== true || mount.propagation !== "rslave") return mount;
    return propagatesFrom(table, mount.source, ["shared:", "master:"]).isMet
      ? mount
      : { ...mount, propagation: "rprivate" };
  });
}

/** A shared mount needs a shared root and a shared source; a slave one needs either. */
function rootfsPropagation(mounts: readonly InputMount[]): string | undefined {
  const wanting = (kind: string) => mounts.filter((mount) => mount.propagation.replace(/^r/, "") === kind);
  const [shared, slaves] = [wanting("shared"), wanting("slave")];
  if (shared.length + slaves.length === 0) return undefined;
  const table = listMounts();
  for (const mount of shared) requirePropagation(table, mount.source, ["shared:"], "a shared");
  for (const mount of slaves) requirePropagation(table, mount.source, ["shared:", "master:"], "a shared or slave");
  return shared.length > 0 ? "shared" : "rslave";
}

function requirePropagation(
  table: readonly MountInfo[],
  source: string,
  prefixes: readonly string[],
  what: string,
): void {
  const { isMet, target } = propagatesFrom(table, source, prefixes);
  if (isMet) return;
  throw new GantryError("invalid", `path ${source} is mounted on ${target} but it is not ${what} mount`);
}

/** Whether the mount that a path is on has one of these tags. */
function propagatesFrom(table: readonly MountInfo[], source: string, prefixes: readonly string[]) {
  const path = realpathSync(source);
  let best: MountInfo | undefined;
  for (const row of table) {
    const above = row.target === "/" || row.target === path || path.startsWith(`${row.target}/`);
    // Later rows lie over earlier ones at the same place.
    if (above && row.target.length >= (best?.target.length ?? 0)) best = row;
  }
  const isMet = best?.propagation.some((tag) => prefixes.some((prefix) => tag.startsWith(prefix))) === true;
  return { isMet, target: best?.target };
}
