import { statSync } from "node:fs";
import { posix } from "node:path";
import type { Mount, MountPoint } from "../api/container.ts";
import { GantryError } from "../base/errors.ts";
import type { VolumeRequest } from "../volumes/driver.ts";

const PROPAGATIONS: ReadonlySet<string> = new Set(["private", "rprivate", "shared", "rshared", "slave", "rslave"]);
const CONSISTENCIES: ReadonlySet<string> = new Set(["consistent", "cached", "delegated"]);
const TMPFS_WORDS: ReadonlySet<string> = new Set(["exec", "noexec"]);
const SIZE_UNITS: readonly (readonly [string, number])[] = [
  ["g", 1 << 30],
  ["m", 1 << 20],
  ["k", 1 << 10],
];

/** A mount point as the user wants it, checked; nothing is made of it yet. */
export interface MountWish {
  readonly type: "bind" | "volume" | "tmpfs" | "image";
  /** Of a bind the host's path; of an image its name or id. */
  readonly source: string;
  /** Clean and absolute. */
  readonly destination: string;
  /** The destination in the user's words. */
  readonly target: string;
  readonly readonly: boolean;
  /** Read-only for the first mount alone. */
  readonly shallowReadonly?: boolean;
  /** As inspect shows it: the mode part of `-v`. */
  readonly mode: string;
  /** What it shows of a volume of the `local` driver where there is none. */
  readonly usualMode: "z" | "";
  readonly propagation: MountPoint["Propagation"];
  /** The propagation is nobody's choice. */
  readonly usualPropagation: boolean;
  readonly recursive: boolean;
  /** Make the host's folder if it isn't there. */
  readonly makeSource: boolean;
  readonly nocopy: boolean;
  /** Mount options of a tmpfs. */
  readonly options: readonly string[];
  /** Of a volume: whose it is to be; a name that is left out asks for one without. */
  readonly volume?: VolumeRequest;
  readonly from?: Mount;
}

/** One `-v`. Throws `invalid` in Docker's words. */
export function parseBind(raw: string, volumeDriver: string): MountWish {
  const invalid = () => new GantryError("invalid", `invalid volume specification: '${raw}'`);
  const parts = raw.split(":");
  const [first = "", second = "", mode = ""] = parts;
  if (parts.length > 3 || first === "" || (parts.length === 2 && isMode(second))) throw invalid();
  const [source, target] = parts.length === 1 ? ["", first] : [first, second];
  const { readonly, propagation, nocopy } = parseMode(mode);
  const type = source.startsWith("/") ? "bind" : "volume";
  const refuse = (why: string) =>
    new GantryError(
      "invalid",
      `invalid volume specification: '${raw}': invalid mount config for type "${type}": ${why}`,
    );
  if (type === "bind" && nocopy) throw refuse("field VolumeOptions must not be specified");
  if (type === "volume" && propagation !== "") throw refuse("field BindOptions must not be specified");
  const destination = checkTarget(target, refuse);
  const shared = { destination, target, readonly, usualPropagation: propagation === "", recursive: true, options: [] };
  if (type === "bind") {
    return {
      ...shared,
      type,
      source: cleanPath(source),
      mode,
      usualMode: "",
      propagation: propagation || "rprivate",
      makeSource: true,
      nocopy: true,
    };
  }
  return {
    ...shared,
    type,
    source: "",
    mode,
    usualMode: "z",
    propagation: "",
    makeSource: false,
    nocopy,
    volume: { ...(source !== "" && { name: source }), ...(volumeDriver !== "" && { driver: volumeDriver }) },
  };
}

/** A volume for what an image, or `-v` with a path alone, declares. */
export function anonymousWish(path: string, volumeDriver: string): MountWish {
  const refuse = (why: string) =>
    new GantryError(
      "invalid",
      `invalid volume specification: '${path}': invalid mount config for type "volume": ${why}`,
    );
  return {
    ...EMPTY,
    type: "volume",
    destination: checkTarget(path, refuse),
    target: path,
    volume: volumeDriver === "" ? {} : { driver: volumeDriver },
  };
}

/** One `--tmpfs`. */
export function tmpfsWish(target: string, options: string): MountWish {
  const destination = checkTarget(target, (why) => new GantryError("invalid", why));
  return {
    ...EMPTY,
    type: "tmpfs",
    destination,
    target,
    recursive: false,
    options: options === "" ? [] : options.split(","),
  };
}

