import { constants } from "node:os";
import { posix } from "node:path";
import { GantryError } from "../base/errors.ts";
import {
  expand,
  expandWords,
  jsonWords,
  namedValues,
  plainWords,
  quotedWords,
  type Variables,
} from "./dockerfile-words.ts";
import { exposedPorts } from "./exposed-port.ts";
import type { ImageProcess } from "./image.ts";

/**
 * Applies the instructions of `docker import --change` and `docker commit --change` to a config, in order, and gives
 * a new one. Each text is one or more lines of a Dockerfile. Refused with `invalid` and Docker's texts.
 */
export function applyChanges(config: ImageProcess, changes: readonly string[]): ImageProcess {
  const next: Draft = { ...config };
  const state = { cmdSet: false };
  const lines = instructionLines(changes.join("\n"));
  for (const { name } of lines) {
    if (!(name.toUpperCase() in APPLY)) throw invalid(`${name} is not a valid change command`);
  }
  for (const { name, text } of lines) APPLY[name.toUpperCase() as keyof typeof APPLY](next, text, state);
  return next;
}

type Draft = { -readonly [Key in keyof ImageProcess]: ImageProcess[Key] };

interface State {
  /** A CMD among these changes outlives a later ENTRYPOINT; an inherited one does not. */
  cmdSet: boolean;
}

const DEFAULT_SHELL = ["/bin/sh", "-c"];
const TRIGGERS_REFUSED = new Set(["FROM", "MAINTAINER"]);

const APPLY = {
  CMD: (draft: Draft, text: string, state: State) => {
    draft.Cmd = commandLine(draft, text, false);
    state.cmdSet = true;
  },
  ENTRYPOINT: (draft: Draft, text: string, state: State) => {
    draft.Entrypoint = commandLine(draft, text, true);
    if (!state.cmdSet) draft.Cmd = null;
  },
  ENV: (draft: Draft, text: string) => {
    const variables = variablesOf(draft);
    const env = [...(draft.Env ?? [])];
    for (const [name, value] of namedValues("ENV", text)) {
      const key = expand(name, variables);
      const row = `${key}=${expand(value, variables)}`;
      const at = env.findIndex((old) => old.split("=", 1)[0] === key);
      if (at < 0) env.push(row);
      else env[at] = row;
    }
    draft.Env = env;
  },
  EXPOSE: (draft: Draft, text: string) => {
    const variables = variablesOf(draft);
    const words = plainWords(text);
    if (words.length === 0) throw invalid("EXPOSE requires at least one argument");
    const ports = { ...draft.ExposedPorts };
    for (const word of words) {
      for (const spec of expandWords(word, variables)) for (const port of exposedPorts(spec)) ports[port] = {};
    }
    draft.ExposedPorts = ports;
  },
  HEALTHCHECK: (draft: Draft, text: string) => {
    draft.Healthcheck = healthcheck(text);
  },
  LABEL: (draft: Draft, text: string) => {
    const variables = variablesOf(draft);
    // A null prototype keeps a label named __proto__ a label.
    const labels: Record<string, string> = Object.assign(Object.create(null), draft.Labels);
    for (const [name, value] of namedValues("LABEL", text)) labels[expand(name, variables)] = expand(value, variables);
    draft.Labels = labels;
  },
  ONBUILD: (draft: Draft, text: string) => {
    const trigger = (text.split(/\s/, 1)[0] ?? "").toUpperCase();
    if (trigger === "") throw invalid("ONBUILD requires at least one argument");
    if (trigger === "ONBUILD") throw invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    if (TRIGGERS_REFUSED.has(trigger)) throw invalid(`${trigger} isn't allowed as an ONBUILD trigger`);
    draft.OnBuild = [...(draft.OnBuild ?? []), text];
  },
  STOPSIGNAL: (draft: Draft, text: string) => {
    const signal = expand(oneArgument("STOPSIGNAL", text), variablesOf(draft));
    if (!isSignal(signal)) throw invalid(`invalid signal: ${signal}`);
    draft.StopSignal = signal;
  },
  USER: (draft: Draft, text: string) => {
    draft.User = expand(oneArgument("USER", text), variablesOf(draft));
  },
  VOLUME: (draft: Draft, text: string) => {
    const variables = variablesOf(draft);
    const paths = jsonWords(text) ?? plainWords(text);
    if (paths.length === 0) throw invalid("VOLUME requires at least one argument");
    const volumes = { ...draft.Volumes };
    for (const path of paths) {
      const target = expand(path, variables).trim();
      if (target === "") throw invalid("VOLUME specified can not be an empty string");
      volumes[target] = {};
    }
    draft.Volumes = volumes;
  },
  WORKDIR: (draft: Draft, text: string) => {
    const path = expand(oneArgument("WORKDIR", text), variablesOf(draft));
    if (path === "") throw invalid("cannot normalize nothing");
    draft.WorkingDir = posix.resolve("/", draft.WorkingDir ?? "", path);
  },
} as const;

