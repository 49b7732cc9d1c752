import { resolve } from "node:path";
import type { Mount, Propagation } from "../../api/container.ts";
import { csvFields } from "../../base/csv.ts";
import { ramInBytes } from "../../base/units.ts";
import { cutAt } from "./cut-at.ts";

interface Draft {
  Type: string;
  Source?: string;
  Target: string;
  ReadOnly?: boolean;
  Consistency?: string;
  BindOptions?: NonNullable<Mount["BindOptions"]>;
  VolumeOptions?: NonNullable<Mount["VolumeOptions"]>;
  ImageOptions?: NonNullable<Mount["ImageOptions"]>;
  TmpfsOptions?: NonNullable<Mount["TmpfsOptions"]>;
}

type Setter = (draft: Draft, value: string, key: string) => void;

function boolean(value: string, key: string): boolean {
  if (/^(1|t|T|TRUE|true|True)$/.test(value)) return true;
  if (/^(0|f|F|FALSE|false|False)$/.test(value)) return false;
  throw new Error(`invalid value for ${key}: ${value}`);
}

const bind = (draft: Draft): NonNullable<Draft["BindOptions"]> => {
  draft.BindOptions ??= {};
  return draft.BindOptions;
};
const volume = (draft: Draft): NonNullable<Draft["VolumeOptions"]> => {
  draft.VolumeOptions ??= { DriverConfig: {} };
  return draft.VolumeOptions;
};
const driver = (draft: Draft): NonNullable<NonNullable<Draft["VolumeOptions"]>["DriverConfig"]> => {
  const options = volume(draft);
  options.DriverConfig ??= {};
  return options.DriverConfig;
};
const tmpfs = (draft: Draft): NonNullable<Draft["TmpfsOptions"]> => {
  draft.TmpfsOptions ??= {};
  return draft.TmpfsOptions;
};

const setSource: Setter = (draft, value) => {
  draft.Source =
    value === "." || value.startsWith("./") || value === ".." || value.startsWith("../") ? resolve(value) : value;
};
const setTarget: Setter = (draft, value) => {
  draft.Target = value;
};
const setReadOnly: Setter = (draft, value, key) => {
  draft.ReadOnly = boolean(value, key);
};

const KEYS: Readonly<Record<string, Setter>> = {
  type: (draft, value) => {
    draft.Type = value.toLowerCase();
  },
  source: setSource,
  src: setSource,
  target: setTarget,
  dst: setTarget,
  destination: setTarget,
  readonly: setReadOnly,
  ro: setReadOnly,
  consistency: (draft, value) => {
    draft.Consistency = value.toLowerCase();
  },
  "bind-propagation": (draft, value) => {
    bind(draft).Propagation = value.toLowerCase() as Propagation;
  },
  "bind-nonrecursive": (draft, value, key) => {
    bind(draft).NonRecursive = boolean(value, key);
  },
  "bind-create-src": (draft, value, key) => {
    bind(draft).CreateMountpoint = boolean(value, key);
  },
  "bind-recursive": (draft, value, key) => {
    const options = bind(draft);
    if (value === "disabled") options.NonRecursive = true;
    else if (value === "writable") options.ReadOnlyNonRecursive = true;
    else if (value === "readonly") options.ReadOnlyForceRecursive = true;
    else if (value !== "enabled") {
      throw new Error(`invalid value for ${key}: ${value} (must be "enabled", "disabled", "writable", or "readonly")`);
    }
  },
  "volume-nocopy": (draft, value, key) => {
    volume(draft).NoCopy = boolean(value, key);
  },
  "volume-label": (draft, value) => {
    const [name, text] = cutAt(value, "=");
    const options = volume(draft);
    options.Labels = { ...options.Labels, [name]: text ?? "" };
  },
  "volume-driver": (draft, value) => {
    driver(draft).Name = value;
  },
  "volume-opt": (draft, value) => {
    const [name, text] = cutAt(value, "=");
    const config = driver(draft);
    config.Options = { ...config.Options, [name]: text ?? "" };
  },
  "volume-subpath": (draft, value) => {
    volume(draft).Subpath = value;
  },
  "image-subpath": (draft, value) => {
    draft.ImageOptions = { Subpath: value };
  },
  "tmpfs-size": (draft, value, key) => {
    try {
      tmpfs(draft).SizeBytes = ramInBytes(value);
    } catch {
      throw new Error(`invalid value for ${key}: ${value}`);
    }
  },
  "tmpfs-mode": (draft, value, key) => {
    if (!/^[0-7]{1,10}$/.test(value)) throw new Error(`invalid value for ${key}: ${value}`);
    tmpfs(draft).Mode = Number.parseInt(value, 8);
  },
};

const BARE = new Set(["readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"]);

/** Reads one `--mount`, comma-separated `key=value`; throws Docker's texts. */
export function parseMount(text: string): Mount {
  const draft: Draft = { Type: "volume", Target: "" };
  for (const field of csvFields(text)) {
    const [name, given] = cutAt(field, "=");
    const key = name.toLowerCase();
    if (given === undefined && !BARE.has(key)) throw new Error(`invalid field '${field}' must be a key=value pair`);
    const set = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (set === undefined) throw new Error(`unexpected key '${key}' in '${field}'`);
    set(draft, given === undefined ? "true" : given.trim(), key);
  }
  if (draft.Type === "") throw new Error("type is required");
  if (draft.Target === "") throw new Error("target is required");
  const mixed = [
    ["bind", draft.BindOptions],
    ["volume", draft.VolumeOptions],
    ["image", draft.ImageOptions],
    ["tmpfs", draft.TmpfsOptions],
  ] as const;
  for (const [type, options] of mixed) {
    if (options !== undefined && draft.Type !== type) {
      throw new Error(`cannot mix '${type}-*' options with mount type '${draft.Type}'`);
    }
  }
  checkRecursion(draft);
  const { Type, Target, ...rest } = draft;
  return { Type: Type as Mount["Type"], ...rest, Target };
}

function checkRecursion(draft: Draft): void {
  const options = draft.BindOptions;
  if (options?.ReadOnlyNonRecursive && !draft.ReadOnly) {
    throw new Error("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction");
  }
  if (!options?.ReadOnlyForceRecursive) return;
  if (!draft.ReadOnly) {
    throw new Error("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction");
  }
  if (options.Propagation !== "rprivate") {
    throw new Error(
      "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
    );
  }
}

export interface Volumes {
  readonly binds: string[] | null;
  /** Paths in the container that get a volume without a name. */
  readonly anonymous: Record<string, Record<string, never>>;
}

/** Sorts the values of `--volume`; a host path that starts with a dot is taken from the current folder. Throws Docker's texts. */
export function parseVolumes(values: readonly string[]): Volumes {
  const binds: string[] = [];
  const anonymous: Record<string, Record<string, never>> = {};
  for (const value of values) {
    if (value === "") throw new Error("invalid empty volume spec");
    const [host, rest] = cutAt(value, ":");
    if (rest === undefined) anonymous[value] = {};
    else if (value.split(":").includes("")) throw new Error(`invalid spec: ${value}: empty section between colons`);
    else binds.push(/^\.{1,2}(\/|$)|^\.(?!\.)/.test(host) ? `${resolve(host)}:${rest}` : value);
  }
  return { binds: binds.length === 0 ? null : binds, anonymous };
}
