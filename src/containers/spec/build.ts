import { GantryError } from "../../base/errors.ts";
import type { RuntimeSpec, SpecSeccomp } from "../../oci/runtime-spec.ts";
import { checkArgumentList } from "./argument-list.ts";
import { buildDevices } from "./devices.ts";
import { type HostFacts, hostFacts } from "./host.ts";
import type { SpecInput } from "./input.ts";
import { settleLimits } from "./limits.ts";
import { buildMaskedPaths } from "./masked-paths.ts";
import { isPrivate } from "./modes.ts";
import { buildMounts } from "./mounts.ts";
import { buildNamespaces, buildSysctls } from "./namespaces.ts";
import { buildProcess } from "./process.ts";
import { buildResources, cgroupsPathOf } from "./resources.ts";
import { parseProfile, readProfile, toOciSeccomp } from "./seccomp.ts";
import { parseSecurityOptions, type SecurityOptions } from "./security-options.ts";

/**
 * The OCI runtime spec of a container. Refuses what can't be kept with `invalid`; what is only lowered or dropped is
 * told in `warnings`. Serialise the spec as it is: limits without an end are raw JSON numbers (see `ulimits.ts`).
 */
export function buildSpec(input: SpecInput): { spec: RuntimeSpec; warnings: string[] } {
  const host = input.host ?? hostFacts();
  const { hostConfig, config } = input;
  const security = parseSecurityOptions(hostConfig.SecurityOpt ?? []);
  const init = initPathOf(input);
  const { process, warnings } = buildProcess(input, host, security, init !== undefined);
  checkArgumentList(process);
  const mounts = buildMounts(input, host, security, init);
  const devices = buildDevices(hostConfig);
  // Its warnings were told when the container was created.
  const limits = settleLimits(hostConfig, host);
  const seccomp = seccompOf(input, host, security, process.capabilities?.bounding ?? []);
  const spec: RuntimeSpec = {
    ociVersion: "1.0.2",
    process,
    root: { path: input.rootfs, readonly: hostConfig.ReadonlyRootfs },
    ...(isPrivate(hostConfig.UTSMode) && { hostname: config.Hostname }),
    mounts: mounts.mounts,
    ...(hostConfig.Annotations !== undefined && { annotations: { ...hostConfig.Annotations } }),
    linux: {
      namespaces: buildNamespaces(input, host),
      devices: devices.devices,
      cgroupsPath: cgroupsPathOf(hostConfig, input.defaults.cgroupParent, input.id),
      resources: { devices: devices.rules, ...buildResources(limits.resources) },
      ...(mounts.rootfsPropagation !== undefined && { rootfsPropagation: mounts.rootfsPropagation }),
      ...(seccomp !== undefined && { seccomp }),
      sysctl: buildSysctls(input),
      ...buildMaskedPaths(hostConfig, security),
    },
  };
  return { spec, warnings };
}

/** An init only where the container has a pid namespace of its own: elsewhere there is one already. */
function initPathOf({ hostConfig, defaults }: SpecInput): string | undefined {
  if (!isPrivate(hostConfig.PidMode) || !(hostConfig.Init ?? defaults.init)) return undefined;
  if (defaults.initPath === undefined) {
    throw new GantryError("invalid", "cannot give the container an init: no tini or catatonit is installed");
  }
  return defaults.initPath;
}

function seccompOf(
  input: SpecInput,
  host: HostFacts,
  security: SecurityOptions,
  capabilities: readonly string[],
): SpecSeccomp | undefined {
  const given = security.seccomp;
  const byDefault = given === undefined || given === "" || given === "builtin";
  if (given === "unconfined" || (byDefault && input.hostConfig.Privileged)) return undefined;
  if (byDefault && input.defaults.seccompProfile === "unconfined") return undefined;
  const profile = byDefault ? readProfile(input.defaults.seccompProfile) : parseProfile(given);
  return toOciSeccomp(profile, { capabilities, architecture: host.architecture, kernel: host.kernel });
}
