import { isIP, isIPv4 } from "node:net";
import { isAbsolute } from "node:path";
import { parseUlimit } from "../base/units.ts";
import { checkDenyRange } from "../build/deny-ranges.ts";
import { DEFAULT_GC, type GcConfig, readGcConfig } from "../build/gc-config.ts";
import { LOG_DRIVERS, unknownLogDriver } from "../containers/log-options.ts";
import type { RegistryRules } from "../remote/registry-rules.ts";
import { parseBindAddress } from "./bind-address.ts";
import {
  asObject,
  asPair,
  asText,
  bytesOption,
  bytesOrNoneOption,
  intOption,
  intOrDefaultOption,
  listOption,
  type Option,
  recordOption,
  switchOption,
  textOption,
} from "./option.ts";
import { isRegistryHost, mirrorUrl, registriesOption } from "./registries-option.ts";
import { proxyUrl, registryOrRange } from "./registry-names.ts";

/** A range that networks without a subnet of their own take theirs from. */
export interface AddressPool {
  /** CIDR. */
  readonly base: string;
  /** Prefix length of each subnet. */
  readonly size: number;
}

export interface DefaultUlimit {
  readonly Name: string;
  readonly Soft: number;
  readonly Hard: number;
}

export interface ConfiguredRuntime {
  /** Absolute, or a name looked for on the PATH. */
  readonly path: string;
  readonly args: readonly string[];
}

/** The engine's whole configuration, checked. Names of files are absolute; an empty text means "not given". */
export interface EngineConfig {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly hosts: readonly string[];
  readonly pidfile: string;
  readonly logLevel: string;
  readonly logFormat: string;
  readonly metricsAddr: string;
  readonly debug: boolean;
  readonly labels: readonly string[];
  readonly dns: readonly string[];
  readonly dnsOptions: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly hostGatewayIPs: readonly string[];
  /** Of the default bridge's addresses, with the next six. */
  readonly bip: string;
  readonly fixedCidr: string;
  readonly defaultGateway: string;
  readonly ipv6: boolean;
  readonly bip6: string;
  readonly fixedCidr6: string;
  readonly defaultGateway6: string;
  readonly bridge: string;
  readonly defaultAddressPools: readonly AddressPool[];
  readonly defaultUlimits: Readonly<Record<string, DefaultUlimit>>;
  readonly defaultRuntime: string;
  readonly runtimes: Readonly<Record<string, ConfiguredRuntime>>;
  readonly logDriver: string;
  readonly logOpts: Readonly<Record<string, string>>;
  readonly insecureRegistries: readonly string[];
  readonly registryMirrors: readonly string[];
  /** By `host`, `host/path` or `*`. */
  readonly registries: RegistryRules;
  /** `host[:port]`. */
  readonly defaultRegistry: string;
  /** Bytes a second; 0 for none. */
  readonly minTransferRate: number;
  /** Bytes a second of all downloads together, and of all uploads; 0 for no bound. */
  readonly maxDownloadRate: number;
  readonly maxUploadRate: number;
  /** Where certificates of registries are looked for before the usual places; empty for nowhere. */
  readonly certsDir: string;
  /** Seconds. */
  readonly registryTimeout: number;
  /** Path of a policy as containers-policy.json(5) has it; empty: every image is accepted. */
  readonly signaturePolicy: string;
  readonly maxConcurrentDownloads: number;
  readonly maxConcurrentUploads: number;
  readonly maxDownloadAttempts: number;
  /** Images are started before their layers are whole, where these have tables of contents. */
  readonly lazyPull: boolean;
  /** Times its size that a pulled layer may unpack to. */
  readonly maxUnpackRatio: number;
  readonly allowNondistributableArtifacts: readonly string[];
  /** Steps of builds that run at a time; 0 for twice as many as there are processors. */
  readonly builderMaxParallelism: number;
  /** What is kept of builds' caches. */
  readonly builderGc: GcConfig;
  /** Builds that the history has at most. */
  readonly builderHistoryMax: number;
  readonly builderHistoryDays: number;
  /** Bytes of a build's output that the history keeps. */
  readonly builderHistoryOutput: number;
  /** What no build may fetch from: `private`, an address or a range each. */
  readonly builderDenyRanges: readonly string[];
  /** Folders of volume plugins; empty for the usual ones. */
  readonly pluginDirs: readonly string[];
  /** Empty: the environment's. */
  readonly httpProxy: string;
  readonly httpsProxy: string;
  readonly noProxy: string;
  readonly tls: boolean;
  readonly tlsVerify: boolean;
  readonly tlsCaCert: string;
  readonly tlsCert: string;
  readonly tlsKey: string;
  readonly group: string;
  readonly storageDriver: string;
  readonly mtu: number;
  /** Of the default bridge, as the next two. */
  readonly icc: boolean;
  readonly ipMasq: boolean;
  /** An address of the host; "0.0.0.0" for all of both families. */
  readonly ip: string;
  readonly userlandProxy: boolean;
  /** "open" or "respect-host-firewall": who decides whether a published port is reached from outside. */
  readonly publish: string;
  readonly init: boolean;
  /** Bytes. */
  readonly defaultShmSize: number;
  readonly cgroupParent: string;
  readonly shutdownContainers: boolean;
  /** Seconds; -1 waits for ever. */
  readonly shutdownTimeout: number;
  readonly liveRestore: boolean;
  readonly seccompProfile: string;
  readonly noNewPrivileges: boolean;
}

