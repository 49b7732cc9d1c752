import { posix } from "node:path";
import { sentenceOf } from "../../base/errno-words.ts";
import { GantryError, isKind } from "../../base/errors.ts";
import { hostPlatform } from "../../oci/platform.ts";
import { reasonOfStartFailure } from "../../runtime/runtime-error.ts";
import type { Step, StepEnd, StepOptions, StepRunner } from "../../runtime/step.ts";
import type { BuildRequest, HeldFailure } from "../builder.ts";
import { demandEntitlement } from "../entitlement.ts";
import type { ExecOperation, Vertex } from "../graph.ts";
import type { Operator, OperatorContext, Selection, Work } from "../operator.ts";
import { ProcessFailure, StartFailure } from "../process-failure.ts";
import type { Root } from "../root.ts";
import { checkRunnable } from "./emulation.ts";
import type { KeptSteps } from "./kept-steps.ts";
import { type MountPorts, openMounts } from "./mounts.ts";

/** As BuildKit calls the machine that a step sees. */
export const HOSTNAME = "buildkitsandbox";
const KILLED = 137;

export interface ExecPorts extends MountPorts {
  readonly runner: StepRunner;
  readonly kept: KeptSteps;
  readonly digest: SourceDigest;
}

/** The digest of what is at a path of a root, links followed inside it. */
export type SourceDigest = (
  root: Root | undefined,
  path: string,
  context: OperatorContext,
) => ReturnType<Selection["digest"]>;

/** RUN: a command in a jail over the root that it changes. */
export class ExecOperator implements Operator<ExecOperation> {
  readonly #ports: ExecPorts;

  constructor(ports: ExecPorts) {
    this.#ports = ports;
  }

  /** What it mounts counts by its contents, but for a root that it changes as well. */
  selections({ mounts, root }: ExecOperation): readonly Selection[] {
    return mounts.flatMap((mount) => {
      if ((mount.type !== "bind" && mount.type !== "cache") || mount.input < 0 || mount.input === root) return [];
      const { input, source } = mount;
      return [{ input, digest: (from, context) => this.#ports.digest(from, source, context) }];
    });
  }

  async run(operation: ExecOperation, work: Work, context: OperatorContext): Promise<void> {
    const { request, vertex, signal, onEvent } = context;
    checkEntitlements(operation, request);
    checkRunnable(operation.platform, hostPlatform().architecture);
    const take = (stream: 1 | 2, data: Uint8Array) =>
      onEvent({ type: "log", log: { vertex: vertex.id, stream, data, timestamp: Date.now() } });
    const options: StepOptions = { signal, output: { kind: "streams", take } };
    try {
      const end = await this.#execute({ operation, work, request, vertex, args: operation.args }, options);
      if (end.code === 0) return;
      // The kernel's choice among the step's processes; the exit code alone would hide why.
      const why = end.oomKilled && end.code === KILLED ? "cannot allocate memory" : `exit code: ${end.code}`;
      throw new ProcessFailure(operation.args, end.code, why);
    } catch (error) {
      if (error instanceof ProcessFailure) {
        if (request.keepFailed) this.#keep(operation, work, context);
        request.onFailed?.(heldFailure(operation, work, context));
      }
      throw error;
    }
  }

  #keep(operation: ExecOperation, { root, inputs, hold }: Work, { request, vertex }: OperatorContext): void {
    const shared = inputs.map((input) => input?.share());
    const held = hold();
    this.#ports.kept.keep({
      buildId: request.id,
      session: request.session,
      run: (args, options) => {
        const work = { root, inputs: shared, hold };
        return this.#execute(
          { operation, work, request, vertex, args: args.length > 0 ? args : shellOf(operation) },
          options,
        );
      },
      release: async () => {
        await held[Symbol.asyncDispose]();
        for (const input of shared) await input?.[Symbol.asyncDispose]();
      },
    });
  }

  async #execute(execution: Execution, options: StepOptions): Promise<StepEnd> {
    const { operation, work, request, vertex, args } = execution;
    await using undo = new AsyncDisposableStack();
    const wanted = { operation: settled(operation), vertex, inputs: work.inputs, session: request.session };
    const { mounts, env } = await openMounts(this.#ports, { ...wanted, signal: options.signal }, undo);
    const step: Step = {
      root: work.root,
      args,
      env: [...agentVariable(operation), ...operation.env, ...(operation.proxyEnv ?? []), ...env],
      cwd: operation.cwd || "/",
      user: operation.user,
      hostname: operation.hostname || HOSTNAME,
      network: operation.network === "default" ? request.network : operation.network,
      extraHosts: request.extraHosts,
      privileged: operation.security === "insecure",
      limits: request.limits,
      mounts,
    };
    try {
      return await this.#ports.runner.run(step, options);
    } catch (error) {
      if (!isKind(error, "invalid")) throw error;
      const reason = reasonOfStartFailure(error.message);
      if (reason !== undefined && options.output.kind === "streams") {
        await options.output.take(2, Buffer.from(`crun run failed: ${reason}\n`));
        throw new StartFailure(args, error);
      }
      throw new GantryError(
        "invalid",
        `process ${JSON.stringify(args.join(" "))} did not complete successfully: ${sentenceOf(error)}`,
        { cause: error },
      );
    }
  }
}

interface Execution {
  readonly operation: ExecOperation;
  readonly work: Work;
  readonly request: BuildRequest;
  readonly vertex: Vertex;
  readonly args: readonly string[];
}

/** The step as it failed, for a client that looks into it. */
function heldFailure(operation: ExecOperation, { hold, inputs, root }: Work, { vertex }: OperatorContext): HeldFailure {
  const shared = inputs.map((input) => input?.share());
  const held = hold();
  const release = async () => {
    await held[Symbol.asyncDispose]();
    for (const input of shared) await input?.[Symbol.asyncDispose]();
  };
  return { operation, vertex: vertex.id, root, inputs: shared, [Symbol.asyncDispose]: release };
}

/** Targets are paths in the working folder where they aren't absolute. */
function settled(operation: ExecOperation): ExecOperation {
  const folder = posix.resolve("/", operation.cwd);
  const mounts = operation.mounts.map((mount) => ({ ...mount, target: posix.resolve(folder, mount.target) }));
  return { ...operation, mounts };
}

/** The shell that the step was given to, or the one that most images have. */
function shellOf({ args }: ExecOperation): readonly string[] {
  const [shell = "", option = ""] = args;
  return /\/(ba|da|a|z|k|)sh$/.test(shell) && /^-\w*c$/.test(option) ? [shell] : ["/bin/sh"];
}

function agentVariable({ mounts }: ExecOperation): string[] {
  const first = mounts.find(({ type }) => type === "ssh");
  return first === undefined ? [] : [`SSH_AUTH_SOCK=${first.target}`];
}

/** A Dockerfile of somebody else's gets no more than who builds it says. The routes put in what their own parameters ask for. */
export function checkEntitlements(
  { network, security }: Pick<ExecOperation, "network" | "security">,
  request: Pick<BuildRequest, "entitlements" | "network">,
): void {
  const isHost = network === "host" || (network === "default" && request.network === "host");
  const needed = [...(isHost ? ["network.host"] : []), ...(security === "insecure" ? ["security.insecure"] : [])];
  for (const name of needed) demandEntitlement(name, request.entitlements);
}
