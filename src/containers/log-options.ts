import { statSync } from "node:fs";
import { isIPv6 } from "node:net";
import { parseDuration } from "../base/duration.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { ramInBytes } from "../base/units.ts";
import type { Patience, ServiceAddress, TlsFiles } from "../runtime/shipment.ts";

export type LogOptions = Readonly<Record<string, string>>;

/** The drivers there are, as `info` lists them. */
export const LOG_DRIVERS = ["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"] as const;
export type LogDriver = (typeof LOG_DRIVERS)[number];

const SELECTING = ["labels", "labels-regex", "env", "env-regex", "tag"];
/** Of every driver: how the container's output is passed on, and the local copy of what is sent elsewhere. */
const SHARED = ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
const SYSLOG = "address facility format tls-ca-cert tls-cert tls-key tls-skip-verify";
const GELF = "address compression-type compression-level tcp-max-reconnect tcp-reconnect-delay";
const FLUENTD =
  "address async async-connect async-reconnect-interval buffer-limit max-retries request-ack retry-wait sub-second-precision write-timeout";
const KNOWN: Readonly<Record<LogDriver, readonly string[]>> = {
  "json-file": ["max-file", "max-size", "compress", ...SELECTING],
  local: ["max-file", "max-size", "compress", ...SELECTING],
  journald: SELECTING,
  syslog: [...SELECTING, ...SYSLOG.split(" ").map((name) => `syslog-${name}`)],
  gelf: [...SELECTING, ...GELF.split(" ").map((name) => `gelf-${name}`)],
  fluentd: [...SELECTING, ...FLUENTD.split(" ").map((name) => `fluentd-${name}`)],
  none: [],
};

const FACILITIES =
  "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp . . . . local0 local1 local2 local3 local4 local5 local6 local7".split(
    " ",
  );
const DAEMON = 3;
const SYSLOG_PORT = 514;
const FLUENTD_PORT = 24_224;
const FLUENTD_RETRIES = 13;
const LOCAL_SYSLOGS = ["/dev/log", "/var/run/syslog", "/var/run/log"];

function refuse(message: string): never {
  throw new GantryError("invalid", message);
}

export function isLogDriver(name: string): name is LogDriver {
  return (LOG_DRIVERS as readonly string[]).includes(name);
}

/** What is said of a driver that isn't there, by whomever it is named. */
export function unknownLogDriver(name: string): string {
  return `error looking up logging plugin ${name}: plugin "${name}" not found`;
}

/** Checks a driver's name and its options: `invalid` in Docker's words, which it says partly at create, partly at start. */
export function checkLogOptions(driver: string, options: LogOptions): void {
  if (!isLogDriver(driver)) refuse(unknownLogDriver(driver));
  checkShared(options);
  if (driver === "none") return;
  if (driver === "gelf" && (options["gelf-address"] ?? "") === "") refuse("gelf-address is a required parameter");
  for (const name of Object.keys(options)) {
    if (KNOWN[driver].includes(name) || SHARED.includes(name)) continue;
    refuse(`unknown log opt '${name}' for ${driver === "local" ? "log driver local" : `${driver} log driver`}`);
  }
  switch (driver) {
    case "json-file":
    case "local":
      checkFiles(driver, options);
      return;
    case "syslog":
      readSyslogOptions(options);
      return;
    case "gelf":
      readGelfOptions(options);
      return;
    case "fluentd":
      readFluentdOptions(options);
      return;
    case "journald":
      return;
  }
}

