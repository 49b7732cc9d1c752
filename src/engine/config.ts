import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { checkLogOptions } from "../containers/log-options.ts";
import { readAddressWishes } from "../networks/default-addresses.ts";
import { LEAST_IPV6_MTU } from "../networks/driver-options.ts";
import { flagTitle, type GivenFlags } from "./flags.ts";
import type { Option } from "./option.ts";
import { type EngineConfig, OPTIONS } from "./options.ts";

const DEFAULT_CONFIG_FILE = "/etc/gantry/daemon.json";

/** Runtimes that are known by name without being configured. */
export const STOCK_RUNTIMES: readonly string[] = ["crun", "runc"];

type Name = keyof EngineConfig;
const ROWS = Object.entries(OPTIONS) as [Name, Option<unknown>][];
const BY_KEY = new Map(ROWS.map(([name, option]) => [option.key, { name, option }]));

/**
 * Merges the flags with the configuration file into one checked configuration. Throws invalid: an unknown key, a
 * setting given in both, a value that isn't one, values that don't go together.
 */
export function loadConfig(flags: GivenFlags): EngineConfig {
  const given = flags.values.get("config-file")?.at(-1);
  const path = given ?? DEFAULT_CONFIG_FILE;
  const file = withoutNesting(path, readConfigFile(path, given !== undefined));
  const values: Record<string, unknown> = {};
  for (const [name, option] of ROWS) values[name] = option.initial;
  const fromFile = readKeys(path, file, flags, values);
  for (const [name, option] of ROWS) {
    const texts = flags.values.get(option.flag);
    if (texts === undefined || fromFile.has(option.key)) continue;
    try {
      values[name] = option.fromFlag(texts);
    } catch (error) {
      const shown = JSON.stringify(texts.at(-1) ?? "");
      throw new GantryError(
        "invalid",
        `invalid argument ${shown} for "${flagTitle(option)}" flag: ${messageOf(error)}`,
      );
    }
  }
  return settle(values as unknown as EngineConfig);
}

function readConfigFile(path: string, demanded: boolean): Readonly<Record<string, unknown>> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (!demanded && hasCode(error, "ENOENT")) return {};
    throw unusable(path, hasCode(error, "ENOENT") ? `open ${path}: no such file or directory` : messageOf(error));
  }
  if (text.trim() === "") return {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw unusable(path, `it is no valid JSON: ${messageOf(error)}`);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw unusable(path, "it must hold one JSON object");
  }
  return parsed as Record<string, unknown>;
}

/** The file's `proxies` object as the flags of the same names. */
function withoutNesting(path: string, file: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { proxies = {}, ...rest } = file;
  if (typeof proxies !== "object" || proxies === null || Array.isArray(proxies)) {
    throw unusable(path, 'invalid value of "proxies": it must be an object');
  }
  const unknown = Object.keys(proxies).filter((key) => !["http-proxy", "https-proxy", "no-proxy"].includes(key));
  if (unknown.length > 0) {
    throw unusable(path, `the following directives don't match any configuration option: ${unknown.join(", ")}`);
  }
  return { ...rest, ...proxies };
}

/** Reads the file's keys into `values`; the result is the keys it had. */
function readKeys(
  path: string,
  file: Readonly<Record<string, unknown>>,
  flags: GivenFlags,
  values: Record<string, unknown>,
): ReadonlySet<string> {
  const keys = Object.keys(file);
  const unknown = keys.filter((key) => !BY_KEY.has(key));
  if (unknown.length > 0) {
    throw unusable(path, `the following directives don't match any configuration option: ${unknown.join(", ")}`);
  }
  const both: string[] = [];
  for (const key of keys) {
    const { name, option } = BY_KEY.get(key)!;
    const texts = flags.values.get(option.flag);
    if (texts !== undefined) {
      const shown = texts.length > 1 || Array.isArray(option.initial) ? `[${texts.join(" ")}]` : texts[0];
      both.push(`${key}: (from flag: ${shown}, from file: ${goText(file[key])})`);
      continue;
    }
    try {
      values[name] = option.fromFile(file[key]);
    } catch (error) {
      throw unusable(path, `invalid value of "${key}": ${messageOf(error)}`);
    }
  }
  if (both.length > 0) {
    throw unusable(
      path,
      `the following directives are specified both as a flag and in the configuration file: ${both.join(", ")}`,
    );
  }
  return new Set(keys);
}

