import { arch } from "node:os";
import { GantryError } from "../base/errors.ts";
import type { Platform } from "./image.ts";

/** Platforms as the OCI image index names them, read and compared as containerd's `platforms` does. */

/** A map, as what is looked up is a client's word. */
const ARCHITECTURES: ReadonlyMap<string, readonly [architecture: string, variant: string]> = new Map([
  ["i386", ["386", ""]],
  ["x86_64", ["amd64", ""]],
  ["x86-64", ["amd64", ""]],
  ["aarch64", ["arm64", ""]],
  ["armhf", ["arm", "v7"]],
  ["armel", ["arm", "v6"]],
]);
const NODE_ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };
const OPERATING_SYSTEMS: ReadonlySet<string> = new Set(
  "aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris wasip1 windows".split(" "),
);
const KNOWN_ARCHITECTURES: ReadonlySet<string> = new Set(
  "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm".split(" "),
);
/** The first part may say a version and features: `windows(10.0.17763+win32k)`. */
const OS_PART = /^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$/;
const PART = /^[A-Za-z0-9_.-]+$/;

/** The platform that this machine runs. */
export function hostPlatform(): Platform {
  const machine = arch();
  return normalizePlatform({ os: "linux", architecture: NODE_ARCHITECTURES[machine] ?? machine });
}

/**
 * Reads `linux/arm64`, `linux/arm/v7`, `arm64`, `linux` or `windows(10.0.17763)/amd64`; throws `invalid` in containerd's
 * words. What is left out is the host's.
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  const [first = "", architecture, variant] = parts;
  const [, name = "", version = "", features = ""] = OS_PART.exec(first) ?? [];
  if (name === "") throw badPart(first, "OS component", text, "OSAndVersion specifier", OS_PART);
  const bad = parts.slice(1, 4).find((part) => !PART.test(part));
  if (bad !== undefined) throw badPart(bad, "component", text, "platform specifier", PART);
  if (parts.length > 3) throw invalid(`${quoted(text)}: cannot parse platform specifier`);
  const os = osOf(name.toLowerCase());
  const more = {
    ...(version !== "" && { "os.version": unescaped(version, text) }),
    ...(features !== "" && { "os.features": features.slice(1).split("+").sort() }),
  };
  if (architecture !== undefined) {
    return normalizePlatform({ os, architecture, ...(variant !== undefined && { variant }), ...more });
  }
  if (OPERATING_SYSTEMS.has(os)) return { ...hostPlatform(), os, ...more };
  const guess = normalizePlatform({ os: "linux", architecture: first });
  if (KNOWN_ARCHITECTURES.has(guess.architecture)) return guess;
  throw invalid(`${quoted(text)}: unknown operating system or architecture`);
}

function badPart(part: string, kind: string, text: string, rule: string, pattern: RegExp): GantryError {
  const words = `${rule} component must match ${quoted(pattern.source)}`;
  return invalid(`${quoted(part)} is an invalid ${kind} of ${quoted(text)}: ${words}`);
}

function invalid(message: string): GantryError {
  return new GantryError("invalid", `${message}: invalid argument`);
}

/** A client's word, in a message. */
function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}

function unescaped(version: string, text: string): string {
  try {
    return decodeURIComponent(version);
  } catch {
    throw invalid(`${quoted(text)} has an invalid OS version ${quoted(version)}`);
  }
}

/** One spelling for each platform: `aarch64` is arm64, `v8` of arm64 and `v1` of amd64 go without saying. */
function normalizePlatform(platform: Platform): Platform {
  const os = osOf(platform.os.toLowerCase());
  const named = platform.architecture.toLowerCase();
  const [architecture, implied] = ARCHITECTURES.get(named) ?? [named, ""];
  const variant = variantOf(architecture, platform.variant?.toLowerCase() || implied);
  const { variant: _, ...rest } = platform;
  return { ...rest, os, architecture, ...(variant !== "" && { variant }) };
}

/** `linux/arm/v7`. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = normalizePlatform(platform);
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join("/");
}

/**
 * The order in which images suit a host of the wanted platform, best first: an arm v7 runs what is made for v7, v6
 * and v5; an arm64 runs 32-bit arm. Compare with `formatPlatform` of a candidate.
 */
export function suitablePlatforms(wanted: Platform): readonly string[] {
  const own = formatPlatform(wanted);
  const { os, architecture, variant } = normalizePlatform(wanted);
  if (architecture === "arm") return [own, ...armVariants(os).filter((name) => name < own)];
  if (architecture === "arm64") return [...new Set([own, `${os}/arm64`]), `${os}/arm/v8`, ...armVariants(os)];
  if (architecture === "amd64") {
    const level = Number(variant?.slice(1) ?? 1);
    const levels = [4, 3, 2].filter((lower) => lower < level).map((lower) => `${os}/amd64/v${lower}`);
    return [...new Set([own, ...levels, `${os}/amd64`]), `${os}/386`];
  }
  return [own];
}

/** The best of some candidates for a platform; undefined where none suits. */
export function choosePlatform<T>(
  candidates: readonly T[],
  wanted: Platform,
  platformOf: (candidate: T) => Platform | undefined,
): T | undefined {
  const named = candidates.map((candidate) => {
    const platform = platformOf(candidate);
    return { candidate, name: platform === undefined ? undefined : formatPlatform(platform) };
  });
  for (const suitable of suitablePlatforms(wanted)) {
    const match = named.find(({ name }) => name === suitable);
    if (match !== undefined) return match.candidate;
  }
  return undefined;
}

function armVariants(os: string): string[] {
  return ["v7", "v6", "v5"].map((variant) => `${os}/arm/${variant}`);
}

function osOf(os: string): string {
  return os === "macos" ? "darwin" : os;
}

function variantOf(architecture: string, variant: string): string {
  if (architecture === "arm64") return variant === "8" || variant === "v8" ? "" : variant;
  if (architecture === "amd64") return variant === "v1" ? "" : variant;
  if (architecture !== "arm") return variant;
  if (variant === "") return "v7";
  return /^[5-8]$/.test(variant) ? `v${variant}` : variant;
}
