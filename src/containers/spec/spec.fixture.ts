import { randomBytes } from "node:crypto";
import type { ContainerConfig, HostConfig } from "../../api/container.ts";
import { aConfig, aHostConfig } from "../request.fixture.ts";
import { CAPABILITIES, type HostFacts } from "./host.ts";
import type { SpecInput } from "./input.ts";

/** A host that can do everything, for tests that must not hang on this one. */
export function aHost(changes: Partial<HostFacts> = {}): HostFacts {
  return {
    architecture: "x64",
    kernel: { major: 6, minor: 1 },
    capabilities: CAPABILITIES,
    cpus: 4,
    cpuset: { cpus: "0-3", mems: "0" },
    cgroupLayout: "v2",
    supports: {
      memory: true,
      swap: true,
      reservation: true,
      swappiness: true,
      oomKillDisable: true,
      pids: true,
      cpu: true,
      realtime: true,
      cpuset: true,
      blkioWeight: true,
      blkioWeightDevice: true,
      blkioThrottle: true,
    },
    apparmor: { enabled: false, defaultProfileLoaded: false },
    oomScoreAdj: 0,
    mayLowerOomScore: true,
    maxOpenFiles: 1_048_576,
    ...changes,
  };
}

interface Wishes {
  readonly config?: Partial<ContainerConfig>;
  readonly hostConfig?: Partial<HostConfig>;
}

/** A container that runs `true` in an empty root filesystem, with what the test asks for. */
export function anInput(wishes: Wishes = {}, changes: Partial<SpecInput> = {}): SpecInput {
  return {
    id: randomBytes(32).toString("hex"),
    config: { ...aConfig(), Hostname: "box", Cmd: ["true"], ...wishes.config },
    hostConfig: { ...aHostConfig(), NetworkMode: "bridge", IpcMode: "private", ...wishes.hostConfig },
    rootfs: "/nonexistent",
    mounts: [],
    files: {},
    defaults: {
      ulimits: [],
      initPath: "/usr/bin/tini",
      init: false,
      seccompProfile: "unconfined",
      cgroupParent: "/gantry",
      noNewPrivileges: false,
    },
    host: aHost(),
    ...changes,
  };
}
