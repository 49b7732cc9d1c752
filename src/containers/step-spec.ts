import type { ContainerConfig, HostConfig } from "../api/container.ts";
import { createBody } from "../api/create-request.ts";
import { GantryError } from "../base/errors.ts";
import type { RuntimeSpec } from "../oci/runtime-spec.ts";
import type { Step } from "../runtime/step.ts";
import { completeHostConfig } from "./create.ts";
import type { EtcFiles } from "./files.ts";
import type { ContainerSettings } from "./ports.ts";
import { buildSpec } from "./spec/build.ts";
import type { InputMount } from "./spec/input.ts";
import { checkRequest } from "./spec/validate.ts";
import { defaultsOf } from "./spec-of.ts";

/** A step in the words of a container, so that what holds for the one holds for the other. */
export interface StepShape {
  readonly config: ContainerConfig;
  readonly hostConfig: HostConfig;
}

/** Refuses with `invalid` what a container would be refused for. */
export function stepShape(
  step: Step,
  { hasInput, terminal }: { readonly hasInput: boolean; readonly terminal: StepSize | undefined },
  settings: ContainerSettings,
): StepShape {
  if (step.network.startsWith("container:")) {
    throw new GantryError(
      "unsupported",
      `a step cannot be on the network of a container (${step.network}): name a network`,
    );
  }
  const { HostConfig: noWishes, NetworkingConfig: _, ...nothing } = createBody.zero();
  const { limits } = step;
  const config: ContainerConfig = {
    ...nothing,
    // The host's network comes with the host's name for everything but the names in /etc.
    Hostname: step.hostname,
    User: step.user,
    Env: [...step.env],
    Cmd: [...step.args],
    WorkingDir: step.cwd,
    Tty: terminal !== undefined,
    OpenStdin: hasInput,
  };
  const hostConfig = completeHostConfig(
    {
      ...noWishes,
      NetworkMode: step.network,
      Privileged: step.privileged,
      ExtraHosts: step.extraHosts.map(({ name, address }) => `${name}:${address}`),
      Memory: limits.memory,
      MemorySwap: limits.memorySwap,
      CpuShares: limits.cpuShares,
      CpuPeriod: limits.cpuPeriod,
      CpuQuota: limits.cpuQuota,
      CpusetCpus: limits.cpusetCpus,
      CpusetMems: limits.cpusetMems,
      ShmSize: limits.shmSize,
      CgroupParent: limits.cgroupParent,
      Ulimits: limits.ulimits.map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard })),
      Init: false,
      ...(terminal !== undefined && { ConsoleSize: [terminal.rows, terminal.columns] as [number, number] }),
    },
    settings,
  );
  checkRequest({ Config: config, HostConfig: hostConfig }, settings);
  return { config, hostConfig };
}

export interface StepSize {
  readonly rows: number;
  readonly columns: number;
}

export interface StepSpecInput extends StepShape {
  readonly id: string;
  readonly rootfs: string;
  readonly mounts: readonly InputMount[];
  readonly files: EtcFiles;
  readonly netns: string | undefined;
  readonly settings: ContainerSettings;
}

/**
 * As in BuildKit, a step can't change its names of hosts and servers of names: what it wrote there would be lost. The
 * host's name in /etc is the image's own.
 */
export function stepSpec({ files, mounts, settings, netns, ...input }: StepSpecInput): RuntimeSpec {
  const { spec } = buildSpec({
    ...input,
    files: {},
    mounts: [...etcMounts(files, mounts), ...mounts],
    ...(netns !== undefined && { netns }),
    defaults: defaultsOf(settings),
  });
  return spec;
}

/** But for those in whose place the step mounts something itself. */
function etcMounts({ hosts, resolvConf }: EtcFiles, wanted: readonly InputMount[]): InputMount[] {
  const rows = [
    ["/etc/resolv.conf", resolvConf],
    ["/etc/hosts", hosts],
  ] as const;
  return rows.flatMap(([destination, source]) =>
    wanted.some((mount) => mount.destination === destination)
      ? []
      : [
          {
            ...{ type: "bind", source, destination, readonly: true, propagation: "rprivate", recursive: false },
            options: ["nosuid", "nodev", "noexec"],
          },
        ],
  );
}
