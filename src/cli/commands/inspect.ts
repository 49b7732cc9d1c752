import { EngineError } from "../../client/client.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { inspectValues } from "../output/inspection.ts";
import { complain } from "../output/print.ts";
import { platformJson } from "../run/platform.ts";
import { segment } from "./lifecycle.ts";

type Lookup = (call: Call, name: string) => Promise<string>;

async function raw(call: Call, path: string, query: Readonly<Record<string, string | boolean>> = {}): Promise<string> {
  return await (await call.client.stream("GET", path, { query })).body.text();
}

const LOOKUPS: Readonly<Record<string, Lookup>> = {
  container: (call, name) => raw(call, `/containers/${segment(name)}/json`, { size: call.flags.bool("size") }),
  image: async (call, name) => {
    if (name === "") throw new Error("Error: No such image: ");
    return await raw(call, `/images/${segment(name, "image")}/json`, platformQuery(call));
  },
  network: (call, name) => raw(call, `/networks/${segment(name, "network")}`, { verbose: call.flags.bool("verbose") }),
  volume: (call, name) => raw(call, `/volumes/${segment(name, "volume")}`),
};

function platformQuery(call: Call): Readonly<Record<string, string>> {
  return { platform: platformJson(call.flags.text("platform")) };
}

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
      const text = await lookup(call, name);
      if (kind !== "container" && call.flags.bool("size")) complain(`WARNING: --size ignored for ${kind}`);
      return text;
    } catch (error) {
      const absent = error instanceof EngineError && (error.status === 404 || error.status === 501);
      if (!absent || type !== "") throw error;
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
export const inspectImages = ofKind("image", [
  textFlag("platform", "Inspect this platform of the image, os[/arch[/variant]]", { since: "1.49" }),
]);
export const inspectNetworks = ofKind("network", [boolFlag("v,verbose", "Verbose output for diagnostics")]);
export const inspectVolumes = ofKind("volume", []);

const VOLUME = { type: "volume.Volume", leftOut: { Status: {}, UsageData: null, ClusterVolume: null } };

async function inspectAll(call: Call, lookup: Lookup): Promise<number> {
  const shape = lookup === LOOKUPS.volume ? VOLUME : undefined;
  return await inspectValues(call.args, (name) => lookup(call, name), call.flags.text("format"), shape);
}