function commandLine(draft: Draft, text: string, emptyIsNull: boolean): string[] | null {
  const words = jsonWords(text);
  if (words !== undefined) return words.length === 0 && emptyIsNull ? null : words;
  if (text === "") return emptyIsNull ? null : [...(draft.Shell ?? DEFAULT_SHELL)];
  return [...(draft.Shell ?? DEFAULT_SHELL), text];
}

function oneArgument(instruction: string, text: string): string {
  if (text === "") throw invalid(`${instruction} requires exactly one argument`);
  return text;
}

function variablesOf(draft: Draft): Variables {
  return new Map(
    (draft.Env ?? []).map((row) => {
      const equals = row.indexOf("=");
      return equals < 0 ? [row, ""] : [row.slice(0, equals), row.slice(equals + 1)];
    }),
  );
}

/** The instructions of a text, continued lines joined and comments left out. */
function instructionLines(text: string): { readonly name: string; readonly text: string }[] {
  const instructions: { name: string; text: string }[] = [];
  let joined = "";
  const flush = (): void => {
    const [, name = "", rest = ""] = /^(\S+)\s*([\s\S]*)$/.exec(joined.trim()) ?? [];
    if (name !== "") instructions.push({ name, text: rest });
    joined = "";
  };
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*#/.test(line) || (joined !== "" && line.trim() === "")) continue;
    const continued = /\\[ \t]*$/.test(line);
    joined += continued ? line.replace(/\\[ \t]*$/, "") : line;
    if (!continued) flush();
  }
  flush();
  return instructions;
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};
const HEALTH_FLAGS: Readonly<Record<string, "Interval" | "Timeout" | "StartPeriod" | "StartInterval">> = {
  interval: "Interval",
  timeout: "Timeout",
  "start-period": "StartPeriod",
  "start-interval": "StartInterval",
};

function healthcheck(text: string): NonNullable<ImageProcess["Healthcheck"]> {
  const check: NonNullable<ImageProcess["Healthcheck"]> = {};
  let rest = text;
  for (let flag = /^--(\S+)\s*/.exec(rest); flag !== null; flag = /^--(\S+)\s*/.exec(rest)) {
    setHealthFlag(check, flag[1] ?? "");
    rest = rest.slice(flag[0].length);
  }
  const [, type = "", command = ""] = /^(\S+)\s*([\s\S]*)$/.exec(rest) ?? [];
  if (type === "") throw invalid("HEALTHCHECK requires at least one argument");
  if (type.toUpperCase() === "NONE") {
    if (command !== "") throw invalid("HEALTHCHECK NONE takes no arguments");
    return { Test: ["NONE"] };
  }
  if (type.toUpperCase() !== "CMD") throw invalid(`Unknown type ${JSON.stringify(type)} in HEALTHCHECK (try CMD)`);
  if (command === "") throw invalid("Missing command after HEALTHCHECK CMD");
  const words = jsonWords(command);
  return { ...check, Test: words === undefined ? ["CMD-SHELL", command] : ["CMD", ...words] };
}

function setHealthFlag(check: NonNullable<ImageProcess["Healthcheck"]>, text: string): void {
  const [flag = "", value = ""] = quotedWords(text)[0]?.split(/=(.*)/s) ?? [];
  if (flag === "retries") {
    if (!/^\d+$/.test(value)) throw invalid(`strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`);
    check.Retries = Number(value);
    return;
  }
  const field = HEALTH_FLAGS[flag];
  if (field === undefined) throw invalid(`unknown flag: ${flag}`);
  check[field] = nanoseconds(value);
  if (check[field] < 1e6) throw invalid(`Interval ${JSON.stringify(flag)} cannot be less than 1ms`);
}

function nanoseconds(text: string): number {
  if (!/^(?:\d+\.?\d*(?:ns|us|µs|ms|s|m|h))+$/.test(text)) {
    throw invalid(`time: invalid duration ${JSON.stringify(text)}`);
  }
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+\.?\d*)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(amount) * (DURATION_UNITS[unit ?? ""] ?? 0);
  }
  return Math.trunc(total);
}

function isSignal(text: string): boolean {
  if (/^\d+$/.test(text)) return Number(text) >= 1 && Number(text) <= 64;
  const name = text.toUpperCase().replace(/^SIG/, "");
  if (`SIG${name}` in constants.signals) return true;
  const [, edge, offset = "0"] = /^RT(MIN|MAX)(?:[+-](\d+))?$/.exec(name) ?? [];
  return edge !== undefined && Number(offset) <= 30;
}

function invalid(message: string): GantryError {
  return new GantryError("invalid", message);
}