function goText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(goText).join(" ")}]`;
  if (typeof value === "object" && value !== null) {
    return `map[${Object.entries(value)
      .map(([key, each]) => `${key}:${goText(each)}`)
      .join(" ")}]`;
  }
  return String(value);
}

function unusable(path: string, why: string): GantryError {
  return new GantryError("invalid", `unable to configure the Gantry daemon with file ${path}: ${why}`);
}

/** Fills what depends on other values, and checks what only the whole can tell. */
function settle(config: EngineConfig): EngineConfig {
  const { execRoot, runtimes, defaultRuntime } = config;
  if (config.dataRoot === "" || execRoot === "")
    throw new GantryError("invalid", "the data root and the exec root can't be empty");
  if (config.dataRoot === execRoot)
    throw new GantryError("invalid", "the data root and the exec root can't be the same folder");
  const reserved = Object.keys(runtimes).find((name) => STOCK_RUNTIMES.includes(name));
  if (reserved !== undefined) throw new GantryError("invalid", `runtime name '${reserved}' is reserved`);
  if (!STOCK_RUNTIMES.includes(defaultRuntime) && !Object.hasOwn(runtimes, defaultRuntime)) {
    throw new GantryError("invalid", `specified default runtime '${defaultRuntime}' does not exist`);
  }
  if (config.bip !== "" && config.bridge !== "") {
    throw new GantryError(
      "invalid",
      "you specified --bridge and --bip, which exclude each other: the address of an existing bridge is its own",
    );
  }
  readAddressWishes(config);
  if (config.ipv6 && config.mtu !== 0 && config.mtu < LEAST_IPV6_MTU) {
    throw new GantryError("invalid", `invalid --mtu ${config.mtu}: IPv6 (--ipv6) needs ${LEAST_IPV6_MTU} at least`);
  }
  try {
    checkLogOptions(config.logDriver, config.logOpts);
  } catch (error) {
    throw new GantryError("invalid", `failed to set log opts: ${messageOf(error)}`);
  }
  const seen = new Map<string, string>();
  for (const label of config.labels) {
    const [key = "", ...value] = label.split("=");
    const before = seen.get(key);
    if (before !== undefined && before !== value.join("=")) {
      throw new GantryError("invalid", `conflict labels for ${key}=${value.join("=")} and ${key}=${before}`);
    }
    seen.set(key, value.join("="));
  }
  const needed = config.tlsVerify ? (["tlsCaCert", "tlsCert", "tlsKey"] as const) : (["tlsCert", "tlsKey"] as const);
  const missing = config.tls || config.tlsVerify ? needed.find((name) => config[name] === "") : undefined;
  if (missing !== undefined) {
    throw new GantryError("invalid", `TLS needs --${OPTIONS[missing].flag}: give the path of a PEM file`);
  }
  return {
    ...config,
    hosts: config.hosts.length > 0 ? config.hosts : [`unix://${join(execRoot, "gantry.sock")}`],
    pidfile: config.pidfile === "" ? join(execRoot, "gantryd.pid") : config.pidfile,
  };
}

const RELOADABLE: readonly Name[] = [
  "labels",
  "debug",
  "logLevel",
  "insecureRegistries",
  "registryMirrors",
  "registries",
  "minTransferRate",
  "maxDownloadRate",
  "maxUploadRate",
  "certsDir",
  "registryTimeout",
  "signaturePolicy",
  "maxConcurrentDownloads",
  "maxConcurrentUploads",
  "maxDownloadAttempts",
  "maxUnpackRatio",
  "pluginDirs",
  "allowNondistributableArtifacts",
  "defaultRuntime",
  "runtimes",
  "shutdownTimeout",
  "builderGc",
  "builderHistoryMax",
  "builderHistoryDays",
  "builderHistoryOutput",
  "builderDenyRanges",
];

/** What SIGHUP changes: the settings that can be taken while running, and the keys of those that wait for a restart. */
export function reloadConfig(
  running: EngineConfig,
  flags: GivenFlags,
): { readonly config: EngineConfig; readonly changed: readonly string[]; readonly needRestart: readonly string[] } {
  const wanted = loadConfig(flags);
  const differs = ROWS.map(([name]) => name).filter(
    (name) => JSON.stringify(wanted[name]) !== JSON.stringify(running[name]),
  );
  const taken = differs.filter((name) => RELOADABLE.includes(name));
  const keyOf = (name: Name) => OPTIONS[name].key;
  return {
    config: { ...running, ...Object.fromEntries(taken.map((name) => [name, wanted[name]])) },
    changed: taken.map(keyOf),
    needRestart: differs.filter((name) => !taken.includes(name)).map(keyOf),
  };
}