function checkShared(options: LogOptions): void {
  const { mode = "" } = options;
  if (!["", "blocking", "non-blocking"].includes(mode)) refuse(`logger: logging mode not supported: ${mode}`);
  const buffer = options["max-buffer-size"];
  if (buffer !== undefined) {
    if (mode !== "non-blocking") refuse("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
    within("error parsing option max-buffer-size: ", () => ramInBytes(buffer));
  }
  const disabled = options["cache-disabled"];
  if (disabled !== undefined && !isBool(disabled)) refuse(`invalid value for option cache-disabled: ${disabled}`);
  const { "cache-max-size": size, "cache-max-file": files, "cache-compress": compress } = options;
  if (size !== undefined)
    within(`invalid value for cache-max-size: ${size}: `, () => positiveSize("cache-max-size", size));
  if (files !== undefined) fileCount("cache-max-file", files);
  if (compress !== undefined) within("error reading cache-compress log option: ", () => bool(compress));
}

function checkFiles(driver: "json-file" | "local", options: LogOptions): void {
  const { "max-size": size, "max-file": files, compress } = options;
  if (size !== undefined && size !== "-1") {
    within(driver === "local" ? `invalid value for max-size: ${size}: ` : "", () => positiveSize("max-size", size));
  }
  if (files !== undefined) fileCount("max-file", files);
  if (compress === undefined) return;
  const isOn = within(driver === "local" ? "error reading compress log option: " : "", () => bool(compress));
  if (!isOn || driver === "local") return;
  if (size === undefined || size === "-1" || files === undefined || Number(files) < 2) {
    refuse("compress cannot be true when max-file is less than 2 or max-size is not set");
  }
}

/** Prefixes the reason of what fails in it, as Docker's drivers do each in their own way. */
function within<T>(prefix: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof GantryError) refuse(`${prefix}${error.message}`);
    throw error;
  }
}

function positiveSize(name: string, text: string): number {
  const size = ramInBytes(text);
  return size > 0 ? size : refuse(`${name} must be a positive number`);
}

function fileCount(name: string, text: string): number {
  if (!/^[+-]?\d{1,9}$/.test(text)) refuse(`strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text) >= 1 ? Number(text) : refuse(`${name} cannot be less than 1`);
}

function isBool(text: string): boolean {
  return ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"].includes(text);
}

/** Go's ParseBool; no text is false. */
export function bool(text: string | undefined): boolean {
  if (text === undefined) return false;
  if (!isBool(text)) refuse(`strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
  return ["1", "t", "T", "TRUE", "true", "True"].includes(text);
}

export function readSyslogOptions(options: LogOptions): {
  readonly addresses: readonly ServiceAddress[];
  readonly facility: number;
  readonly format: "" | "rfc3164" | "rfc5424" | "rfc5424micro";
} {
  const addresses = syslogAddresses(options);
  const facility = facilityOf(options["syslog-facility"] ?? "");
  const format = options["syslog-format"] ?? "";
  if (format !== "" && format !== "rfc3164" && format !== "rfc5424" && format !== "rfc5424micro") {
    refuse("Invalid syslog format");
  }
  return { addresses, facility, format };
}

function facilityOf(text: string): number {
  if (text === "") return DAEMON;
  const named = text === "." ? -1 : FACILITIES.indexOf(text);
  const number = named >= 0 ? named : /^\d{1,2}$/.test(text) ? Number(text) : -1;
  return number >= 0 && number <= 23 ? number : refuse("invalid syslog facility");
}

function syslogAddresses(options: LogOptions): ServiceAddress[] {
  const text = options["syslog-address"] ?? "";
  if (text === "") {
    return LOCAL_SYSLOGS.flatMap((path) => [
      { network: "unixgram", path } as const,
      { network: "unix", path } as const,
    ]);
  }
  const [, scheme, rest = ""] = /^(tcp|tcp\+tls|udp|unix|unixgram):\/\/(.*)$/s.exec(text) ?? [];
  if (scheme === undefined) refuse(`syslog-address should be in form proto://address, got ${text}`);
  if (scheme === "unix" || scheme === "unixgram") {
    try {
      statSync(rest);
    } catch (error) {
      refuse(`stat ${rest}: ${hasCode(error, "ENOENT") ? "no such file or directory" : "it can't be looked at"}`);
    }
    return [{ network: scheme, path: rest }];
  }
  const { host, port } = hostAndPort(rest.split("/")[0] ?? "", SYSLOG_PORT);
  if (scheme !== "tcp+tls") return [{ network: scheme === "udp" ? "udp" : "tcp", host, port }];
  const tls: TlsFiles = {
    ca: options["syslog-tls-ca-cert"] ?? "",
    cert: options["syslog-tls-cert"] ?? "",
    key: options["syslog-tls-key"] ?? "",
    // Docker asks only whether the option was given.
    skipVerify: options["syslog-tls-skip-verify"] !== undefined && options["syslog-tls-skip-verify"] !== "false",
  };
  return [{ network: "tcp", host, port, tls }];
}

/** Splits as Go's net.SplitHostPort does; without a port it is `fallback`. */
function hostAndPort(text: string, fallback: number | undefined): { host: string; port: number } {
  const bracket = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  const parts = text.split(":");
  if (bracket === null && parts.length > 2) refuse(`address ${text}: too many colons in address`);
  const host = bracket === null ? (parts[0] ?? "") : (bracket[1] ?? "");
  const port = bracket === null ? parts[1] : bracket[2];
  if (bracket !== null && !isIPv6(host)) refuse(`address ${text}: it is no IPv6 address`);
  if (port === undefined) {
    if (fallback === undefined) refuse(`address ${text}: missing port in address`);
    return { host: host === "" ? "localhost" : host, port: fallback };
  }
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) refuse(`address ${text}: invalid port`);
  return { host: host === "" ? "localhost" : host, port: Number(port) };
}

