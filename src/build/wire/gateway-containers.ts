import { posix } from "node:path";
import { GantryError } from "../../base/errors.ts";
import type { InitMessage, NewContainerRequest } from "../../buildkit/gateway.ts";
import type { Mount } from "../../buildkit/operations.ts";
import { GrpcError, STATUS } from "../../grpc/status.ts";
import type { ImageProcess } from "../../oci/image.ts";
import { hostPlatform } from "../../oci/platform.ts";
import type { StepEnd, StepOptions, StepResources } from "../../runtime/step.ts";
import type { BuildContainer, ContainerRequest } from "../builder.ts";
import { kindOf, NETWORKS, SECURITIES } from "../definition/exec-kinds.ts";
import { isRoot, mountOf, mountType } from "../definition/exec-root.ts";
import { platformOf } from "../definition/plan-definition.ts";
import type { Root } from "../root.ts";
import type { Looked } from "./result-files.ts";

export interface ContainersPorts {
  /** What a client means by the name of a result, open for as long as the build goes on. */
  look(id: string): Promise<Looked & { readonly path: string }>;
  /** What the image of a result says of its processes; undefined of what is none. */
  processOf(id: string): Promise<ImageProcess | undefined>;
  open(request: Pick<ContainerRequest, OwnParts>, signal: AbortSignal): Promise<BuildContainer>;
}

/** What the client says of a container; the rest is of its build. */
export type OwnParts =
  | "extraHosts"
  | "hostname"
  | "inputs"
  | "limits"
  | "mounts"
  | "network"
  | "platform"
  | "root"
  | "security";

interface Open {
  readonly container: BuildContainer;
  readonly image: ImageProcess | undefined;
  /** Where what is mounted can be read, by the client's numbers. */
  readonly folders: readonly (string | undefined)[];
}

/** More than people look into at a time. */
const MOST_CONTAINERS = 64;
const NO_LIMITS: StepResources = {
  ...{ memory: 0, memorySwap: 0, cpuShares: 0, cpuPeriod: 0, cpuQuota: 0, cpusetCpus: "", cpusetMems: "" },
  ...{ shmSize: 0, cgroupParent: "", ulimits: [] },
};

/** Containers that a client has in its results, by its names for them. They end with its build. */
export class GatewayContainers implements AsyncDisposable {
  readonly #ports: ContainersPorts;
  readonly #open = new Map<string, Promise<Open>>();
  #isEnded = false;

  constructor(ports: ContainersPorts) {
    this.#ports = ports;
  }

  async create(request: NewContainerRequest, signal: AbortSignal): Promise<void> {
    const { ContainerID: id } = request;
    if (this.#isEnded) throw new GantryError("not-found", "the build of the container has ended");
    if (this.#open.has(id)) throw new GrpcError(STATUS.alreadyExists, `Container ${id.slice(0, 100)} already exists`);
    if (this.#open.size >= MOST_CONTAINERS)
      throw new GantryError("invalid", `a build has at most ${MOST_CONTAINERS} containers`);
    const opening = this.#make(request, signal);
    this.#open.set(id, opening);
    try {
      await opening;
    } catch (error) {
      this.#open.delete(id);
      throw error;
    }
  }

  async release(id: string): Promise<void> {
    const { container } = await this.#find(id);
    this.#open.delete(id);
    await container[Symbol.asyncDispose]();
  }

  /** Runs a process. What the client leaves out, not having been told the image's config, is as that says. */
  async run(init: InitMessage, options: StepOptions): Promise<StepEnd> {
    const { container, image } = await this.#find(init.ContainerID);
    const { args = [], cwd = "", env = [], user = "" } = init.Meta ?? {};
    const isBare = env.length === 0;
    const own = [...(image?.Entrypoint ?? []), ...(image?.Cmd ?? [])];
    const wanted = args.length > 0 ? args : own;
    if (wanted.length === 0) throw new GantryError("invalid", "no command was given");
    const variables = isBare ? (image?.Env ?? []) : env;
    const hasTerm = variables.some((row) => row.startsWith("TERM="));
    return container.run(
      {
        args: wanted,
        env: init.Tty && !hasTerm ? [...variables, "TERM=xterm"] : variables,
        cwd: cwd || (isBare ? image?.WorkingDir : "") || "/",
        user: user || (isBare ? (image?.User ?? "") : ""),
        privileged: kindOf(SECURITIES, init.Security, "security mode") === "insecure",
        secretEnv: init.secretenv.map(({ ID, name, optional }) => ({ id: ID, name, required: !optional })),
      },
      options,
    );
  }

  /** Where a mount of a container can be read, as its processes see it where that is its root. */
  async look(id: string, index: number): Promise<Looked> {
    const { folders } = await this.#find(id);
    if (index < 0 || index >= folders.length) {
      const text = `mount index ${index} is out of bounds (${folders.length} available)`;
      throw new GantryError("invalid", text);
    }
    const path = folders[index];
    if (path === undefined) throw new GantryError("unsupported", `mount ${index} has no files that can be looked at`);
    return { path };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnded = true;
    const all = await Promise.allSettled(this.#open.values());
    this.#open.clear();
    for (const one of all) if (one.status === "fulfilled") await one.value.container[Symbol.asyncDispose]();
  }

  async #make(request: NewContainerRequest, signal: AbortSignal): Promise<Open> {
    const { extraHosts, hostname, Mounts, Network, platform } = request;
    const top = Mounts.find((mount) => isRoot(mount));
    if (top !== undefined && mountType(top) !== "bind") {
      throw new GantryError("invalid", `invalid mount type ${mountType(top).toUpperCase()} for /`);
    }
    const found = new Map<Mount, string>();
    for (const mount of Mounts)
      if (mount.resultID !== "") found.set(mount, (await this.#ports.look(mount.resultID)).path);
    const inputs: Root[] = [];
    const add = (mount: Mount) => {
      const path = found.get(mount);
      return path === undefined ? -1 : inputs.push(lookedRoot(path)) - 1;
    };
    const mounts = Mounts.filter((mount) => mount !== top).map((mount) => mountOf(mount, add));
    const container = await this.#ports.open(
      {
        root: top && found.get(top),
        mounts,
        inputs,
        network: kindOf(NETWORKS, Network, "network"),
        security: "sandbox",
        hostname,
        extraHosts: extraHosts.map(({ Host, IP }) => ({ name: Host, address: IP })),
        platform: platform === undefined ? hostPlatform() : platformOf(platform),
        limits: NO_LIMITS,
      },
      signal,
    );
    const folders = Mounts.map((mount) => (mount === top ? container.root : folderOf(mount, found.get(mount))));
    return { container, folders, image: top?.resultID ? await this.#ports.processOf(top.resultID) : undefined };
  }

  #find(id: string): Promise<Open> {
    const found = this.#open.get(id);
    if (found === undefined) {
      throw new GantryError(
        "not-found",
        `container ${JSON.stringify(id.slice(0, 100))} previously released or not created`,
      );
    }
    return found;
  }
}

function folderOf({ selector }: Mount, path: string | undefined): string | undefined {
  return posix.resolve("/", selector) === "/" ? path : undefined;
}

/** What is open for as long as its build goes on, as a root. */
function lookedRoot(path: string): Root {
  const held: Root = {
    snapshot: undefined,
    folder: path,
    layers: [],
    share: () => held,
    open: async () => ({ path, [Symbol.asyncDispose]: async () => {} }),
    [Symbol.asyncDispose]: async () => {},
  };
  return held;
}
