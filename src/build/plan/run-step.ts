import { withShell } from "../../dockerfile/config-effect.ts";
import { cleanPath, quote, trimSpace } from "../../dockerfile/go-text.ts";
import { type Heredoc, heredocOf, withoutLeadingTabs } from "../../dockerfile/heredoc.ts";
import type { RunInstruction } from "../../dockerfile/instruction.ts";
import { type Mount, readMount } from "../../dockerfile/mount.ts";
import { invalid } from "../../dockerfile/source.ts";
import { expandText } from "../../dockerfile/words.ts";
import type { ExecMount, ExecOperation, SecretEnv } from "../graph.ts";
import type { DraftVertex } from "./draft-graph.ts";
import type { Origin } from "./stage-state.ts";
import type { Step } from "./step.ts";
import { withUpperName } from "./step-name.ts";

/** Where a heredoc that is a program of its own lies while it runs. */
const PIPES = "/dev/pipes/";

/** RUN: a vertex that changes the stage's root. */
export async function planRun(step: Step, instruction: RunInstruction): Promise<void> {
  const { stage } = step;
  const inputs: DraftVertex[] = [];
  const { args, script, shown } = commandOf(step, instruction);
  if (args.length === 0) throw invalid("arguments are required");
  const device = instruction.devices.find(({ required }) => required);
  if (device !== undefined) throw invalid(`required device ${quote(device.name)} is not registered`);
  if (instruction.network === "host") step.demand("network.host");
  if (instruction.security === "insecure") step.demand("security.insecure");
  const mounts: ExecMount[] = [];
  const secretEnv: SecretEnv[] = [];
  const addInput = (vertex: DraftVertex | undefined): number => {
    if (vertex === undefined) return -1;
    const at = inputs.indexOf(vertex);
    return at >= 0 ? at : inputs.push(vertex) - 1;
  };
  const root = addInput(stage.root);
  if (script !== undefined) {
    mounts.push({ type: "bind", target: PIPES, input: addInput(script), source: "/", writable: false });
  }
  const parsed = instruction.mounts.map((text) => readMount(text, (value) => step.expander.text(value)));
  const agents: string[] = [];
  for (const mount of parsed) {
    if (mount.type === "secret") addSecret(step, mount, mounts, secretEnv);
    else if (mount.type === "ssh") addAgent(step, mount, mounts, agents);
    else mounts.push(await rootMount(step, mount, addInput));
  }
  const operation: ExecOperation = {
    kind: "exec",
    root,
    args,
    env: environment(step, agents),
    cwd: stage.draft.config.WorkingDir || "/",
    user: stage.draft.config.User ?? "",
    ...(step.hostname !== undefined && { hostname: step.hostname }),
    network: instruction.network,
    security: instruction.security,
    mounts,
    ...(step.proxyEnv.length > 0 && { proxyEnv: step.proxyEnv }),
    secretEnv,
    platform: stage.platform,
  };
  const vertex = step.vertex(operation, inputs, withUpperName(nameOf(step, shown, secretEnv)), instruction);
  stage.root = vertex;
  step.commit(`RUN ${[...argumentPrefix(step), ...args].join(" ")} # buildkit`, vertex);
}

interface Command {
  readonly args: readonly string[];
  /** A root with the program, if it is a heredoc. */
  readonly script: DraftVertex | undefined;
  readonly shown: string;
}

function commandOf(step: Step, instruction: RunInstruction): Command {
  const { command, heredocs, code } = instruction;
  const { config } = step.stage.draft;
  const [first] = heredocs;
  if (first === undefined) return { args: withShell(config, command), script: undefined, shown: code };
  const [line] = command.words;
  if (line === undefined || !command.shell) throw invalid("parsing produced an invalid run command");
  const alone = openedBy(line);
  if (alone === undefined) {
    // The shell reads heredocs that are part of a longer line.
    const whole = line + heredocs.map(({ content, name }) => `\n${content}${name}`).join("");
    return { args: withShell(config, { words: [whole], shell: true }), script: undefined, shown: code };
  }
  const data = first.chomp ? withoutLeadingTabs(first.content) : first.content;
  const shown = `${code} (${summaryOf(first.content)})`;
  if (!data.startsWith("#!")) {
    return { args: withShell(config, { words: [data], shell: true }), script: undefined, shown };
  }
  if (first.name.includes("/")) throw invalid(`a program's heredoc cannot be named ${quote(first.name)}`);
  const script = inlineFile(step, first.name, data, 0o755);
  return { args: withShell(config, { words: [PIPES + first.name], shell: true }), script, shown };
}

function openedBy(word: string): Heredoc | undefined {
  try {
    return heredocOf(word);
  } catch {
    return undefined;
  }
}