export function readGelfOptions(options: LogOptions): {
  readonly address: ServiceAddress;
  readonly compression: "gzip" | "zlib" | "none";
  readonly level: number;
} {
  const text = options["gelf-address"] ?? "";
  const [, scheme, rest = ""] = /^(tcp|udp):\/\/(.*)$/s.exec(text) ?? [];
  if (scheme === undefined) refuse(`gelf-address should be in form proto://address, got ${text}`);
  const place = rest.split("/")[0] ?? "";
  if (!/:\d{1,5}$/.test(place)) refuse("gelf: please provide gelf-address as proto://host:port");
  const { host, port } = hostAndPort(place, undefined);
  const { "gelf-compression-type": type, "gelf-compression-level": level } = options;
  if (scheme === "tcp" && (type !== undefined || level !== undefined)) refuse("compression is only supported on UDP");
  const compression = type ?? "gzip";
  if (compression !== "gzip" && compression !== "zlib" && compression !== "none") {
    refuse(`unknown value ${JSON.stringify(type)} for log opt "gelf-compression-type" for gelf log driver`);
  }
  if (level !== undefined && !/^(-1|\d)$/.test(level)) {
    refuse(`unknown value ${JSON.stringify(level)} for log opt "gelf-compression-level" for gelf log driver`);
  }
  for (const name of ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"]) {
    const value = options[name];
    if (value === undefined) continue;
    if (scheme === "udp") refuse(`${JSON.stringify(name)} is only valid for TCP`);
    if (!/^\d{1,9}$/.test(value)) refuse(`${JSON.stringify(name)} must be a positive integer`);
  }
  return { address: { network: scheme === "udp" ? "udp" : "tcp", host, port }, compression, level: Number(level ?? 1) };
}

