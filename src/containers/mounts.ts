import { existsSync, mkdirSync, statSync } from "node:fs";
import { posix } from "node:path";
import type { HostConfig, Mount, MountPoint } from "../api/container.ts";
import type { Volume } from "../api/volume.ts";
import { GantryError } from "../base/errors.ts";
import type { VolumeStore } from "../volumes/volume.ts";
import type { ResolvedMount } from "./record.ts";

const PROPAGATIONS = new Set(["private", "rprivate", "shared", "rshared", "slave", "rslave"]);
const KEPT_FLAGS = new Set(["nosuid", "nodev", "noexec"]);
const CONSISTENCIES = new Set(["consistent", "cached", "delegated", "default"]);

export interface MountInput {
  readonly hostConfig: HostConfig;
  /** Destinations of the image's and the user's anonymous volumes. */
  readonly anonymous: readonly string[];
  readonly volumes: VolumeStore;
  /** Mounts of the container that a `--volumes-from` names; refuses with not-found. */
  readonly mountsOf: (container: string) => readonly ResolvedMount[];
}

/**
 * Settles where each mount point's content comes from: `-v`, `--mount`, `--tmpfs`, `--volumes-from`, and anonymous
 * volumes for what the image declares and nobody else covers. Makes the volumes, and the folders that `-v` asks for.
 * A refusal takes back the volumes it made.
 */
export function resolveMounts(input: MountInput): ResolvedMount[] {
  const byDestination = new Map<string, ResolvedMount>();
  const made: string[] = [];
  const explicit = new Set<string>();

  const add = (mount: ResolvedMount) => {
    if (explicit.has(mount.destination)) {
      throw new GantryError("invalid", `Duplicate mount point: ${mount.destination}`);
    }
    explicit.add(mount.destination);
    byDestination.set(mount.destination, mount);
  };
  const volume = (name: string | undefined, mount: Mount | undefined) => {
    const known = name !== undefined && input.volumes.get(name) !== undefined;
    const driver = mount?.VolumeOptions?.DriverConfig;
    const created = input.volumes.create({
      ...(name === undefined ? {} : { name }),
      labels: mount?.VolumeOptions?.Labels ?? undefined,
      driver: driver?.Name || input.hostConfig.VolumeDriver || undefined,
      options: driver?.Options ?? undefined,
    });
    if (!known) made.push(created.Name);
    return created;
  };

  try {
    for (const from of input.hostConfig.VolumesFrom ?? []) {
      for (const mount of volumesFrom(from, input.mountsOf)) byDestination.set(mount.destination, mount);
    }
    for (const bind of input.hostConfig.Binds ?? []) add(parseBind(bind, volume));
    for (const mount of input.hostConfig.Mounts ?? []) add(resolveMount(mount, volume));
    for (const [destination, options] of Object.entries(input.hostConfig.Tmpfs ?? {})) {
      add(tmpfs(checkDestination(destination), options === "" ? [] : options.split(","), false));
    }
    for (const destination of input.anonymous) {
      const at = checkDestination(destination, destination, "volume");
      if (byDestination.has(at)) continue;
      const created = volume(undefined, undefined);
      byDestination.set(at, volumeMount(created.Name, created.Mountpoint, at, { anonymous: true }));
    }
  } catch (error) {
    // The folders of a `-v` stay, as Docker leaves them.
    for (const name of made) {
      // Its record is gone when the call returns; what can't be deleted of its folder is swept at boot.
      void input.volumes.remove(name, { force: true }).catch(() => {});
    }
    throw error;
  }
  // A mount must come before those below it.
  return [...byDestination.values()].sort((a, b) => depth(a.destination) - depth(b.destination));
}

function depth(path: string): number {
  return path === "/" ? 0 : path.split("/").length;
}

type MakeVolume = (name: string | undefined, mount: Mount | undefined) => Volume;