/** A root that is one file. */
export function inlineFile(step: Step, name: string, data: string, mode: number): DraftVertex {
  const { platform } = step.stage;
  return {
    operation: {
      kind: "files",
      root: -1,
      actions: [{ type: "mkfile", target: `/${name}`, data, mode, owner: undefined }],
      platform,
    },
    inputs: [],
    name: "[internal] preparing inline document",
    stage: "",
    site: `${step.site}/inline`,
  };
}

function environment({ stage }: Step, agents: readonly string[]): string[] {
  const rows = [...stage.env].map(([name, value]) => `${name}=${value}`);
  const [agent] = agents;
  if (agent !== undefined && !stage.env.has("SSH_AUTH_SOCK")) rows.push(`SSH_AUTH_SOCK=${agent}`);
  return rows;
}

/** The arguments in effect, as the history tells them: `|2 A=1 B=2`. */
function argumentPrefix({ stage }: Step): string[] {
  const values = new Map<string, string>();
  for (const { name, value } of stage.declared) values.set(name, stage.env.get(name) ?? value ?? "");
  if (values.size === 0) return [];
  return [`|${values.size}`, ...[...values].map(([name, value]) => `${name}=${value}`)];
}

function nameOf({ stage, escaper }: Step, shown: string, secrets: readonly SecretEnv[]): string {
  const variables = secrets.length === 0 ? stage.env : new Map(stage.env);
  // Not the value, which isn't here; that it is a secret's.
  for (const { name } of secrets) (variables as Map<string, string>).set(name, "****");
  try {
    return expandText(shown, variables, { escape: escaper, keepQuotes: true, keepUnset: true }).text;
  } catch {
    return shown;
  }
}

function summaryOf(document: string): string {
  const lines = trimSpace(document).split(/\r?\n/, 2);
  return (lines[0] ?? "") + (lines.length > 1 ? "..." : "");
}

async function rootMount(
  step: Step,
  mount: Mount,
  addInput: (vertex: DraftVertex | undefined) => number,
): Promise<ExecMount> {
  const target = targetOf(step, mount.target);
  if (mount.type === "tmpfs") return { type: "tmpfs", target, size: mount.size };
  const source = cleanPath(`/${mount.source}`);
  const origin = await mountOrigin(step, mount);
  origin?.reads?.(source);
  const input = addInput(origin?.root);
  if (mount.type === "bind") return { type: "bind", target, input, source, writable: !mount.readonly };
  const id = mount.id === "" ? cleanPath(mount.target) : mount.id;
  return {
    type: "cache",
    target,
    id: step.cacheNamespace === "" ? id : `${step.cacheNamespace}/${id}`,
    sharing: mount.sharing === "" ? "shared" : mount.sharing,
    readonly: mount.readonly,
    input,
    source,
    mode: mount.mode ?? 0o755,
    uid: mount.uid ?? 0,
    gid: mount.gid ?? 0,
  };
}

async function mountOrigin(step: Step, mount: Mount): Promise<Origin | undefined> {
  if (mount.from !== "") {
    const late = `cannot mount from stage ${quote(mount.from)} to ${quote(mount.target)}, stage needs to be defined before current command`;
    return step.origin(mount.from, { numbers: false, late });
  }
  return mount.type === "cache" ? undefined : step.context();
}

function targetOf({ stage }: Step, target: string): string {
  const cwd = stage.draft.config.WorkingDir || "/";
  const path = cleanPath(target.startsWith("/") ? target : `/${cwd}/${target}`);
  if (path === "/") throw invalid(`invalid mount target ${quote(path)}`);
  return path;
}

function addSecret(step: Step, mount: Mount, mounts: ExecMount[], secretEnv: SecretEnv[]): void {
  const id = mount.source || mount.id || baseName(mount.target);
  step.needs("secrets", id, mount.required);
  if (mount.env !== undefined) secretEnv.push({ name: mount.env || id, id, required: mount.required });
  if (mount.env !== undefined && mount.target === "") return;
  mounts.push({
    type: "secret",
    target: targetOf(step, mount.target === "" ? `/run/secrets/${baseName(id)}` : mount.target),
    id,
    required: mount.required,
    mode: mount.mode ?? 0o400,
    uid: mount.uid ?? 0,
    gid: mount.gid ?? 0,
  });
}

function addAgent(step: Step, mount: Mount, mounts: ExecMount[], agents: string[]): void {
  const id = mount.id === "" ? "default" : mount.id;
  step.needs("agents", id, mount.required);
  const target = targetOf(step, mount.target === "" ? `/run/buildkit/ssh_agent.${agents.length}` : mount.target);
  agents.push(target);
  mounts.push({
    type: "ssh",
    target,
    id,
    required: mount.required,
    mode: mount.mode ?? 0o600,
    uid: mount.uid ?? 0,
    gid: mount.gid ?? 0,
  });
}

function baseName(path: string): string {
  return cleanPath(path).split("/").at(-1) ?? "";
}
