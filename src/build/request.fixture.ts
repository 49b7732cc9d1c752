import { GantryError } from "../base/errors.ts";
import type { BuildRequest } from "./builder.ts";

/** A request that asks for nothing special. */
export function plainRequest(more: Partial<BuildRequest>): BuildRequest {
  return {
    id: "build",
    session: undefined,
    context: { type: "none" },
    dockerfile: { text: "" },
    target: "",
    platforms: [],
    buildArgs: new Map(),
    labels: new Map(),
    namedContexts: new Map(),
    noCache: false,
    noCacheFilter: [],
    pull: false,
    network: "default",
    extraHosts: [],
    entitlements: [],
    limits: {
      memory: 0,
      memorySwap: 0,
      cpuShares: 0,
      cpuPeriod: 0,
      cpuQuota: 0,
      cpusetCpus: "",
      cpusetMems: "",
      shmSize: 0,
      cgroupParent: "",
      ulimits: [],
    },
    call: "build",
    outputs: [],
    cacheFrom: [],
    cacheTo: [],
    attestations: new Map(),
    explain: false,
    keepFailed: false,
    denyRanges: [],
    squash: false,
    credentialsOf: async () => {
      throw new GantryError("not-found", "no credentials");
    },
    origin: "gantry",
    ...more,
  };
}
