import { formatDuration } from "../base/duration.ts";
import { exposedPorts } from "../oci/exposed-port.ts";
import type { ImageProcess } from "../oci/image.ts";
import { cleanPath, quote, trimSpace } from "./go-text.ts";
import type { CommandLine, Healthcheck, Instruction, NamedValue } from "./instruction.ts";
import { isSignal } from "./signals.ts";
import { invalid } from "./source.ts";

/** An image's config while instructions change it in place. Its lists and maps are its own. */
export interface ConfigDraft {
  readonly config: { -readonly [Key in keyof ImageProcess]: ImageProcess[Key] };
  /** Where each variable is in `config.Env`. */
  readonly places: Map<string, number>;
  author: string | undefined;
  /** A CMD of this stage outlives a later ENTRYPOINT; an inherited one does not. */
  cmdSet: boolean;
}

/** A draft that begins as a config is, which stays as it is. */
export function draftOf(config: ImageProcess, author?: string): ConfigDraft {
  const env = [...(config.Env ?? [])];
  return {
    config: {
      ...config,
      ...(config.Env != null && { Env: env }),
      ...(config.ExposedPorts != null && { ExposedPorts: named(config.ExposedPorts) }),
      ...(config.Volumes != null && { Volumes: named(config.Volumes) }),
      ...(config.Labels != null && { Labels: named(config.Labels) }),
      ...(config.OnBuild != null && { OnBuild: [...config.OnBuild] }),
    },
    places: new Map(env.map((row, index) => [nameOf(row), index])),
    author,
    cmdSet: false,
  };
}

/** Sets one variable, in its place if it has one. */
export function setVariable({ config, places }: ConfigDraft, name: string, value: string): void {
  config.Env ??= [];
  const at = places.get(name) ?? config.Env.length;
  config.Env[at] = `${name}=${value}`;
  places.set(name, at);
}

/** A copy whose keys may be the name of any property: a label named `__proto__` is a label. */
function named<T>(map: Record<string, T>): Record<string, T> {
  return Object.assign(Object.create(null), map);
}

/** Puts variables into arguments. */
export interface Expander {
  text(text: string): string;
  words(text: string): readonly string[];
}

/** Instructions that change nothing but the config. */
export type ConfigInstruction = Exclude<Instruction, { kind: "add" | "arg" | "copy" | "run" }>;

const DEFAULT_SHELL: readonly string[] = ["/bin/sh", "-c"];

type Effects = {
  readonly [Kind in ConfigInstruction["kind"]]: (
    draft: ConfigDraft,
    instruction: Extract<ConfigInstruction, { kind: Kind }>,
    expander: Expander,
  ) => string | undefined;
};

