import { isIP } from "node:net";
import { csvFields } from "../../base/csv.ts";
import { GantryError } from "../../base/errors.ts";
import { parseBool } from "../../base/parse-bool.ts";
import type { Platform } from "../../oci/image.ts";
import { formatPlatform, parsePlatform } from "../../oci/platform.ts";
import type { BuildRequest } from "../builder.ts";
import { readSourceDate } from "../source-date.ts";

/** The options of BuildKit's frontend `dockerfile.v0`, by which clients say what is to be built. */
export type FrontendOptions = Readonly<Record<string, string>>;

/** What of a request the options tell; contexts and files are read beside it (sources.ts of this folder). */
export type BuildParts = Pick<
  BuildRequest,
  | "target"
  | "platforms"
  | "buildArgs"
  | "labels"
  | "namedContexts"
  | "noCache"
  | "noCacheFilter"
  | "pull"
  | "network"
  | "extraHosts"
  | "limits"
  | "call"
  | "attestations"
  | "sourceDateEpoch"
  | "explain"
  | "keepFailed"
  | "denyRanges"
  | "squash"
>;

/** Capabilities that a client may demand of a frontend; `+forward` after one means that a newer frontend will do. */
const CAPABILITIES: ReadonlySet<string> = new Set([
  "moby.buildkit.frontend.subrequests",
  "moby.buildkit.frontend.contexts",
  "moby.buildkit.frontend.inputs",
  "moby.buildkit.frontend.gitquerystring",
]);

/** What can be asked of a Dockerfile instead of building it. */
export const QUESTIONS = {
  "frontend.outline": "outline",
  "frontend.targets": "targets",
  "frontend.lint": "check",
} as const satisfies Readonly<Record<string, BuildRequest["call"]>>;

/** Reads the options. Throws `invalid` with BuildKit's text where it has one, `unsupported` for what nobody here does. */
export function readOptions(options: FrontendOptions): BuildParts {
  refuseCapabilities(options["frontend.caps"] ?? "");
  const buildArgs = new Map(prefixed(options, "build-arg:"));
  const hostname = options.hostname ?? "";
  if (hostname !== "" && !buildArgs.has("BUILDKIT_SANDBOX_HOSTNAME")) {
    buildArgs.set("BUILDKIT_SANDBOX_HOSTNAME", hostname);
  }
  const { noCache, noCacheFilter } = readNoCache(options["no-cache"]);
  return {
    target: options.target ?? "",
    platforms: readPlatforms(options, buildArgs),
    buildArgs,
    labels: new Map(prefixed(options, "label:")),
    namedContexts: new Map(prefixed(options, "context:").map(([name, value]) => [name, namedContext(name, value)])),
    noCache,
    noCacheFilter,
    pull: readResolveMode(options["image-resolve-mode"] ?? ""),
    network: readNetwork(options),
    extraHosts: readHosts(options["add-hosts"] ?? ""),
    limits: readLimits(options),
    call: readCall(options.requestid ?? ""),
    attestations: readAttestations(options),
    ...readEpoch(buildArgs.get("SOURCE_DATE_EPOCH") ?? ""),
    explain: flag(options, "gantry:explain"),
    keepFailed: flag(options, "gantry:keep-failed"),
    denyRanges: fields(options["gantry:deny"] ?? "", "gantry:deny"),
    squash: flag(options, "gantry:squash"),
  };
}

/** Whether they come from Gantry's own client, which says what others can't. */
export function isOwnClient(options: FrontendOptions): boolean {
  return Object.keys(options).some((name) => name.startsWith("gantry:"));
}

/** Names and values of the options that begin with `prefix`. */
export function prefixed(options: FrontendOptions, prefix: string): [string, string][] {
  return Object.entries(options)
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, value]) => [name.slice(prefix.length), value]);
}

function flag(options: FrontendOptions, name: string): boolean {
  const text = options[name];
  if (text === undefined) return false;
  const value = parseBool(text);
  if (value === undefined) throw new GantryError("invalid", `invalid boolean value for ${name}: ${text}`);
  return value;
}

function refuseCapabilities(demanded: string): void {
  for (const one of demanded.split(",")) {
    const name = one.trim().replace(/\+forward$/, "");
    if (name !== "" && !CAPABILITIES.has(name)) {
      throw new GantryError("unsupported", `unsupported frontend capability ${name}`);
    }
  }
}

function readPlatforms(options: FrontendOptions, buildArgs: ReadonlyMap<string, string>): readonly Platform[] {
  const text = options.platform ?? "";
  const platforms = text === "" ? [] : text.split(",").map(targetPlatform);
  const several = buildArgs.get("BUILDKIT_MULTI_PLATFORM") || options["multi-platform"] || "";
  if (several !== "") {
    const value = parseBool(several);
    if (value === undefined) throw new GantryError("invalid", `invalid boolean value for multi-platform: ${several}`);
    if (!value && platforms.length > 1) {
      throw new GantryError("invalid", "conflicting config: returning multiple target platforms is not allowed");
    }
  }
  const known = new Map(platforms.map((platform) => [formatPlatform(platform), platform]));
  return [...known.values()];
}

function targetPlatform(text: string): Platform {
  try {
    return parsePlatform(text);
  } catch (error) {
    throw new GantryError("invalid", `failed to parse target platform ${text}: ${(error as Error).message}`);
  }
}

function namedContext(name: string, value: string): string {
  if (value.startsWith("target:")) {
    const text = `cannot use ${JSON.stringify(value)} as context ${JSON.stringify(name)}: targets of a bake file are its client's to build`;
    throw new GantryError("unsupported", text);
  }
  return value;
}

