import type { Platform } from "../../oci/image.ts";
import { formatPlatform } from "../../oci/platform.ts";

/** Arguments that are there without being declared, and those that are no arguments of steps. */

const PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"] as const;
const PLATFORM_ARGS = (
  "BUILDPLATFORM BUILDOS BUILDOSVERSION BUILDARCH BUILDVARIANT " +
  "TARGETPLATFORM TARGETOS TARGETOSVERSION TARGETARCH TARGETVARIANT TARGETSTAGE"
).split(" ");
/** They say what to scan, and are not put into a step's environment. */
export const NO_VARIABLES: ReadonlySet<string> = new Set(["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"]);

/** The platforms' arguments. A build argument of the same name takes their place. */
export function platformArgs(
  host: Platform,
  target: Platform,
  targetStage: string,
  given: ReadonlyMap<string, string>,
): Map<string, string> {
  const rows: [string, string][] = [
    ["BUILDPLATFORM", formatPlatform(host)],
    ["BUILDOS", host.os],
    ["BUILDOSVERSION", host["os.version"] ?? ""],
    ["BUILDARCH", host.architecture],
    ["BUILDVARIANT", host.variant ?? ""],
    ["TARGETPLATFORM", formatPlatform(target)],
    ["TARGETOS", target.os],
    ["TARGETOSVERSION", target["os.version"] ?? ""],
    ["TARGETARCH", target.architecture],
    ["TARGETVARIANT", target.variant ?? ""],
    ["TARGETSTAGE", targetStage === "" ? "default" : targetStage],
  ];
  return new Map(rows.map(([name, value]) => [name, given.get(name) ?? value]));
}

/** The proxies among the build's arguments, in both cases, as `NAME=value`. */
export function proxyEnv(given: ReadonlyMap<string, string>): string[] {
  const values = new Map<string, string>();
  for (const [name, value] of [...given].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const proxy = PROXIES.find((known) => known === name.toUpperCase());
    if (proxy !== undefined) values.set(proxy, value);
  }
  return [...values].flatMap(([name, value]) => [`${name}=${value}`, `${name.toLowerCase()}=${value}`]);
}

/** True for arguments that nobody has to declare. */
export function isPredefined(name: string): boolean {
  return (
    PROXIES.some((proxy) => proxy === name.toUpperCase()) ||
    PLATFORM_ARGS.includes(name) ||
    name.startsWith("BUILDKIT_") ||
    name === "SOURCE_DATE_EPOCH"
  );
}