const EMPTY = {
  source: "",
  readonly: false,
  mode: "",
  usualMode: "",
  propagation: "",
  usualPropagation: true,
  recursive: true,
  makeSource: false,
  nocopy: false,
  options: [],
} as const;

/** One `--mount`. Throws `invalid` in Docker's words. */
export function parseMount(mount: Mount): MountWish {
  const refuse = (why: string) => new GantryError("invalid", `invalid mount config for type "${mount.Type}": ${why}`);
  checkExclusive(mount, refuse);
  const target = mount.Target ?? "";
  if (target === "") throw refuse("field Target must not be empty");
  const destination = checkTarget(target, refuse);
  const shared = { ...EMPTY, destination, target, readonly: mount.ReadOnly === true, from: mount };
  switch (mount.Type) {
    case "bind":
      return { ...shared, ...bindParts(mount, refuse) };
    case "volume":
      return { ...shared, type: "volume", ...volumeParts(mount, refuse) };
    case "tmpfs":
      if (mount.Source) throw refuse("field Source must not be specified");
      return { ...shared, type: "tmpfs", recursive: false, options: tmpfsOptions(mount, refuse) };
    case "image":
      if (!mount.Source) throw refuse("field Source must not be empty");
      checkSubpath(mount.ImageOptions?.Subpath, refuse);
      return { ...shared, type: "image", source: mount.Source, readonly: true, propagation: "rprivate" };
    default:
      throw refuse(`mount type unknown: "${mount.Type}", use bind, volume, image or tmpfs`);
  }
}

type Refuse = (why: string) => GantryError;

function checkExclusive(mount: Mount, refuse: Refuse): void {
  const rows: readonly (readonly [Mount["Type"], string, unknown])[] = [
    ["bind", "BindOptions", mount.BindOptions],
    ["volume", "VolumeOptions", mount.VolumeOptions],
    ["image", "ImageOptions", mount.ImageOptions],
    ["tmpfs", "TmpfsOptions", mount.TmpfsOptions],
  ];
  for (const [type, field, options] of rows) {
    if (type !== mount.Type && options !== undefined && options !== null) {
      throw refuse(`field ${field} must not be specified`);
    }
  }
}

function bindParts(mount: Mount, refuse: Refuse) {
  if (!mount.Source) throw refuse("field Source must not be empty");
  const { Propagation = "", NonRecursive, CreateMountpoint, ...readOnly } = mount.BindOptions ?? {};
  if (Propagation !== "" && !PROPAGATIONS.has(Propagation)) {
    throw refuse(`invalid propagation mode: ${Propagation}`);
  }
  if (!mount.Source.startsWith("/")) throw refuse(`invalid mount path: '${mount.Source}' mount path must be absolute`);
  const source = cleanPath(mount.Source);
  const { ReadOnlyNonRecursive, ReadOnlyForceRecursive } = readOnly;
  const conflict = (what: string) => new GantryError("invalid", `mount options conflict: ${what}`);
  if (!mount.ReadOnly && ReadOnlyNonRecursive) throw conflict("!ReadOnly && BindOptions.ReadOnlyNonRecursive");
  if (!mount.ReadOnly && ReadOnlyForceRecursive) throw conflict("!ReadOnly && BindOptions.ReadOnlyForceRecursive");
  if (ReadOnlyNonRecursive && ReadOnlyForceRecursive) {
    throw conflict("ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive");
  }
  if (!CreateMountpoint && !isThere(source)) throw refuse(`bind source path does not exist: ${mount.Source}`);
  return {
    type: "bind",
    source,
    propagation: Propagation || "rprivate",
    usualPropagation: Propagation === "",
    recursive: NonRecursive !== true,
    ...(ReadOnlyNonRecursive && { shallowReadonly: true }),
    makeSource: CreateMountpoint === true,
    nocopy: true,
  } as const;
}

function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