export const OPTIONS: { readonly [K in keyof EngineConfig]: Option<EngineConfig[K]> } = {
  dataRoot: textOption("data-root", "/var/lib/gantry", { help: "Root of what outlives a reboot" }, absolute),
  execRoot: textOption("exec-root", "/run/gantry", { help: "Root of what a reboot may lose" }, absolute),
  hosts: listOption("host", { short: "H", key: "hosts", help: "Socket(s) to listen on: unix://, tcp://, fd://" }, host),
  pidfile: textOption("pidfile", "", { short: "p", help: "File of the engine's process id" }, absolute),
  logLevel: textOption("log-level", "info", { short: "l", help: "debug, info, warn, error or fatal" }, logLevel),
  logFormat: textOption("log-format", "json", { help: "json or text" }, (text) =>
    oneOf(text, ["json", "text"], `invalid log format: ${text}`),
  ),
  metricsAddr: textOption("metrics-addr", "", { help: "address:port to serve Prometheus metrics at" }, metricsAddress),
  debug: switchOption("debug", false, { short: "D", help: "Log at debug level" }),
  labels: listOption("label", { key: "labels", help: "key=value label of the engine" }, (text) => {
    asPair(text);
    return text;
  }),
  dns: listOption("dns", { key: "dns", help: "Name server of containers" }, address),
  dnsOptions: listOption("dns-opt", { key: "dns-opts", help: "Resolver option of containers" }, nonEmpty),
  dnsSearch: listOption("dns-search", { key: "dns-search", help: "Search domain of containers" }, nonEmpty),
  hostGatewayIPs: listOption(
    "host-gateway-ip",
    { key: "host-gateway-ips", help: "Address of the host as containers see it, one a family" },
    address,
  ),
  bip: textOption("bip", "", { help: "Address and prefix of the default bridge" }, optional(cidr)),
  fixedCidr: textOption("fixed-cidr", "", { help: "IPv4 range of the default network's containers" }, optional(cidr)),
  defaultGateway: textOption("default-gateway", "", { help: "IPv4 way out of the default network" }, optional(address)),
  ipv6: switchOption("ipv6", false, { help: "Give the default network IPv6" }),
  bip6: textOption("bip6", "", { help: "IPv6 address and prefix of the default bridge" }, optional(cidr)),
  fixedCidr6: textOption(
    "fixed-cidr-v6",
    "",
    { help: "IPv6 range of the default network's containers" },
    optional(cidr),
  ),
  defaultGateway6: textOption(
    "default-gateway-v6",
    "",
    { help: "IPv6 way out of the default network" },
    optional(address),
  ),
  bridge: textOption("bridge", "", { short: "b", help: "Interface of the default network" }, (text) => {
    if (text === "none") throw new Error("there is always a default network; give a container --network none");
    if (text !== "" && !/^[^\s/:]{1,15}$/.test(text)) throw new Error(`${text} can't be an interface's name`);
    return text;
  }),
  defaultAddressPools: listOption(
    "default-address-pool",
    { key: "default-address-pools", help: "base=CIDR,size=N range of new networks" },
    poolFlag,
    (item) => {
      const { base, size } = asObject(item);
      return pool(asText(base), Number(size));
    },
  ),
  defaultUlimits: recordOption(
    "default-ulimit",
    { key: "default-ulimits", help: "name=soft[:hard] limit of containers" },
    (text) => {
      const { name, soft, hard } = parseUlimit(text);
      return [name, { Name: name, Soft: soft, Hard: hard }];
    },
    (name, item) => {
      const { Soft, Hard } = asObject(item);
      const { soft, hard } = parseUlimit(`${name}=${String(Soft)}:${String(Hard ?? Soft)}`);
      return { Name: name, Soft: soft, Hard: hard };
    },
  ),
  defaultRuntime: textOption("default-runtime", "crun", { help: "OCI runtime of containers" }, nonEmpty),
  runtimes: recordOption(
    "add-runtime",
    { key: "runtimes", help: "name=path of a further OCI runtime" },
    (text) => {
      const [name, path] = asPair(text);
      return [name, { path: nonEmpty(path), args: [] }];
    },
    (_name, item) => {
      const { path, runtimeArgs = [] } = asObject(item);
      if (!Array.isArray(runtimeArgs)) throw new Error("runtimeArgs is no list");
      return { path: nonEmpty(asText(path)), args: runtimeArgs.map(asText) };
    },
  ),
  logDriver: textOption("log-driver", "local", { help: LOG_DRIVERS.join(", ") }, (text) =>
    oneOf(text, LOG_DRIVERS, unknownLogDriver(text)),
  ),
  logOpts: recordOption(
    "log-opt",
    { key: "log-opts", help: "key=value option of the log driver" },
    asPair,
    (_key, item) => asText(item),
  ),
  insecureRegistries: listOption(
    "insecure-registry",
    { key: "insecure-registries", help: "Registry (or range of addresses) to use without TLS" },
    registryOrRange("insecure registry"),
  ),
  defaultRegistry: textOption("default-registry", "docker.io", { help: "Registry of names without one" }, (text) => {
    if (!isRegistryHost(text)) throw new Error(`${text} is no registry: give host[:port]`);
    return text === "index.docker.io" ? "docker.io" : text;
  }),
  registries: registriesOption("name=url of a mirror of any registry"),
  minTransferRate: bytesOrNoneOption("min-transfer-rate", 1024, {
    help: "Bytes a second that a download must bring",
  }),
  maxDownloadRate: bytesOrNoneOption("max-download-rate", 0, {
    help: "Bytes a second that all downloads of layers together bring at most",
  }),
  maxUploadRate: bytesOrNoneOption("max-upload-rate", 0, {
    help: "Bytes a second that all uploads of layers together send at most",
  }),
  registryTimeout: intOption("registry-timeout", 60, [1, 3600], { help: "Seconds that a registry may say nothing" }),
  certsDir: textOption("certs-dir", "", { help: "Folder with one of certificates for each registry" }, absolute),
  registryMirrors: listOption("registry-mirror", { key: "registry-mirrors", help: "Preferred mirror" }, mirrorUrl),
  maxConcurrentDownloads: intOrDefaultOption("max-concurrent-downloads", 3, [1, 256], {
    help: "Layers fetched at once",
  }),
  maxConcurrentUploads: intOrDefaultOption("max-concurrent-uploads", 5, [1, 256], { help: "Layers pushed at once" }),
  maxDownloadAttempts: intOrDefaultOption("max-download-attempts", 5, [1, 1000], {
    help: "Tries in a row of a layer that bring nothing",
  }),
  builderMaxParallelism: intOption("builder-max-parallelism", 0, [0, 1024], {
    help: "Steps of builds at once; 0 is twice the number of processors",
  }),
  builderGc: builderGcOption(),
  builderHistoryMax: intOption("builder-history-max", 100, [0, 100_000], { help: "Builds in the history" }),
  builderHistoryDays: intOption("builder-history-days", 30, [0, 36_500], { help: "Days that it keeps a build" }),
  builderDenyRanges: listOption(
    "builder-deny-range",
    { key: "builder-deny-ranges", help: 'Addresses that builds may not fetch from ("private", a range, an address)' },
    (text) => {
      checkDenyRange(text);
      return text;
    },
  ),
  builderHistoryOutput: bytesOption("builder-history-output", 8 * 1024 * 1024, {
    help: "Output of a build that it keeps",
  }),
  pluginDirs: listOption(
    "plugin-dir",
    { key: "plugin-dirs", help: "Folder of volume plugins, for the usual" },
    absolute,
  ),
  lazyPull: switchOption("lazy-pull", false, {
    help: "Start images of eStargz and zstd:chunked before they are whole",
  }),
  maxUnpackRatio: intOption("max-unpack-ratio", 200, [1, 1_000_000], {
    help: "Times its size that a layer of more than 1 GiB may unpack to",
  }),
  allowNondistributableArtifacts: listOption(
    "allow-nondistributable-artifacts",
    { key: "allow-nondistributable-artifacts", help: "Registry (or range) that foreign layers are pushed to" },
    registryOrRange("allow-nondistributable-artifacts registry"),
  ),
  signaturePolicy: textOption("signature-policy", "", { help: "File that says which images must be signed" }, absolute),
  httpProxy: textOption("http-proxy", "", { help: "Proxy of the engine's own HTTP requests" }, proxyUrl),
  httpsProxy: textOption("https-proxy", "", { help: "Proxy of the engine's own HTTPS requests" }, proxyUrl),
  noProxy: textOption("no-proxy", "", { help: "Hosts and ranges that the engine reaches without a proxy" }),
  tls: switchOption("tls", false, { help: "Use TLS on tcp sockets" }),
  tlsVerify: switchOption("tlsverify", false, { help: "Use TLS and demand client certificates" }),
  tlsCaCert: textOption("tlscacert", "", { help: "CA that client certificates are signed by" }, absolute),
  tlsCert: textOption("tlscert", "", { help: "Server certificate" }, absolute),
  tlsKey: textOption("tlskey", "", { help: "Key of the server certificate" }, absolute),
  group: textOption("group", "", { short: "G", help: "Group of the unix socket" }),
  storageDriver: textOption("storage-driver", "", { short: "s", help: "overlay2 or vfs" }, (text) =>
    oneOf(text, ["", "overlay2", "vfs"], `"${text}" is no storage driver: there are overlay2 and vfs`),
  ),
  mtu: intOption("mtu", 1500, [0, 65_535], { help: "MTU of the default network" }),
  icc: switchOption("icc", true, { help: "Let containers on the default network reach each other" }),
  ipMasq: switchOption("ip-masq", true, { help: "Hide the default network behind the host's address" }),
  ip: textOption("ip", "0.0.0.0", { help: "Address that the default network's ports are published on" }, address),
  userlandProxy: switchOption("userland-proxy", true, { help: "Serve published ports of loopback by a proxy" }),
  publish: textOption("publish", "open", { help: "Published ports: open, or respect-host-firewall" }, (text) =>
    oneOf(text, ["open", "respect-host-firewall"], `"${text}" is neither open nor respect-host-firewall`),
  ),
  init: switchOption("init", false, { help: "Run an init inside containers" }),
  defaultShmSize: bytesOption("default-shm-size", 64 * 1024 * 1024, { help: "Size of /dev/shm" }),
  cgroupParent: textOption("cgroup-parent", "", { help: "Parent cgroup of containers" }),
  shutdownContainers: switchOption("shutdown-containers", false, { help: "Stop the containers with the engine" }),
  shutdownTimeout: intOption("shutdown-timeout", 15, [-1, 86_400], { help: "Seconds that they have to stop" }),
  liveRestore: switchOption("live-restore", true, { help: "Accepted: containers outlive the engine anyway" }),
  seccompProfile: textOption("seccomp-profile", "", { help: "Path of a profile, builtin or unconfined" }, (text) =>
    ["", "builtin", "unconfined"].includes(text) ? text : absolute(text),
  ),
  noNewPrivileges: switchOption("no-new-privileges", false, { help: "Set no_new_privs in every container" }),
};

