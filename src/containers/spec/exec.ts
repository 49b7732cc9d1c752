import type { ContainerConfig, ExecConfig, HostConfig } from "../../api/container.ts";
import type { SpecProcess } from "../../oci/runtime-spec.ts";
import { checkArgumentList } from "./argument-list.ts";
import { hostFacts } from "./host.ts";
import { rereadUlimits } from "./ulimits.ts";
import { resolveUser } from "./user.ts";

export interface ExecInput {
  /** The process of the container's own spec. */
  readonly own: SpecProcess;
  readonly config: ExecConfig;
  readonly container: { readonly config: ContainerConfig; readonly hostConfig: HostConfig };
  readonly rootfs: string;
  readonly size: readonly [number, number] | undefined;
}

/**
 * A further process: the container's own limits and confinement with its own user, folder and variables. What a
 * container's first process may not do, this one may not either, unless it is privileged by its own word.
 */
export function execProcess(input: ExecInput): SpecProcess {
  const { own, config, container } = input;
  const spec = config.User === "" ? container.config.User : config.User;
  const user = resolveUser(input.rootfs, spec, container.hostConfig.GroupAdd ?? []);
  const all = hostFacts().capabilities as string[];
  const privileged = config.Privileged && !container.hostConfig.Privileged;
  const [rows, columns] = input.size ?? [0, 0];
  const isRoot = user.uid === 0;
  const caps = privileged ? { bounding: all, effective: all, permitted: all } : own.capabilities;
  const process: SpecProcess = {
    ...own,
    terminal: config.Tty,
    consoleSize: config.Tty && rows > 0 && columns > 0 ? { height: rows, width: columns } : undefined,
    user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
    args: config.Cmd ?? [],
    env: environment(input, user.home),
    rlimits: rereadUlimits(own.rlimits ?? []),
    cwd: config.WorkingDir === "" ? own.cwd : config.WorkingDir,
    capabilities: {
      bounding: caps?.bounding ?? [],
      // A user other than root starts with none in force; files' capabilities may raise what the bounding set has.
      effective: isRoot ? (caps?.bounding ?? []) : [],
      permitted: isRoot ? (caps?.bounding ?? []) : [],
      inheritable: [],
      ambient: [],
    },
  };
  checkArgumentList(process, "exec");
  return process;
}

/** Later entries win, so each name stands once. */
function environment(input: ExecInput, home: string): string[] {
  const { own, config, container } = input;
  const entries = new Map<string, string>();
  const put = (entry: string) => entries.set(entry.split("=", 1)[0] ?? "", entry);
  for (const entry of own.env) put(entry);
  if (!(container.config.Env ?? []).some((entry) => entry.startsWith("HOME="))) put(`HOME=${home}`);
  if (config.Tty && !entries.has("TERM")) put("TERM=xterm");
  for (const entry of config.Env ?? []) {
    if (entry.includes("=")) put(entry);
    else entries.delete(entry);
  }
  return [...entries.values()];
}
