import { mkdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { throwIfAborted, untilAborted } from "../base/abort.ts";
import { GantryError, isKind, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { RuntimeSpec } from "../oci/runtime-spec.ts";
import { CompiledSeccomp } from "../runtime/compiled-seccomp.ts";
import type { OciRuntime } from "../runtime/process.ts";
import type { RunningStep, Step, StepCommand, StepEnd, StepOptions, StepRunner } from "../runtime/step.ts";
import { bundleFolder } from "./bundle.ts";
import { etcFilesIn, writeEtcFiles } from "./files.ts";
import { makeFolders } from "./mount-stubs.ts";
import { sourcesFolder } from "./mounts.ts";
import type { ContainerPorts } from "./ports.ts";
import {
  attachStep,
  execInStep,
  KILLED,
  type RunningJail,
  streamsClient,
  takesInput,
  terminalClient,
} from "./step-exec.ts";
import { type ExpectedExit, StepExits } from "./step-exits.ts";
import { makeMountPoints, openStepMounts } from "./step-mounts.ts";
import { StepNetworks } from "./step-networks.ts";
import { TakenOutput } from "./step-output.ts";
import { stepShape, stepSpec } from "./step-spec.ts";

const SIGKILL = 9;
const KILL_RETRY_MS = 200;
/** So many are taken down at a time; then a step waits for one of them. */
const MOST_CLEARING = 16;
/** What nothing comes after is taken down then: what the build still has to do goes first. */
const REST_MS = 100;
const OWN_NETWORKS: ReadonlySet<string> = new Set(["bridge", "host", "none"]);

/**
 * Steps of builds: processes in the same jails as containers, with ids, bundles, networks and cgroups of the same kind
 * but without records, so that boot takes down what a crash left of them as it does with what nobody was told of.
 */
export class Steps implements StepRunner {
  readonly #ports: Pick<ContainerPorts, "log" | "networks" | "runtime" | "settings">;
  readonly #seccomp: CompiledSeccomp;
  readonly #networks: StepNetworks;
  readonly #exits: StepExits;
  /** What is left of steps that went well, to be taken down while the next one's command runs. */
  readonly #left: (() => void)[] = [];
  #rest: NodeJS.Timeout | undefined;
  /** What is being taken down. */
  readonly #clearing = new Set<Promise<void>>();
  /** What could not be taken down: a process of it is stuck in the kernel, or the machine is busy. */
  readonly #stuck = new Set<string>();

  constructor(ports: Pick<ContainerPorts, "log" | "networks" | "runtime" | "settings">) {
    this.#ports = ports;
    this.#exits = new StepExits(ports.runtime);
    this.#seccomp = new CompiledSeccomp(ports.settings().execRoot);
    this.#networks = new StepNetworks(ports, (error) =>
      ports.log.error(`cannot take the network of a step down: ${messageOf(error)}`, {}),
    );
  }

  async run(step: Step, options: StepOptions): Promise<StepEnd> {
    const { signal, output } = options;
    throwIfAborted(signal);
    const settings = this.#ports.settings();
    await using undo = new AsyncDisposableStack();
    const shape = stepShape(step, shapeOf(output), settings);
    const { hostConfig } = shape;
    const { id, network } = await this.#networks.join(shape, undo);
    failpoint("containers.step.networked");

    const bundle = bundleFolder(settings.execRoot, id);
    mkdirSync(bundle, { recursive: true, mode: 0o700 });
    undo.defer(() => rm(bundle, { recursive: true, force: true }));
    const { mounts, sources } = openStepMounts(sourcesFolder(settings.execRoot, id), step.mounts, undo);
    failpoint("containers.step.mounted");
    const files = etcFilesIn(bundle);
    writeEtcFiles(files, {
      ...shape,
      networks: network.networks,
      hasResolver: network.hasResolver,
      links: [],
      engineDns: settings.dns,
      hostGateways: this.#ports.networks.hostGateways(),
    });
    const netns = network.path;
    const parts = { id, rootfs: step.root, mounts, files, netns, settings };
    const spec = stepSpec({ ...shape, ...parts });
    const { uid, gid } = spec.process.user;
    makeFolders(step.root, step.cwd, { uid, gid });
    const stubs = undo.use(makeMountPoints(spec, step.root, sources));
    const runtime = settings.runtimes.get(hostConfig.Runtime ?? settings.defaultRuntime);
    if (runtime === undefined) throw new GantryError("invalid", "unknown or invalid runtime name");
    writeFileSync(join(bundle, "config.json"), JSON.stringify(this.#seccomp.use(spec, runtime)), { mode: 0o600 });
    throwIfAborted(signal);
    const began = () => {
      this.#clearLeft();
      return this.#networks.began(shape);
    };
    const processOf = (command: StepCommand, other: StepOptions["output"]) =>
      stepSpec({ ...stepShape({ ...step, ...command }, shapeOf(other), settings), ...parts }).process;
    const end = await this.#jailed({ id, bundle, spec, runtime, options, began, processOf }, undo);
    // All its processes ended with the first one: the root is the caller's again.
    stubs[Symbol.dispose]();
    // Of a network that is not the engine's own it would be seen that somebody is on it.
    if (OWN_NETWORKS.has(hostConfig.NetworkMode)) this.#clearLater(id, undo.move());
    else this.#clear(id, undo.move());
    if (this.#clearing.size > MOST_CLEARING) await Promise.race(this.#clearing);
    return end;
  }

  async quiet(): Promise<void> {
    await this.#networks.quiet();
    this.#clearLeft();
    while (this.#clearing.size > 0) await Promise.all(this.#clearing);
    // By now it may go; as long as the supervisor has it, that doesn't end.
    await Promise.all(
      [...this.#stuck].map((id) =>
        this.#delete(id).catch((error: unknown) =>
          this.#ports.log.error(`cannot take a step down: ${messageOf(error)}`, { step: id }),
        ),
      ),
    );
  }

  async #delete(id: string): Promise<void> {
    this.#stuck.add(id);
    await this.#ports.runtime.delete(id).catch(unlessGone);
    this.#stuck.delete(id);
  }

  /** Cgroup, mounts, namespaces and folders go when nobody waits for the engine. */
  #clearLater(id: string, undo: AsyncDisposableStack): void {
    this.#left.push(() => this.#clear(id, undo));
    this.#rest ??= setTimeout(() => this.#clearLeft(), REST_MS).unref();
  }

  #clearLeft(): void {
    clearTimeout(this.#rest);
    this.#rest = undefined;
    for (const clear of this.#left.splice(0)) clear();
  }

  #clear(id: string, undo: AsyncDisposableStack): void {
    const cleared = undo
      .disposeAsync()
      .catch((error: unknown) => this.#ports.log.error(`cannot take a step down: ${messageOf(error)}`, { step: id }));
    this.#clearing.add(cleared);
    void cleared.then(() => this.#clearing.delete(cleared));
  }

  async #jailed(bundled: Bundled, jail: AsyncDisposableStack): Promise<StepEnd> {
    const { id, bundle, spec, runtime, options, began, processOf } = bundled;
    const { signal, output } = options;
    const ports = this.#ports;
    using undo = new DisposableStack();
    const expected = undo.use(this.#exits.expect(id));
    const taken = output.kind === "streams" ? undo.use(new TakenOutput(output)) : undefined;
    const hasInput = takesInput(output);
    const streams = taken && attachStep(ports.runtime, { id }, hasInput, streamsClient(taken));
    streams?.ready.catch(() => taken?.[Symbol.dispose]());
    const terminal = output.kind === "terminal";
    await ports.runtime.create({
      ...{ id, bundle, runtime, terminal },
      openStdin: hasInput,
      stdinOnce: hasInput && !terminal,
      log: undefined,
    });
    // Whatever comes now: killed with all that it started, and its cgroup gone.
    jail.defer(() => this.#delete(id));
    this.#seccomp.learn(spec, runtime, id);
    failpoint("containers.step.created");
    throwIfAborted(signal);
    const resize = (rows: number, columns: number) => ports.runtime.resize(id, undefined, rows, columns);
    if (terminal && output.rows > 0) await resize(output.rows, output.columns);
    const attached =
      output.kind === "terminal" ? attachStep(ports.runtime, { id }, true, terminalClient(output)) : streams!;
    const execs = new Set<ExpectedExit>();
    const execPorts = { runtime: ports.runtime, exits: this.#exits };
    const running: RunningStep = {
      resize,
      signal: (number) => ports.runtime.kill(id, number),
      exec: (command, other) => execInStep(execPorts, { id, processOf, execs }, command, other),
    };
    if (output.kind === "terminal") output.opened?.(running);
    else if (taken !== undefined) output.input?.(taken.input);
    const kill = () => void this.#kill(id);
    signal.addEventListener("abort", kill, { once: true });
    try {
      await ports.runtime.start(id);
      failpoint("containers.step.started");
      undo.use(began());
      if (output.kind === "streams") output.opened?.(running);
      // It may have come before there was anything to kill.
      if (signal.aborted) kill();
      let isLost = false;
      const sent = attached.done.then((end) => {
        isLost = end !== "exited";
        // A shell goes with who typed in it, a command with who took its output.
        if (isLost) kill();
      });
      const exit = await expected.exit;
      // What else ran in the jail has ended with it, whether that was told or not.
      for (const exec of execs) exec.end({ ...exit, code: KILLED, oomKilled: false });
      await untilAborted(Promise.all([sent, taken?.ended]), signal);
      if (isLost && taken !== undefined) {
        throw new GantryError("unavailable", "the output of the step was lost: the supervisor has gone");
      }
      if (exit.code === undefined) throw new GantryError("unavailable", "the exit code could not be learnt");
      return { code: exit.code, oomKilled: exit.oomKilled };
    } finally {
      signal.removeEventListener("abort", kill);
    }
  }

  /** Also when the supervisor is just being started again. */
  async #kill(id: string): Promise<void> {
    while (this.#exits.isExpected(id)) {
      try {
        await this.#ports.runtime.kill(id, SIGKILL, { all: true });
        return;
      } catch (error) {
        if (isKind(error, "not-found")) return;
        await after(KILL_RETRY_MS);
      }
    }
  }
}

function shapeOf(output: StepOptions["output"]): Parameters<typeof stepShape>[1] {
  const terminal = output.kind === "terminal" ? output : undefined;
  return { terminal, hasInput: takesInput(output) };
}

function unlessGone(error: unknown): void {
  if (!isKind(error, "not-found")) throw error;
}

interface Bundled {
  readonly id: string;
  readonly bundle: string;
  readonly spec: RuntimeSpec;
  readonly runtime: OciRuntime;
  readonly options: StepOptions;
  readonly began: () => Disposable;
  readonly processOf: RunningJail["processOf"];
}
