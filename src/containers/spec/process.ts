import type { SpecProcess } from "../../oci/runtime-spec.ts";
import { resolveCapabilities } from "./capabilities.ts";
import type { HostFacts } from "./host.ts";
import type { SpecInput } from "./input.ts";
import { INIT_PATH } from "./mounts.ts";
import type { SecurityOptions } from "./security-options.ts";
import { buildUlimits } from "./ulimits.ts";
import { resolveUser } from "./user.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The container's first process. */
export function buildProcess(
  input: SpecInput,
  host: HostFacts,
  security: SecurityOptions,
  withInit: boolean,
): { process: SpecProcess; warnings: string[] } {
  const { config, hostConfig, defaults } = input;
  const command = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  const user = resolveUser(input.rootfs, config.User, hostConfig.GroupAdd ?? []);
  const limits = buildUlimits(hostConfig.Ulimits ?? [], defaults.ulimits, host);
  const score = oomScore(hostConfig.OomScoreAdj, host);
  const apparmor = apparmorProfile(hostConfig.Privileged, security, host);
  const process: SpecProcess = {
    terminal: config.Tty,
    ...consoleSize(config.Tty, hostConfig.ConsoleSize),
    user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
    args: withInit ? [INIT_PATH, "--", ...command] : command,
    env: environment(input, config.Tty, config.Env ?? [], user.home),
    cwd: config.WorkingDir || "/",
    capabilities: capabilitySets(
      resolveCapabilities(
        { add: hostConfig.CapAdd ?? [], drop: hostConfig.CapDrop ?? [], privileged: hostConfig.Privileged },
        host.capabilities,
      ),
    ),
    rlimits: limits.rlimits,
    noNewPrivileges: security.noNewPrivileges ?? defaults.noNewPrivileges,
    ...(apparmor !== undefined && { apparmorProfile: apparmor }),
    oomScoreAdj: score.value,
  };
  return { process, warnings: [...limits.warnings, ...score.warnings] };
}

/** Never inheritable or ambient: what a program gets is decided by its user and its file alone. */
function capabilitySets(names: readonly string[]): NonNullable<SpecProcess["capabilities"]> {
  return { bounding: [...names], effective: [...names], permitted: [...names], inheritable: [], ambient: [] };
}

function environment(input: SpecInput, tty: boolean, own: readonly string[], home: string): string[] {
  const base = [`PATH=${DEFAULT_PATH}`, `HOSTNAME=${input.config.Hostname}`, ...(tty ? ["TERM=xterm"] : [])];
  const merged = mergeEnv(base, own);
  const set = merged.filter((entry) => entry !== "HOME=");
  return set.some((entry) => entry.startsWith("HOME=")) ? set : [...set, `HOME=${home}`];
}

/** `over` replaces by name and in place; a bare name takes a variable away. */
function mergeEnv(base: readonly string[], over: readonly string[]): string[] {
  const byName = new Map(base.map((entry) => [entry.split("=", 1)[0] ?? "", entry]));
  for (const entry of over) {
    const name = entry.split("=", 1)[0] ?? "";
    if (entry.includes("=")) byName.set(name, entry);
    else byName.delete(name);
  }
  return [...byName.values()];
}

function consoleSize(
  tty: boolean,
  [height, width]: readonly [number, number] | readonly number[],
): Pick<SpecProcess, "consoleSize"> {
  if (!tty || !height || !width) return {};
  return { consoleSize: { height, width } };
}

function oomScore(wanted: number, host: HostFacts): { value: number; warnings: string[] } {
  if (host.mayLowerOomScore || wanted >= host.oomScoreAdj) return { value: wanted, warnings: [] };
  const warning = `The OOM score adjustment ${wanted} is lower than the engine may give; set to ${host.oomScoreAdj}.`;
  return { value: host.oomScoreAdj, warnings: wanted === 0 ? [] : [warning] };
}

function apparmorProfile(privileged: boolean, security: SecurityOptions, host: HostFacts): string | undefined {
  if (!host.apparmor.enabled) return undefined;
  if (security.apparmor) return security.apparmor;
  if (privileged) return "unconfined";
  return host.apparmor.defaultProfileLoaded ? "docker-default" : undefined;
}
