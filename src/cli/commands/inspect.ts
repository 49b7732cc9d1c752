import { messageOf } from "../../base/errors.ts";
import { EngineError } from "../../client/client.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { indentJson } from "../output/indent.ts";
import { complain, print } from "../output/print.ts";
import { segment } from "./lifecycle.ts";

type Lookup = (call: Call, name: string) => Promise<string>;

async function raw(call: Call, path: string, query: Readonly<Record<string, string | boolean>> = {}): Promise<string> {
  return await (await call.client.stream("GET", path, { query })).body.text();
}

const LOOKUPS: Readonly<Record<string, Lookup>> = {
  container: (call, name) => raw(call, `/containers/${segment(name)}/json`, { size: call.flags.bool("size") }),
  image: (call, name) => raw(call, `/images/${segment(name)}/json`),
  network: (call, name) => raw(call, `/networks/${segment(name)}`, { verbose: call.flags.bool("verbose") }),
  volume: (call, name) => raw(call, `/volumes/${segment(name)}`),
};

const KNOWN_TYPES = [
  "config",
  "container",
  "image",
  "network",
  "node",
  "plugin",
  "secret",
  "service",
  "task",
  "volume",
];

const anyKind: Lookup = async (call, name) => {
  const type = call.flags.text("type");
  for (const [kind, lookup] of Object.entries(LOOKUPS)) {
    if (type !== "" && type !== kind) continue;
    try {
      return await lookup(call, name);
    } catch (error) {
      const absent = error instanceof EngineError && (error.status === 404 || error.status === 501);
      if (!absent || (type !== "" && error.status !== 404)) throw error;
    }
  }
  throw new Error(type === "" ? `Error: No such object: ${name}` : `Error: No such ${type}: ${name}`);
};

const FORMAT = textFlag("f,format", "Format output with a Go template or 'json'");
const SIZE = boolFlag("s,size", "Display total file sizes");

export const inspect: Command = {
  usage: "[OPTIONS] NAME|ID [NAME|ID...]",
  args: { rule: "at-least", count: 1 },
  flags: [FORMAT, SIZE, textFlag("type", "Only look for objects of this type")],
  async run(call) {
    const type = call.flags.text("type");
    if (call.flags.changed("type") && !KNOWN_TYPES.includes(type)) {
      const list = KNOWN_TYPES.map((name) => `"${name}"`).join(", ");
      throw new ExitError(1, `unknown type: ${JSON.stringify(type)}: must be one of ${list}`);
    }
    return await inspectAll(call, anyKind);
  },
};

function ofKind(kind: string, flags: Command["flags"]): Command {
  const name = kind.toUpperCase();
  return {
    usage: `[OPTIONS] ${name} [${name}...]`,
    args: { rule: "at-least", count: 1 },
    flags: [FORMAT, ...flags],
    run: (call) => inspectAll(call, LOOKUPS[kind] ?? anyKind),
  };
}

export const inspectContainers = ofKind("container", [SIZE]);
export const inspectImages = ofKind("image", []);
export const inspectNetworks = ofKind("network", [boolFlag("v,verbose", "Verbose output for diagnostics")]);
export const inspectVolumes = ofKind("volume", []);

async function inspectAll(call: Call, lookup: Lookup): Promise<number> {
  const format = call.flags.text("format");
  const show = format === "" || format === "json" ? undefined : await templateFor(format);
  const found: string[] = [];
  const complaints: string[] = [];
  for (const name of call.args) {
    let text: string;
    try {
      text = await lookup(call, name);
    } catch (error) {
      complaints.push(errorLine(error));
      continue;
    }
    if (show === undefined) found.push(text.trim());
    else print(`${show(JSON.parse(text))}\n`);
  }
  const all = `[${found.join(",")}]`;
  if (format === "json") print(`[${found.join(",")}]\n`);
  else if (show === undefined) print(`${indentJson(all, "    ")}\n`);
  for (const text of complaints) complain(text);
  return complaints.length > 0 ? 1 : 0;
}

/** Fields that the engine leaves out of its JSON when they are empty, and what they then are. */
const LEFT_OUT: Readonly<Record<string, unknown>> = {
  Health: null,
  Healthcheck: null,
  SizeRw: null,
  SizeRootFs: null,
  Init: null,
  StopTimeout: null,
  ExposedPorts: null,
  Shell: null,
  Tmpfs: null,
  Sysctls: null,
  Annotations: null,
  StorageOpt: null,
  Mounts: null,
  UsageData: null,
  Status: null,
  StopSignal: "",
  MacAddress: "",
  Runtime: "",
  Variant: "",
  OsVersion: "",
  Parent: "",
  Author: "",
};

async function templateFor(format: string): Promise<(data: unknown) => string> {
  const { compileTemplate } = await import("../../base/template/evaluate.ts");
  const missing = (record: Readonly<Record<string, unknown>>, field: string): unknown => {
    if (Object.hasOwn(LEFT_OUT, field)) return LEFT_OUT[field];
    // Go's names of fields, as templates are often written with, differ from JSON's only in case: ID and Id.
    const key = Object.keys(record).find((name) => name.toLowerCase() === field.toLowerCase());
    if (key !== undefined) return record[key];
    // In a map that users fill, such as labels, a missing key is no mistake.
    if (Object.keys(record).some((name) => !/^[A-Z]/.test(name)) || Object.keys(record).length === 0) return undefined;
    throw new Error(`map has no entry for key ${JSON.stringify(field)}`);
  };
  let template: (data: unknown) => string;
  try {
    template = compileTemplate(format, { missing });
  } catch (error) {
    throw new ExitError(64, `template parsing error: ${messageOf(error)}`);
  }
  return (data) => {
    try {
      return template(data);
    } catch (error) {
      throw new ExitError(1, `template parsing error: template: :1: executing "" at <${format}>: ${messageOf(error)}`);
    }
  };
}