/** In the file it is `{"builder": {"gc": …}}`, as dockerd has it. */
function builderGcOption(): Option<GcConfig> {
  return {
    flag: "builder-gc",
    key: "builder",
    help: "What is kept of builds: true, false, or as JSON",
    initial: DEFAULT_GC,
    isSwitch: false,
    fromFlag: (given) => {
      const text = given.at(-1) ?? "";
      let parsed: unknown;
      try {
        parsed = JSON.parse(text);
      } catch {
        throw new Error("it is neither true nor false nor an object as JSON");
      }
      return readGcConfig(parsed);
    },
    fromFile: (given) => {
      const { gc, ...rest } = asObject(given);
      const unknown = Object.keys(rest)[0];
      if (unknown !== undefined) throw new Error(`there is no ${unknown} in it: there is gc`);
      return gc === undefined ? DEFAULT_GC : readGcConfig(gc);
    },
  };
}

function absolute(path: string): string {
  if (path !== "" && !isAbsolute(path)) throw new Error(`${path} is no absolute path`);
  if (path.includes("\0")) throw new Error("a path can't have a zero byte");
  return path;
}

function nonEmpty(text: string): string {
  if (text === "") throw new Error("it is empty");
  return text;
}

function oneOf(text: string, words: readonly string[], why: string): string {
  if (!words.includes(text)) throw new Error(why);
  return text;
}

