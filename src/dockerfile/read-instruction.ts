import { readDevice } from "./device.ts";
import { readFlags } from "./flags.ts";
import { trimSpace } from "./go-text.ts";
import { readHealthcheck } from "./healthcheck.ts";
import type {
  ArgInstruction,
  CommandLine,
  IncludeInstruction,
  Instruction,
  NamedValue,
  RunInstruction,
  Stage,
} from "./instruction.ts";
import { mountFrom } from "./mount.ts";
import type { Node } from "./node.ts";
import { invalid } from "./source.ts";
import { withSuggestion } from "./suggest.ts";
import { readAdd, readCopy } from "./transfer.ts";

const STAGE_NAME = /^[a-z][a-z0-9-_.]*$/;
const CONTEXT_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
const NO_TRIGGERS: ReadonlySet<string> = new Set(["MAINTAINER", "FROM", "INCLUDE"]);

type Written = "name" | "code" | "range" | "comments";
type Read = (node: Node) => Omit<Instruction, Written> & { readonly kind: Instruction["kind"] };

const READ: ReadonlyMap<string, Read> = new Map<string, Read>([
  ["add", readAdd],
  ["arg", readArg],
  ["cmd", (node) => ({ kind: "cmd", ...noFlags(node), command: commandLine(node) })],
  ["copy", readCopy],
  ["entrypoint", (node) => ({ kind: "entrypoint", ...noFlags(node), command: commandLine(node) })],
  ["env", (node) => ({ kind: "env", ...noFlags(node), pairs: pairs("ENV", node) })],
  ["expose", readExpose],
  ["healthcheck", (node) => ({ kind: "healthcheck", check: readHealthcheck(node) })],
  ["label", (node) => ({ kind: "label", ...noFlags(node), pairs: pairs("LABEL", node) })],
  ["maintainer", (node) => ({ kind: "maintainer", maintainer: onlyArgument("MAINTAINER", node), ...noFlags(node) })],
  ["onbuild", readOnbuild],
  ["run", readRun],
  ["shell", readShell],
  ["stopsignal", (node) => ({ kind: "stopsignal", signal: onlyArgument("STOPSIGNAL", node) })],
  ["user", (node) => ({ kind: "user", user: onlyArgument("USER", node), ...noFlags(node) })],
  ["volume", readVolume],
  ["workdir", (node) => ({ kind: "workdir", path: onlyArgument("WORKDIR", node), ...noFlags(node) })],
]);
const NAMES: readonly string[] = [...READ.keys(), "from", "include"].map((name) => name.toUpperCase()).sort();

/** A node understood. Throws `invalid` in BuildKit's words; of FROM and INCLUDE see `readFrom` and `readInclude`. */
export function readInstruction(node: Node): Instruction {
  const read = READ.get(node.name.toLowerCase());
  if (read === undefined) {
    throw invalid(
      withSuggestion(`unknown instruction: ${node.name}`, node.name, NAMES, {
        caseSensitive: false,
      }),
    );
  }
  return { ...read(node), ...writtenOf(node) } as Instruction;
}

export function readFrom(node: Node): Omit<Stage, "instructions"> {
  const [base, as, written] = node.args;
  let name = "";
  if (node.args.length === 3 && as?.toLowerCase() === "as") {
    name = (written ?? "").toLowerCase();
    if (!STAGE_NAME.test(name)) {
      throw invalid(
        `invalid name for build stage: ${JSON.stringify(written)}, name can't start with a number or contain symbols`,
      );
    }
  } else if (node.args.length !== 1) throw invalid("FROM requires either one or three arguments");
  const { platform } = readFlags(node.flags, { platform: "text" });
  return {
    name,
    base: base ?? "",
    platform: platform === "" ? undefined : platform,
    written: { from: node.name, as: as ?? "", name: written ?? "" },
    code: trimSpace(node.original),
    range: node.range,
    comments: node.comments,
    description: descriptionOf(node.comments, name),
  };
}

export function readInclude(node: Node): IncludeInstruction {
  readFlags(node.flags, {});
  const [what = "", as, written] = node.args;
  if (node.args.length !== 1 && !(node.args.length === 3 && as?.toLowerCase() === "as")) {
    throw invalid("INCLUDE requires a context and its Dockerfile, and may have AS and a prefix");
  }
  if (what.includes("$")) throw invalid("variable expansion is not supported for INCLUDE");
  const slash = what.indexOf("/");
  const context = slash < 0 ? what : what.slice(0, slash);
  const path = slash < 0 ? "Dockerfile" : what.slice(slash + 1);
  if (!CONTEXT_NAME.test(context) || path === "" || path.split("/").includes("..")) {
    throw invalid(`INCLUDE requires <context>[/path/of/Dockerfile], not ${JSON.stringify(what)}`);
  }
  const prefix = (written ?? "").toLowerCase();
  if (written !== undefined && !STAGE_NAME.test(prefix)) {
    throw invalid(`invalid prefix for included stages: ${JSON.stringify(written)}`);
  }
  return { kind: "include", context, path, prefix, ...writtenOf(node) };
}