function parseBind(raw: string, volume: MakeVolume): ResolvedMount {
  const invalid = () => new GantryError("invalid", `invalid volume specification: '${raw}'`);
  const parts = raw.split(":");
  if (parts.length > 3 || parts[0] === "") throw invalid();
  const [source, target, mode] =
    parts.length === 1 ? ["", parts[0] ?? "", ""] : [parts[0] ?? "", parts[1] ?? "", parts[2] ?? ""];
  if (target === "" || (parts.length === 2 && !target.startsWith("/") && isMode(target))) throw invalid();
  if (parts.length === 3 && mode === "") throw invalid();
  const destination = checkDestination(target, raw, source.startsWith("/") ? "bind" : "volume");
  const parsed = parseMode(mode);
  if (source === "") {
    const created = volume(undefined, undefined);
    return volumeMount(created.Name, created.Mountpoint, destination, { anonymous: true });
  }
  if (source.startsWith("/")) {
    if (parsed.nocopy) throw invalidMount(raw, "bind", "field VolumeOptions must not be specified");
    const path = posix.normalize(source);
    if (!existsSync(path)) {
      try {
        mkdirSync(path, { recursive: true, mode: 0o755 });
      } catch (error) {
        throw new GantryError(
          "invalid",
          `error while creating mount source path '${path}': ${(error as Error).message}`,
        );
      }
    }
    return {
      type: "bind",
      source: path,
      destination,
      readonly: parsed.readonly,
      mode,
      propagation: parsed.propagation === "" ? "rprivate" : parsed.propagation,
      recursive: true,
      options: [],
      anonymous: false,
    };
  }
  if (parsed.propagation !== "") throw new GantryError("invalid", `invalid mode: ${mode}`);
  const created = volume(source, undefined);
  return {
    ...volumeMount(created.Name, created.Mountpoint, destination, { anonymous: false }),
    readonly: parsed.readonly,
    mode: mode === "" ? "z" : mode,
    options: [...(parsed.nocopy ? ["nocopy"] : []), ...mountFlags(created)],
  };
}

function isMode(text: string): boolean {
  try {
    parseMode(text);
    return true;
  } catch {
    return false;
  }
}

function parseMode(mode: string): { readonly: boolean; propagation: string; nocopy: boolean } {
  const result = { readonly: false, propagation: "", nocopy: false };
  const seen = new Set<string>();
  const once = (what: string) => {
    if (seen.has(what)) throw new GantryError("invalid", `invalid mode: ${mode}`);
    seen.add(what);
  };
  if (mode === "") return result;
  for (const word of mode.split(",")) {
    if (word === "ro" || word === "rw") {
      once("access");
      result.readonly = word === "ro";
    } else if (word === "z" || word === "Z") once("label");
    else if (word === "nocopy") {
      once("copy");
      result.nocopy = true;
    } else if (PROPAGATIONS.has(word)) {
      once("propagation");
      result.propagation = word;
    } else if (CONSISTENCIES.has(word)) once("consistency");
    else throw new GantryError("invalid", `invalid mode: ${mode}`);
  }
  return result;
}

function invalidMount(raw: string, type: Mount["Type"], why: string): GantryError {
  return new GantryError(
    "invalid",
    `invalid volume specification: '${raw}': invalid mount config for type "${type}": ${why}`,
  );
}

/** `raw` is the whole of the `-v` that it is part of. */
function checkDestination(target: string, raw?: string, type: Mount["Type"] = "volume"): string {
  const refuse = (why: string) => (raw === undefined ? new GantryError("invalid", why) : invalidMount(raw, type, why));
  if (!target.startsWith("/")) throw refuse(`invalid mount path: '${target}' mount path must be absolute`);
  const path = posix.normalize(target).replace(/(.)\/$/, "$1");
  if (path === "/") throw refuse("invalid specification: destination can't be '/'");
  return path;
}