function readNoCache(value: string | undefined): Pick<BuildRequest, "noCache" | "noCacheFilter"> {
  if (value === undefined) return { noCache: false, noCacheFilter: [] };
  return { noCache: value === "", noCacheFilter: value.split(",").filter((stage) => stage !== "") };
}

function readResolveMode(mode: string): boolean {
  if (["", "default", "local", "pull"].includes(mode)) return mode === "pull";
  throw new GantryError("invalid", `invalid image-resolve-mode: ${mode}`);
}

/** BuildKit knows no networks by name; a client of Gantry's own, which has options of its own, may name one. */
function readNetwork(options: FrontendOptions): string {
  const mode = options["force-network-mode"] ?? "";
  if (mode === "" || mode === "sandbox" || mode === "default") return "default";
  if (mode === "none" || mode === "host") return mode;
  if (isOwnClient(options) && /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(mode)) return mode;
  throw new GantryError("invalid", `invalid netmode ${mode}`);
}

function readHosts(text: string): BuildRequest["extraHosts"] {
  return fields(text, "additional hosts").map((field) => {
    const [, name, address] = /^([^=]*)=(.*)$/.exec(field.toLowerCase()) ?? [];
    if (name === undefined) {
      throw new GantryError("invalid", `failed to parse additional hosts: invalid key-value pair ${field}`);
    }
    // Which of its addresses the host's is, the step's network knows.
    if (address !== "host-gateway" && isIP(address!) === 0) {
      throw new GantryError("invalid", `failed to parse additional hosts: failed to parse IP ${address}`);
    }
    return { name, address: address! };
  });
}

function readLimits(options: FrontendOptions): BuildRequest["limits"] {
  return {
    memory: positive(options, "memory"),
    memorySwap: options.memswap === "-1" ? -1 : positive(options, "memswap", "-1 (unlimited) or > 0"),
    cpuShares: positive(options, "cpushares"),
    cpuPeriod: positive(options, "cpuperiod"),
    cpuQuota: positive(options, "cpuquota"),
    cpusetCpus: cpuset(options, "cpusetcpus"),
    cpusetMems: cpuset(options, "cpusetmems"),
    shmSize: readShmSize(options["shm-size"] ?? ""),
    cgroupParent: options["cgroup-parent"] ?? "",
    ulimits: fields(options.ulimit ?? "", "ulimit").map(readUlimit),
  };
}

function positive(options: FrontendOptions, name: string, what = "> 0"): number {
  const text = options[name] ?? "";
  if (text === "") return 0;
  const value = /^-?\d{1,19}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) throw new GantryError("invalid", `invalid ${name} value: ${text}`);
  if (value <= 0) throw new GantryError("invalid", `invalid ${name} value: ${text}: must be ${what}`);
  return value;
}

function cpuset(options: FrontendOptions, name: string): string {
  const text = options[name] ?? "";
  if (text !== "" && !/^\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*$/.test(text)) {
    throw new GantryError("invalid", `invalid ${name} value: ${text}`);
  }
  return text;
}

function readShmSize(text: string): number {
  if (text === "") return 0;
  if (!/^\d{1,15}$/.test(text)) throw new GantryError("invalid", `failed to parse shm size: invalid size: '${text}'`);
  return Number(text);
}

function readUlimit(text: string): BuildRequest["limits"]["ulimits"][number] {
  const [, name, soft, hard = soft] = /^([a-z]+)=(-1|\d{1,15})(?::(-1|\d{1,15}))?$/.exec(text) ?? [];
  if (name === undefined) throw new GantryError("invalid", `failed to parse ulimit: invalid ulimit argument: ${text}`);
  const limit = { name, soft: Number(soft), hard: Number(hard) };
  if (limit.hard >= 0 && limit.soft > limit.hard) {
    const why = `ulimit soft limit must be less than or equal to hard limit: ${limit.soft} > ${limit.hard}`;
    throw new GantryError("invalid", `failed to parse ulimit: ${why}`);
  }
  return limit;
}

function readCall(request: string): BuildRequest["call"] {
  if (request === "") return "build";
  const call = (QUESTIONS as Readonly<Record<string, BuildRequest["call"]>>)[request];
  if (call === undefined) throw new GantryError("unsupported", `unsupported request ${request}`);
  return call;
}

function readAttestations(options: FrontendOptions): BuildRequest["attestations"] {
  const found = new Map<"provenance" | "sbom", ReadonlyMap<string, string>>();
  const given = [...prefixed(options, "attest:"), ...prefixed(options, "build-arg:BUILDKIT_ATTEST_")];
  for (const [name, value] of given) {
    const type = name.toLowerCase();
    if (type !== "provenance" && type !== "sbom") {
      throw new GantryError("invalid", `unknown attestation type ${JSON.stringify(type)}`);
    }
    const attributes = fields(value, type).map((field): [string, string] => {
      const at = field.indexOf("=");
      return at < 0 ? [field, ""] : [field.slice(0, at), field.slice(at + 1)];
    });
    found.set(type, new Map(attributes));
  }
  return found;
}

function readEpoch(text: string): Pick<BuildRequest, "sourceDateEpoch"> {
  const sourceDateEpoch = readSourceDate(text);
  return sourceDateEpoch === undefined ? {} : { sourceDateEpoch };
}

function fields(text: string, what: string): string[] {
  if (text === "") return [];
  try {
    return csvFields(text);
  } catch (error) {
    throw new GantryError("invalid", `failed to parse ${what}: ${(error as Error).message}`);
  }
}