function logLevel(text: string): string {
  return oneOf(text, ["debug", "info", "warn", "error", "fatal"], `invalid logging level: ${text}`);
}

function metricsAddress(text: string): string {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]]*)):(\d{1,5})$/.exec(text);
  if (text === "" || (match !== null && Number(match[3]) <= 65_535)) return text;
  throw new Error(`${text} is no address:port`);
}

function address(text: string): string {
  if (isIP(text) === 0) throw new Error(`${text} is not an ip address`);
  return text;
}

/** "" for "not given", as in files where a value is made empty. */
function optional(check: (text: string) => string): (text: string) => string {
  return (text) => text && check(text);
}

function cidr(text: string): string {
  const [ip = "", prefix = ""] = text.split("/");
  const bits = isIPv4(ip) ? 32 : isIP(ip) === 6 ? 128 : -1;
  if (bits < 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > bits || text.split("/").length !== 2) {
    throw new Error(`invalid CIDR address: ${text}`);
  }
  return text;
}

function poolFlag(text: string): AddressPool {
  const fields = new Map(text.split(",").map((field) => asPair(field)));
  for (const name of fields.keys()) {
    if (name !== "base" && name !== "size") throw new Error(`unexpected key '${name}' in '${text}'`);
  }
  return pool(fields.get("base") ?? "", Number(fields.get("size") ?? Number.NaN));
}

function pool(base: string, size: number): AddressPool {
  const prefix = Number(cidr(base).split("/")[1]);
  const bits = base.includes(":") ? 128 : 32;
  if (!Number.isInteger(size) || size < prefix || size > bits) {
    throw new Error(`invalid size ${size} of the pool ${base}: it must lie between ${prefix} and ${bits}`);
  }
  return { base, size };
}

function host(text: string): string {
  const { address, access } = parseBindAddress(text);
  return access === "all" ? address : `${address}?access=${access}`;
}
