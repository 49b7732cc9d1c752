import { randomBytes } from "node:crypto";
import { throwIfAborted, untilAborted } from "../base/abort.ts";
import type { SpecProcess } from "../oci/runtime-spec.ts";
import type { AttachRequest, ProcessRuntime } from "../runtime/process.ts";
import type { StepCommand, StepEnd, StepOptions } from "../runtime/step.ts";
import type { ExpectedExit, StepExits } from "./step-exits.ts";
import { TakenOutput } from "./step-output.ts";

const SIGKILL = 9;
/** The exit code of what was killed. */
export const KILLED = 128 + SIGKILL;
const NOTHING = { head: new Uint8Array() };

export interface StepExecPorts {
  readonly runtime: ProcessRuntime;
  readonly exits: StepExits;
}

/** A step that runs, and what else was started in its jail. */
export interface RunningJail {
  readonly id: string;
  /** Another command of the same jail. */
  readonly processOf: (command: StepCommand, output: StepOptions["output"]) => SpecProcess;
  /** They end with the jail. */
  readonly execs: Set<ExpectedExit>;
}

/** Runs another command in the jail of one that runs. */
export async function execInStep(
  ports: StepExecPorts,
  jail: RunningJail,
  command: StepCommand,
  { output, signal }: StepOptions,
): Promise<StepEnd> {
  throwIfAborted(signal);
  const { exits, runtime } = ports;
  const { execs, id, processOf } = jail;
  const execId = randomBytes(32).toString("hex");
  using undo = new DisposableStack();
  const expected = undo.use(exits.expect(id, execId));
  execs.add(expected);
  undo.defer(() => void execs.delete(expected));
  const terminal = output.kind === "terminal";
  const process = processOf(command, output);
  const taken = output.kind === "streams" ? undo.use(new TakenOutput(output)) : undefined;
  const client = output.kind === "terminal" ? terminalClient(output) : streamsClient(taken!);
  const attached = attachStep(runtime, { id, execId }, takesInput(output), client);
  attached.done.catch(() => {});
  const kill = () => void runtime.killExecTree(id, execId).catch(() => {});
  signal.addEventListener("abort", kill, { once: true });
  try {
    await runtime.exec({ id, execId, process, terminal, openStdin: takesInput(output) });
    if (output.kind === "streams" && taken !== undefined) output.input?.(taken.input);
    output.opened?.({
      resize: (rows, columns) => runtime.resize(id, execId, rows, columns),
      signal: (number) => runtime.killExec(id, execId, number),
      exec: (other, options) => execInStep(ports, jail, other, options),
    });
    if (signal.aborted) kill();
    void attached.done.then((end) => {
      if (end !== "exited") kill();
    });
    const exit = await untilAborted(expected.exit, signal);
    await untilAborted(Promise.all([attached.done, taken?.ended]), signal);
    return { code: exit.code ?? KILLED, oomKilled: exit.oomKilled };
  } finally {
    signal.removeEventListener("abort", kill);
  }
}

type Client = Pick<AttachRequest, "socket" | "head" | "preamble" | "multiplexed">;

/** Takes what a process prints, and lets be typed to it. */
export function attachStep(
  runtime: ProcessRuntime,
  { execId, id }: { readonly id: string; readonly execId?: string },
  stdin: boolean,
  client: Client,
): ReturnType<ProcessRuntime["attach"]> {
  const wanted = { id, execId, stdin, stdout: true, stderr: true, detachKeys: new Uint8Array() };
  const attached = runtime.attach({ ...wanted, ...client });
  attached.ready.catch(() => {});
  return attached;
}

export function terminalClient(output: Extract<StepOptions["output"], { kind: "terminal" }>): Client {
  return { ...output.connect(), multiplexed: false };
}

export function streamsClient({ socket }: TakenOutput): Client {
  return { ...NOTHING, socket, multiplexed: true };
}

/** Whether there is somebody who types. */
export function takesInput(output: StepOptions["output"]): boolean {
  return output.kind === "terminal" || output.input !== undefined;
}