/** The comment that begins with a name, without it. */
function descriptionOf(comments: readonly string[], name: string): string {
  if (name === "") return "";
  return comments.find((comment) => comment.startsWith(`${name} `))?.slice(name.length + 1) ?? "";
}

function writtenOf(node: Node) {
  return { name: node.name, code: trimSpace(node.original), range: node.range, comments: node.comments };
}

function noFlags(node: Node): Record<never, never> {
  return readFlags(node.flags, {});
}

function onlyArgument(instruction: string, node: Node): string {
  const [argument] = node.args;
  if (argument === undefined || node.args.length > 1) throw invalid(`${instruction} requires exactly one argument`);
  return argument;
}

function pairs(instruction: string, node: Node): NamedValue[] {
  if (node.args.length === 0) throw invalid(`${instruction} requires at least one argument`);
  const result: NamedValue[] = [];
  for (let at = 0; at < node.args.length; at += 3) {
    const [name = "", value = "", separator] = node.args.slice(at, at + 3);
    if (name === "") throw invalid(`${instruction} names can not be blank`);
    result.push({ name, value, legacy: separator === "" });
  }
  return result;
}

function commandLine(node: Node): CommandLine {
  if (node.json) return { words: node.args, shell: false };
  // An instruction without arguments is the shell with an empty line.
  return { words: node.args.length === 0 ? [] : [node.args.join(" ")], shell: true };
}

function readArg(node: Node): Omit<ArgInstruction, Written> {
  if (node.args.length === 0) throw invalid("ARG requires at least one argument");
  const args = node.args.map((word) => {
    const equals = word.indexOf("=");
    if (equals === 0) throw invalid("ARG names can not be blank");
    const name = equals < 0 ? word : word.slice(0, equals);
    const value = equals < 0 ? undefined : word.slice(equals + 1);
    return { name, value, description: descriptionOf(node.comments, name) };
  });
  return { kind: "arg", args };
}

function readExpose(node: Node) {
  if (node.args.length === 0) throw invalid("EXPOSE requires at least one argument");
  return { kind: "expose" as const, ...noFlags(node), ports: node.args.toSorted() };
}

function readVolume(node: Node) {
  if (node.args.length === 0) throw invalid("VOLUME requires at least one argument");
  const paths = node.args.map(trimSpace);
  if (paths.includes("")) throw invalid("VOLUME specified can not be an empty string");
  return { kind: "volume" as const, ...noFlags(node), paths };
}

function readShell(node: Node) {
  noFlags(node);
  if (node.args.length === 0) throw invalid("SHELL requires at least one argument");
  if (!node.json) throw invalid("SHELL requires the arguments to be in JSON form");
  return { kind: "shell" as const, shell: node.args };
}

function readRun(node: Node): Omit<RunInstruction, Written> {
  const flags = readFlags(node.flags, { mount: "texts", network: "text", security: "text", device: "texts" });
  const network = flags.network ?? "default";
  if (network !== "default" && network !== "none" && network !== "host") {
    throw invalid(`invalid network mode ${JSON.stringify(network)}`);
  }
  const security = flags.security ?? "sandbox";
  if (security !== "sandbox" && security !== "insecure") {
    throw invalid(`security ${JSON.stringify(security)} is not valid`);
  }
  for (const mount of flags.mount) mountFrom(mount);
  const devices = flags.device.map(readDevice);
  const { heredocs } = node;
  return { kind: "run", command: commandLine(node), heredocs, mounts: flags.mount, devices, network, security };
}

function readOnbuild(node: Node) {
  noFlags(node);
  if (node.trigger === undefined) throw invalid("ONBUILD requires at least one argument");
  const trigger = node.trigger.name.toUpperCase();
  if (trigger === "ONBUILD") throw invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (NO_TRIGGERS.has(trigger)) throw invalid(`${trigger} isn't allowed as an ONBUILD trigger`);
  const line = node.original.replace(/^\s*ONBUILD\s*/i, "");
  const documents = node.heredocs.map((heredoc) => `\n${heredoc.content}${heredoc.name}`);
  return { kind: "onbuild" as const, expression: line + documents.join("") };
}