function resolveMount(mount: Mount, volume: MakeVolume): ResolvedMount {
  const refuse = (why: string) => new GantryError("invalid", `invalid mount config for type "${mount.Type}": ${why}`);
  if (mount.Target === undefined || mount.Target === "") throw refuse("field Target must not be empty");
  if (!mount.Target.startsWith("/")) throw refuse(`invalid mount path: '${mount.Target}' mount path must be absolute`);
  const destination = posix.normalize(mount.Target).replace(/(.)\/$/, "$1");
  if (destination === "/") throw refuse("invalid specification: destination can't be '/'");
  const exclusive: readonly (readonly [string, unknown])[] = [
    ["bind", mount.BindOptions],
    ["volume", mount.VolumeOptions],
    ["tmpfs", mount.TmpfsOptions],
  ];
  for (const [type, options] of exclusive) {
    if (type !== mount.Type && options !== undefined && options !== null) {
      throw refuse(`field ${type[0]?.toUpperCase()}${type.slice(1)}Options must not be specified`);
    }
  }
  switch (mount.Type) {
    case "bind":
      return bindMount(mount, destination, refuse);
    case "volume": {
      const name = mount.Source === undefined || mount.Source === "" ? undefined : mount.Source;
      if (name === undefined && mount.ReadOnly) throw refuse("must not set ReadOnly mode when using anonymous volumes");
      if (name?.startsWith("/")) throw refuse(`mount source must be a volume name, not a path: '${name}'`);
      if (mount.VolumeOptions?.Subpath) throw refuse("field VolumeOptions.Subpath is not supported yet");
      const created = volume(name, mount);
      return {
        ...volumeMount(created.Name, created.Mountpoint, destination, { anonymous: name === undefined }),
        readonly: mount.ReadOnly === true,
        mode: "z",
        options: [...(mount.VolumeOptions?.NoCopy ? ["nocopy"] : []), ...mountFlags(created)],
        from: mount,
      };
    }
    case "tmpfs": {
      if (mount.Source) throw refuse("field Source must not be specified");
      const options = [];
      const size = mount.TmpfsOptions?.SizeBytes;
      if (size !== undefined && size < 0) throw refuse(`invalid tmpfs size: ${size}`);
      if (size) options.push(`size=${size}`);
      if (mount.TmpfsOptions?.Mode) options.push(`mode=${mount.TmpfsOptions.Mode.toString(8)}`);
      for (const option of mount.TmpfsOptions?.Options ?? []) options.push(option.join("="));
      return { ...tmpfs(destination, options, mount.ReadOnly === true), from: mount };
    }
    default:
      throw new GantryError(
        "invalid",
        `invalid mount config for type "${mount.Type}": mount type unknown: "${mount.Type}", use bind, volume or tmpfs`,
      );
  }
}

function bindMount(mount: Mount, destination: string, refuse: (why: string) => GantryError): ResolvedMount {
  if (!mount.Source) throw refuse("field Source must not be empty");
  if (!mount.Source.startsWith("/")) throw refuse(`invalid mount path: '${mount.Source}' mount path must be absolute`);
  const source = posix.normalize(mount.Source);
  const propagation = mount.BindOptions?.Propagation ?? "";
  if (propagation !== "" && !PROPAGATIONS.has(propagation)) throw refuse(`invalid propagation mode: ${propagation}`);
  if (statSync(source, { throwIfNoEntry: false }) === undefined) {
    if (!mount.BindOptions?.CreateMountpoint) throw refuse(`bind source path does not exist: ${source}`);
    mkdirSync(source, { recursive: true, mode: 0o755 });
  }
  return {
    type: "bind",
    source,
    destination,
    readonly: mount.ReadOnly === true,
    mode: "",
    propagation: propagation === "" ? "rprivate" : propagation,
    recursive: mount.BindOptions?.NonRecursive !== true,
    options: [],
    anonymous: false,
    from: mount,
  };
}

/** What a volume's options forbid holds in containers too: crun would give it back. */
function mountFlags({ Options }: Volume): string[] {
  return (Options?.o ?? "").split(",").filter((word) => KEPT_FLAGS.has(word));
}

function volumeMount(
  name: string,
  source: string,
  destination: string,
  options: { anonymous: boolean },
): ResolvedMount {
  return {
    type: "volume",
    name,
    source,
    destination,
    readonly: false,
    mode: "",
    propagation: "",
    recursive: true,
    options: [],
    anonymous: options.anonymous,
  };
}

function tmpfs(destination: string, options: readonly string[], readonly: boolean): ResolvedMount {
  return {
    type: "tmpfs",
    source: "",
    destination,
    readonly,
    mode: "",
    propagation: "",
    recursive: false,
    options,
    anonymous: false,
  };
}

function volumesFrom(spec: string, mountsOf: MountInput["mountsOf"]): ResolvedMount[] {
  const [container = "", mode = "rw", ...rest] = spec.split(":");
  if (container === "" || rest.length > 0)
    throw new GantryError("invalid", `malformed volumes-from specification: ${spec}`);
  const { readonly } = parseMode(mode);
  return mountsOf(container)
    .filter((mount) => mount.type !== "tmpfs")
    .map((mount) => ({ ...mount, readonly: mount.readonly || readonly, anonymous: false }));
}

/** As inspect shows it. */
export function toMountPoint(mount: ResolvedMount): MountPoint {
  return {
    Type: mount.type,
    ...(mount.name === undefined ? {} : { Name: mount.name }),
    Source: mount.source,
    Destination: mount.destination,
    ...(mount.type === "volume" ? { Driver: "local" } : {}),
    Mode: mount.mode,
    RW: !mount.readonly,
    Propagation: mount.propagation,
  };
}
