import { existsSync } from "node:fs";
import { GantryError } from "../base/errors.ts";
import type { ContainerSettings } from "../containers/ports.ts";
import type { OciRuntime } from "../runtime/process.ts";
import type { EngineConfig } from "./options.ts";
import type { Roots } from "./roots.ts";
import { findExecutable } from "./runtimes.ts";

/** The profile that the distribution's container packages install. */
const DEFAULT_SECCOMP_PROFILE = "/usr/share/containers/seccomp.json";

/** The path of the seccomp profile, or `unconfined`. Throws unavailable if the file isn't there. */
export function seccompProfile(config: EngineConfig): string {
  const wanted = config.seccompProfile;
  if (wanted === "unconfined") return wanted;
  const path = wanted === "" || wanted === "builtin" ? DEFAULT_SECCOMP_PROFILE : wanted;
  if (!existsSync(path)) {
    throw new GantryError("unavailable", `cannot find the seccomp profile ${path}: give another by --seccomp-profile`);
  }
  return path;
}

/** The program that --init puts first, of those that distributions have. */
export function findInit(): string | undefined {
  for (const name of ["docker-init", "tini-static", "tini", "catatonit", "/usr/libexec/podman/catatonit"]) {
    const path = findExecutable(name);
    if (path !== undefined) return path;
  }
  return undefined;
}

/** The configuration as far as it shapes containers. */
export function containerSettings(
  config: EngineConfig,
  roots: Pick<Roots, "dataRoot" | "execRoot">,
  found: {
    readonly runtimes: ReadonlyMap<string, OciRuntime>;
    readonly initPath: string | undefined;
    readonly seccompProfile: string;
    readonly cgroupParent: string;
  },
): ContainerSettings {
  return {
    dataRoot: roots.dataRoot,
    execRoot: roots.execRoot,
    runtimes: found.runtimes,
    defaultRuntime: config.defaultRuntime,
    defaultUlimits: Object.values(config.defaultUlimits),
    defaultShmSize: config.defaultShmSize,
    dns: { servers: config.dns, search: config.dnsSearch, options: config.dnsOptions },
    logDriver: config.logDriver,
    logOptions: config.logOpts,
    initPath: found.initPath,
    init: config.init,
    cgroupParent: config.cgroupParent === "" ? found.cgroupParent : config.cgroupParent,
    noNewPrivileges: config.noNewPrivileges,
    seccompProfile: found.seccompProfile,
  };
}