function volumeParts(mount: Mount, refuse: Refuse): Pick<MountWish, "usualMode" | "nocopy" | "volume"> {
  const name = mount.Source || undefined;
  const options = mount.VolumeOptions ?? undefined;
  if (options?.Subpath) {
    if (name === undefined) throw refuse("must not set Subpath when using anonymous volumes");
    checkSubpath(options.Subpath, refuse);
  }
  if (name === undefined && mount.ReadOnly) throw refuse("must not set ReadOnly mode when using anonymous volumes");
  const driver = options?.DriverConfig?.Name;
  return {
    usualMode: "z",
    nocopy: options?.NoCopy === true,
    volume: {
      ...(name !== undefined && { name }),
      ...(driver && { driver }),
      ...(options?.DriverConfig?.Options && { options: options.DriverConfig.Options }),
      ...(options?.Labels && { labels: options.Labels }),
    },
  };
}

/** What says by itself that it leads elsewhere; where links lead is for the kernel to tell, when it is mounted. */
function checkSubpath(subpath: string | undefined, refuse: Refuse): void {
  if (subpath === undefined || subpath === "") return;
  const clean = posix.normalize(subpath);
  if (subpath.startsWith("/") || clean === ".." || clean.startsWith("../") || subpath.includes("\0")) {
    throw refuse("subpath must be a relative path within the volume");
  }
}

function tmpfsOptions(mount: Mount, refuse: Refuse): string[] {
  const { Mode, SizeBytes, Options } = mount.TmpfsOptions ?? {};
  const options: string[] = [];
  if (Mode) options.push(`mode=${Mode.toString(8)}`);
  if (SizeBytes !== undefined && SizeBytes < 0) throw refuse(`invalid tmpfs size: ${SizeBytes}`);
  if (SizeBytes) {
    const [unit, bytes] = SIZE_UNITS.find(([, each]) => SizeBytes % each === 0) ?? ["", 1];
    options.push(`size=${SizeBytes / bytes}${unit}`);
  }
  for (const option of Options ?? []) {
    if (option.length < 1 || option.length > 2) throw refuse("invalid option array length");
    if (!TMPFS_WORDS.has(option[0]!)) throw refuse(`invalid option: ${option[0]}`);
    options.push(option.join("="));
  }
  return options;
}

/** One `--volumes-from`: the container, and whether what is writable there is to be read-only here. */
export function parseVolumesFrom(spec: string): { readonly container: string; readonly readonly: boolean } {
  if (spec === "") throw new GantryError("invalid", "volumes-from specification cannot be an empty string");
  const [container = "", ...rest] = spec.split(":");
  const mode = rest.join(":");
  const { readonly, propagation, nocopy } = parseMode(mode);
  if (propagation !== "" || nocopy) throw invalidMode(mode);
  return { container, readonly };
}

function checkTarget(target: string, refuse: Refuse): string {
  const path = cleanPath(target === "" ? "." : target);
  if (path === "/") throw refuse("invalid specification: destination can't be '/'");
  if (!target.startsWith("/")) {
    throw refuse(
      target === "" ? "field Target must not be empty" : `invalid mount path: '${target}' mount path must be absolute`,
    );
  }
  return path;
}

function cleanPath(path: string): string {
  return posix.normalize(path).replace(/(.)\/$/, "$1");
}

function isMode(text: string): boolean {
  try {
    parseMode(text);
    return true;
  } catch {
    return false;
  }
}

function parseMode(mode: string) {
  const result: { readonly: boolean; propagation: MountPoint["Propagation"]; nocopy: boolean } = {
    readonly: false,
    propagation: "",
    nocopy: false,
  };
  const seen = new Set<string>();
  for (const word of mode === "" ? [] : mode.split(",")) {
    const kind = kindOf(word);
    if (kind === undefined || seen.has(kind)) throw invalidMode(mode);
    seen.add(kind);
    if (kind === "access") result.readonly = word === "ro";
    else if (kind === "copy") result.nocopy = true;
    else if (kind === "propagation") result.propagation = word as MountPoint["Propagation"];
  }
  return result;
}

function kindOf(word: string): "access" | "label" | "copy" | "propagation" | "consistency" | undefined {
  if (word === "ro" || word === "rw") return "access";
  if (word === "z" || word === "Z") return "label";
  if (word === "nocopy") return "copy";
  if (PROPAGATIONS.has(word)) return "propagation";
  return CONSISTENCIES.has(word) ? "consistency" : undefined;
}

function invalidMode(mode: string): GantryError {
  return new GantryError("invalid", `invalid mode: ${mode}`);
}