export function readFluentdOptions(options: LogOptions): {
  readonly address: ServiceAddress;
  readonly isAsync: boolean;
  readonly subSecond: boolean;
  readonly requestAck: boolean;
  readonly reconnectMs: number;
  readonly writeTimeoutMs: number;
} {
  const address = fluentdAddress(options["fluentd-address"] ?? "");
  const { "fluentd-buffer-limit": limit, "fluentd-max-retries": retries } = options;
  if (limit !== undefined) ramInBytes(limit);
  if (retries !== undefined && !/^\d{1,18}$/.test(retries)) {
    refuse(`strconv.ParseUint: parsing ${JSON.stringify(retries)}: invalid syntax`);
  }
  if (options["fluentd-async"] !== undefined && options["fluentd-async-connect"] !== undefined) {
    refuse("conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect");
  }
  const interval = options["fluentd-async-reconnect-interval"] ?? "0";
  const reconnectMs = durationMs(interval);
  if (reconnectMs !== 0 && (reconnectMs < 100 || reconnectMs > 10_000)) {
    refuse(`invalid value for fluentd-async-reconnect-interval: value (${interval}) must be between 100ms and 10s`);
  }
  durationMs(options["fluentd-retry-wait"] ?? "0");
  const isAsync = isFluentdAsync(options);
  return {
    address,
    isAsync,
    subSecond: bool(options["fluentd-sub-second-precision"]),
    requestAck: bool(options["fluentd-request-ack"]),
    reconnectMs: isAsync ? Math.round(reconnectMs) : 0,
    writeTimeoutMs: Math.round(durationMs(options["fluentd-write-timeout"] ?? "0")),
  };
}

function isFluentdAsync(options: LogOptions): boolean {
  return bool(options["fluentd-async"] ?? options["fluentd-async-connect"]);
}

/** How the driver's options, checked before, let lines wait for their service. */
export function readPatience(driver: LogDriver, options: LogOptions): Patience {
  const buffer = options["max-buffer-size"];
  return { ...(buffer !== undefined && { mostBytes: ramInBytes(buffer) }), ...ofDriver(driver, options) };
}

function ofDriver(driver: LogDriver, options: LogOptions): Patience {
  if (driver === "gelf") {
    const { "gelf-tcp-max-reconnect": most, "gelf-tcp-reconnect-delay": seconds } = options;
    if (most === undefined && seconds === undefined) return {};
    const pauseMs = 1000 * Number(seconds ?? 1);
    return { firstPauseMs: pauseMs, lastPauseMs: pauseMs, ...(most !== undefined && { mostRetries: Number(most) }) };
  }
  if (driver !== "fluentd") return {};
  const { "fluentd-max-retries": most, "fluentd-buffer-limit": limit, "fluentd-retry-wait": wait = "1s" } = options;
  return {
    firstPauseMs: Math.round(durationMs(wait)),
    // None is what its client has without the option.
    ...(most !== undefined && { mostRetries: Number(most) || FLUENTD_RETRIES }),
    // Said in bytes, meant in entries; those that are not sent asynchronously wait nowhere.
    ...(limit !== undefined && isFluentdAsync(options) && { mostLines: ramInBytes(limit) }),
  };
}

function fluentdAddress(text: string): ServiceAddress {
  if (text === "") return { network: "tcp", host: "127.0.0.1", port: FLUENTD_PORT };
  try {
    const [, scheme, rest = ""] = /^(tcp|tls|unix):\/\/(.*)$/s.exec(text) ?? [];
    if (scheme === "unix") {
      if (!rest.startsWith("/")) refuse("path is empty");
      return { network: "unix", path: rest };
    }
    const place = scheme === undefined ? text : rest;
    const afterColon = place.slice(place.lastIndexOf(":") + 1);
    if (place.includes("/") || (place.includes(":") && !place.endsWith("]") && !/^\d+$/.test(afterColon))) {
      refuse(`strconv.Atoi: parsing ${JSON.stringify(afterColon)}: invalid syntax`);
    }
    const { host, port } = hostAndPort(place, FLUENTD_PORT);
    const tls = { ca: "", cert: "", key: "", skipVerify: false };
    return { network: "tcp", host, port, ...(scheme === "tls" && { tls }) };
  } catch (error) {
    throw error instanceof GantryError ? refuse(`invalid fluentd-address ${text}: ${error.message}`) : error;
  }
}

/** A length of time that is no less than nothing. */
function durationMs(text: string): number {
  const nanoseconds = parseDuration(text);
  if (nanoseconds < 0) refuse(`time: invalid duration ${JSON.stringify(text)}`);
  return nanoseconds / 1e6;
}