const EFFECTS: Effects = {
  cmd: (draft, { command }) => {
    draft.config.Cmd = withShell(draft.config, command);
    draft.cmdSet = true;
    return `CMD [${draft.config.Cmd.map(quote).join(" ")}]`;
  },
  entrypoint: (draft, { command }) => {
    const args = withShell(draft.config, command);
    draft.config.Entrypoint = args.length === 0 ? null : args;
    if (!draft.cmdSet) draft.config.Cmd = null;
    return `ENTRYPOINT [${args.map(quote).join(" ")}]`;
  },
  env: (draft, { pairs }, expander) => {
    const expanded = expandPairs(pairs, expander);
    for (const { name, value } of expanded) setVariable(draft, name, value);
    return `ENV ${pairsText(expanded)}`;
  },
  expose: ({ config }, { ports }, expander) => {
    const keys = ports.flatMap((port) => expander.words(port)).flatMap(exposedPorts);
    config.ExposedPorts ??= named({});
    for (const key of keys) config.ExposedPorts[key] = {};
    return `EXPOSE [${keys.join(" ")}]`;
  },
  healthcheck: ({ config }, { check }) => {
    config.Healthcheck = check;
    return `HEALTHCHECK ${healthcheckText(check)}`;
  },
  label: ({ config }, { pairs }, expander) => {
    const expanded = expandPairs(pairs, expander);
    config.Labels ??= named({});
    for (const { name, value } of expanded) config.Labels[name] = value;
    return `LABEL ${pairsText(expanded)}`;
  },
  maintainer: (draft, { maintainer }) => {
    draft.author = maintainer;
    return `MAINTAINER ${maintainer}`;
  },
  onbuild: ({ config }, { expression }) => {
    config.OnBuild ??= [];
    config.OnBuild.push(expression);
    return undefined;
  },
  shell: ({ config }, { shell }) => {
    config.Shell = [...shell];
    return `SHELL [${shell.join(" ")}]`;
  },
  stopsignal: ({ config }, instruction, expander) => {
    const signal = expander.text(instruction.signal);
    if (!isSignal(signal)) throw invalid(`invalid signal: ${signal}`);
    config.StopSignal = signal;
    return `STOPSIGNAL ${signal}`;
  },
  user: ({ config }, instruction, expander) => {
    config.User = expander.text(instruction.user);
    return `USER ${config.User}`;
  },
  volume: ({ config }, instruction, expander) => {
    const paths = instruction.paths.map((path) => trimSpace(expander.text(path)));
    if (paths.includes("")) throw invalid("VOLUME specified can not be an empty string");
    config.Volumes ??= named({});
    for (const path of paths) config.Volumes[path] = {};
    return `VOLUME [${paths.join(" ")}]`;
  },
  workdir: ({ config }, instruction, expander) => {
    config.WorkingDir = workdirBelow(config.WorkingDir ?? "", expander.text(instruction.path));
    return `WORKDIR ${config.WorkingDir}`;
  },
};

/**
 * Changes the draft as the instruction says, and gives the row of the image's history (`created_by`) in BuildKit's
 * words; undefined where there is none. Throws `invalid`.
 */
export function applyToConfig(
  draft: ConfigDraft,
  instruction: ConfigInstruction,
  expander: Expander,
): string | undefined {
  const effect = EFFECTS[instruction.kind] as (
    draft: ConfigDraft,
    instruction: ConfigInstruction,
    expander: Expander,
  ) => string | undefined;
  return effect(draft, instruction, expander);
}

/** The words of a command: a shell's with the line behind it, or its own. */
export function withShell(config: ImageProcess, { words, shell }: CommandLine): string[] {
  if (!shell) return [...words];
  const own = config.Shell == null || config.Shell.length === 0 ? DEFAULT_SHELL : config.Shell;
  return [...own, words.join(" ")];
}

/** An absolute path stays as it is written; another one is below the working folder. */
function workdirBelow(current: string, path: string): string {
  const parent = current.startsWith("/") ? current : cleanPath(`/${current}`);
  if (path === "") return parent;
  return path.startsWith("/") ? path : cleanPath(`${parent}/${path}`);
}

/** Variables of `NAME=value` rows. */
export function variablesOf(env: readonly string[] | null | undefined): Map<string, string> {
  return new Map(
    (env ?? []).map((row) => {
      const name = nameOf(row);
      return [name, row.slice(name.length + 1)];
    }),
  );
}

function nameOf(row: string): string {
  const equals = row.indexOf("=");
  return equals < 0 ? row : row.slice(0, equals);
}

function expandPairs(pairs: readonly NamedValue[], expander: Expander): { name: string; value: string }[] {
  return pairs.map(({ name, value }) => ({ name: expander.text(name), value: expander.text(value) }));
}

function pairsText(pairs: readonly { readonly name: string; readonly value: string }[]): string {
  return pairs.map(({ name, value }) => `${name}=${value}`).join(" ");
}

function healthcheckText(check: Healthcheck): string {
  const { Test = [], Interval = 0, Timeout = 0, StartPeriod = 0, StartInterval = 0, Retries = 0 } = check;
  const times = { Interval, Timeout, StartPeriod, StartInterval };
  const rows = Object.entries(times).map(([name, nanoseconds]) => `${name}:${formatDuration(nanoseconds)}`);
  return `{Test:[${Test.join(" ")}] ${rows.join(" ")} Retries:${Retries}}`;
}
