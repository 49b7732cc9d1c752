import { untilAborted } from "../../base/abort.ts";
import { GantryError } from "../../base/errors.ts";
import { hostPlatform } from "../../oci/platform.ts";
import type { RunningStep, StepEnd, StepOptions, StepRunner } from "../../runtime/step.ts";
import type { BuildContainer, ContainerCommand, ContainerRequest } from "../builder.ts";
import type { ExecOperation, Vertex } from "../graph.ts";
import { checkRunnable } from "./emulation.ts";
import { checkEntitlements, HOSTNAME } from "./exec-operator.ts";
import { type MountPorts, type OpenMounts, openMounts } from "./mounts.ts";

export interface ContainerPorts extends MountPorts {
  readonly runner: StepRunner;
}

/** Containers that clients have in results of their builds: in jails as steps are, on copies that end with them. */
export class StepContainers {
  readonly #ports: ContainerPorts;
  readonly #open = new Set<StepContainer>();

  constructor(ports: ContainerPorts) {
    this.#ports = ports;
  }

  /** What of it can't be is refused before anything is made. */
  async open(request: ContainerRequest, signal: AbortSignal): Promise<BuildContainer> {
    checkRunnable(request.platform, hostPlatform().architecture);
    checkEntitlements(request, request);
    await using undo = new AsyncDisposableStack();
    const { copies, nothing } = this.#ports;
    const { path } = undo.use(await copies.make(request.root ?? nothing, signal));
    const container = new StepContainer(this.#ports, request, path, undo.move());
    this.#open.add(container);
    container.onEnd = () => this.#open.delete(container);
    return container;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((container) => container[Symbol.asyncDispose]()));
  }
}

class StepContainer implements BuildContainer {
  readonly root: string;
  onEnd: () => void = () => {};
  readonly #ports: ContainerPorts;
  readonly #request: ContainerRequest;
  readonly #undo: AsyncDisposableStack;
  readonly #ending = new AbortController();
  readonly #processes = new Set<Promise<unknown>>();
  /** The first process, in whose jail the others are. */
  #first: Promise<RunningStep> | undefined;
  #ended: Promise<void> | undefined;

  constructor(ports: ContainerPorts, request: ContainerRequest, root: string, undo: AsyncDisposableStack) {
    this.#ports = ports;
    this.#request = request;
    this.root = root;
    this.#undo = undo;
  }

  run(command: ContainerCommand, options: StepOptions): Promise<StepEnd> {
    if (this.#ending.signal.aborted) throw ended();
    const signal = AbortSignal.any([options.signal, this.#ending.signal]);
    const running = this.#run(command, { ...options, signal });
    this.#processes.add(running);
    const forget = () => this.#processes.delete(running);
    running.then(forget, forget);
    return running;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #run({ secretEnv, ...command }: ContainerCommand, options: StepOptions): Promise<StepEnd> {
    checkEntitlements({ network: "none", security: command.privileged ? "insecure" : "sandbox" }, this.#request);
    await using undo = new AsyncDisposableStack();
    const first = this.#first;
    if (first !== undefined) {
      const { env } = await this.#mounts({ mounts: [], secretEnv }, options.signal, undo);
      const running = await untilAborted(first, options.signal);
      return running.exec({ ...command, env: [...command.env, ...env] }, options);
    }
    const began = Promise.withResolvers<RunningStep>();
    this.#first = began.promise;
    began.promise.catch(() => {});
    try {
      const { mounts } = this.#request;
      const { env, mounts: opened } = await this.#mounts({ mounts, secretEnv }, options.signal, undo);
      const { extraHosts, hostname, limits, network } = this.#request;
      const step = { root: this.root, extraHosts, hostname: hostname || HOSTNAME, limits, network, mounts: opened };
      const { output } = options;
      const opening = (running: RunningStep) => {
        began.resolve(running);
        output.opened?.(running);
      };
      return await this.#ports.runner.run(
        { ...step, ...command, env: [...command.env, ...env] },
        { ...options, output: withOpened(output, opening) },
      );
    } finally {
      // As in BuildKit, a container whose first process has ended has no other.
      began.reject(new GantryError("conflict", "the container's first process has ended"));
      this.#first = Promise.reject(new GantryError("conflict", "the container's first process has ended"));
      this.#first.catch(() => {});
    }
  }

  #mounts(
    wish: Pick<ExecOperation, "mounts" | "secretEnv">,
    signal: AbortSignal,
    undo: AsyncDisposableStack,
  ): Promise<OpenMounts> {
    const { inputs, platform, session } = this.#request;
    const operation: ExecOperation = {
      ...{ kind: "exec", root: -1, args: [], env: [], cwd: "/", user: "", network: "none", security: "sandbox" },
      ...{ ...wish, platform },
    };
    const vertex: Vertex = { id: "", operation, inputs: [], name: "a container", stage: "", site: "" };
    return openMounts(this.#ports, { operation, vertex, inputs, session, signal }, undo);
  }

  async #end(): Promise<void> {
    this.#ending.abort();
    while (this.#processes.size > 0) await Promise.allSettled(this.#processes);
    // Jails are taken down a little later, and have the root until then.
    await this.#ports.runner.quiet();
    await this.#undo.disposeAsync();
    this.onEnd();
  }
}

function withOpened(output: StepOptions["output"], opened: (running: RunningStep) => void): StepOptions["output"] {
  if (output.kind === "terminal") return { ...output, connect: () => output.connect(), opened };
  const { input } = output;
  return {
    kind: "streams",
    take: (stream, bytes) => output.take(stream, bytes),
    ...(input !== undefined && { input: (stdin) => output.input!(stdin) }),
    opened,
  };
}

function ended(): GantryError {
  return new GantryError("not-found", "the container has ended");
}
