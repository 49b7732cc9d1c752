import { createReadStream, existsSync, openSync, readFileSync, statSync } from "node:fs";
import { csvFields } from "../../base/csv.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { updateConfigFile } from "../config-file.ts";
import {
  type ContextEndpoint,
  type ContextMeta,
  ContextStore,
  checkContextName,
  type TlsFiles,
} from "../contexts/store.ts";
import { defaultHost } from "../default-host.ts";
import { boolFlag, mapFlag, textFlag } from "../flags/spec.ts";
import { printListing } from "../output/format.ts";
import { escapedJson } from "../output/json.ts";
import { complain, printLine } from "../output/print.ts";
import { FORMAT_USAGE } from "../output/text.ts";
import { fromEnvironment } from "../settings.ts";
import { copyBody } from "../streams/copy.ts";
import { isTerminal } from "../streams/terminal.ts";

const DESCRIPTION = "Current DOCKER_HOST based configuration";
const ENDPOINT_KEYS = ["from", "host", "ca", "cert", "key", "skip-tls-verify"];

const DOCKER_FLAG = mapFlag("docker", "Set the docker endpoint: from, host, ca, cert, key, skip-tls-verify", {
  type: "string",
  check: (value) => {
    for (const field of csvFields(value)) {
      if (!field.includes("=")) throw new Error(`${field} must be formatted as key=value`);
    }
    return value;
  },
  shownDefault: "",
});

function storeOf(call: Call): ContextStore {
  return new ContextStore(call.settings.configFolder);
}

/** What no file says: the engine of host flag and environment, as a context. */
async function defaultContext(call: Call): Promise<ContextMeta> {
  let url = fromEnvironment("HOST") ?? defaultHost();
  if (call.settings.context === "default") {
    // A host that cannot be parsed is shown as it was written.
    url = await call.settings.endpoint().then(
      (endpoint) => endpoint.url,
      () => url,
    );
  }
  return { Name: "default", Metadata: {}, Endpoints: { docker: { Host: url, SkipTLSVerify: false } } };
}

async function contextOf(call: Call, name: string): Promise<ContextMeta> {
  return name === "default" ? await defaultContext(call) : storeOf(call).read(name);
}

interface Docker {
  readonly endpoint: ContextEndpoint;
  readonly files: Readonly<Record<string, Uint8Array>>;
}

/** The endpoint of `--docker`, with the certificates it names read. */
async function dockerEndpoint(call: Call): Promise<Docker> {
  const fields = new Map<string, string>();
  for (const value of call.flags.list("docker")) {
    for (const field of csvFields(value))
      fields.set(field.slice(0, field.indexOf("=")), field.slice(field.indexOf("=") + 1));
  }
  for (const key of fields.keys()) if (!ENDPOINT_KEYS.includes(key)) throw new Error(`unrecognized config key: ${key}`);
  const from = fields.get("from");
  if (from !== undefined) {
    const endpoint = (await contextOf(call, from)).Endpoints.docker;
    if (endpoint === undefined) throw new Error(`cannot find docker endpoint in context ${JSON.stringify(from)}`);
    return { endpoint, files: from === "default" ? {} : (storeOf(call).tls(from).docker ?? {}) };
  }
  const skip = fields.get("skip-tls-verify");
  if (skip !== undefined && !/^(1|t|true|0|f|false)$/i.test(skip)) {
    throw new Error(`skip-tls-verify: strconv.ParseBool: parsing ${JSON.stringify(skip)}: invalid syntax`);
  }
  const files: Record<string, Uint8Array> = {};
  for (const key of ["ca", "cert", "key"]) {
    const path = fields.get(key);
    if (path === undefined || path === "") continue;
    try {
      files[`${key}.pem`] = readFileSync(path);
    } catch (error) {
      throw new Error(messageOf(error).replace(/^ENOENT: (.+), open '(.*)'$/, "open $2: $1"));
    }
  }
  const host = fields.get("host") ?? "";
  if (host !== "" && !/^[^:/]+:\/\/./.test(host)) {
    throw new Error(`unable to apply docker endpoint options: unable to parse docker host \`${host}\``);
  }
  const endpoint = { Host: host, SkipTLSVerify: /^(1|t|true)$/i.test(skip ?? "") };
  return { endpoint, files };
}

async function requestedEndpoint(call: Call): Promise<Docker> {
  try {
    return await dockerEndpoint(call);
  } catch (error) {
    throw new Error(`unable to create docker endpoint config: ${messageOf(error)}`);
  }
}

export const createContext: Command = {
  offline: true,
  usage: "[OPTIONS] CONTEXT",
  args: { rule: "exactly", count: 1 },
  flags: [
    textFlag("description", "Description of the context"),
    DOCKER_FLAG,
    textFlag("from", "Create the context from another one"),
  ],
  async run(call) {
    const [name = ""] = call.args;
    const store = storeOf(call);
    checkContextName(name);
    if (store.has(name)) throw new ExitError(1, `context ${JSON.stringify(name)} already exists`);
    const from = call.flags.text("from");
    if (from !== "" && call.flags.changed("docker")) throw new Error("cannot use --docker flag when --from is set");
    const description = call.flags.text("description");
    if (call.flags.changed("docker")) {
      const { endpoint, files } = await requestedEndpoint(call);
      const metadata = description === "" ? {} : { Description: description };
      store.write({ Name: name, Metadata: metadata, Endpoints: { docker: endpoint } }, tlsOf(files));
    } else {
      const source = from === "" ? call.settings.context : from;
      const base = await contextOf(call, source);
      const text = description || base.Metadata.Description || (source === "default" ? DESCRIPTION : "");
      const metadata = { ...base.Metadata, ...(text === "" ? {} : { Description: text }) };
      store.write({ ...base, Name: name, Metadata: metadata }, source === "default" ? {} : store.tls(source));
    }
    printLine(name);
    complain(`Successfully created context ${JSON.stringify(name)}`);
    return 0;
  },
};

function tlsOf(files: Readonly<Record<string, Uint8Array>>): TlsFiles {
  return Object.keys(files).length === 0 ? {} : { docker: files };
}

export const updateContext: Command = {
  offline: true,
  usage: "[OPTIONS] CONTEXT",
  args: { rule: "exactly", count: 1 },
  flags: [textFlag("description", "Description of the context"), DOCKER_FLAG],
  async run(call) {
    const [name = ""] = call.args;
    checkContextName(name);
    const store = storeOf(call);
    const old = store.read(name);
    const description = call.flags.text("description");
    const metadata = description === "" ? old.Metadata : { ...old.Metadata, Description: description };
    if (call.flags.changed("docker")) {
      const { endpoint, files } = await requestedEndpoint(call);
      store.write({ ...old, Metadata: metadata, Endpoints: { ...old.Endpoints, docker: endpoint } }, tlsOf(files));
    } else store.write({ ...old, Metadata: metadata });
    printLine(name);
    complain(`Successfully updated context ${JSON.stringify(name)}`);
    return 0;
  },
};

export const useContext: Command = {
  offline: true,
  usage: "CONTEXT",
  args: { rule: "exactly", count: 1 },
  flags: [],
  async run(call) {
    const [name = ""] = call.args;
    if (name !== "default") {
      checkContextName(name);
      storeOf(call).read(name);
    }
    const current = call.settings.config().currentContext ?? "";
    const wanted = name === "default" ? "" : name;
    if (wanted !== current) {
      updateConfigFile(call.settings.configFolder, "currentContext", wanted === "" ? undefined : wanted);
    }
    printLine(name);
    complain(`Current context is now ${JSON.stringify(name)}`);
    const variable = ["GANTRY_HOST", "DOCKER_HOST"].find((key) => (process.env[key] ?? "") !== "");
    if (name !== "default" && variable !== undefined) {
      complain(
        `Warning: ${variable} environment variable overrides the active context. To use ${JSON.stringify(name)}, either set the global --context flag, or unset ${variable} environment variable.`,
      );
    }
    return 0;
  },
};

export const showContext: Command = {
  offline: true,
  usage: "",
  args: { rule: "none" },
  flags: [],
  async run(call) {
    printLine(call.settings.context);
    return 0;
  },
};

export const removeContexts: Command = {
  offline: true,
  usage: "CONTEXT [CONTEXT...]",
  args: { rule: "at-least", count: 1 },
  flags: [boolFlag("f,force", "Remove the context even if it is in use")],
  async run(call) {
    const store = storeOf(call);
    const force = call.flags.bool("force");
    const failures: string[] = [];
    for (const name of call.args) {
      const quoted = JSON.stringify(name);
      if (name === "default") failures.push('context "default" cannot be removed');
      else if (!store.has(name) && !force) failures.push(`context ${quoted} does not exist`);
      else if (name === call.settings.context && !force) {
        failures.push(`context ${quoted} is in use, set -f flag to force remove`);
      } else {
        if (name === call.settings.config().currentContext) {
          updateConfigFile(call.settings.configFolder, "currentContext", undefined);
        }
        store.remove(name);
        printLine(name);
      }
    }
    if (failures.length > 0) throw new ExitError(1, failures.join("\n"));
    return 0;
  },
};

const HEADINGS = { Name: "NAME", Description: "DESCRIPTION", DockerEndpoint: "DOCKER ENDPOINT", Error: "ERROR" };

export const listContexts: Command = {
  offline: true,
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [textFlag("format", FORMAT_USAGE), boolFlag("q,quiet", "Only show context names")],
  async run(call) {
    const store = storeOf(call);
    const current = call.settings.context;
    const rows = [{ ...(await defaultContext(call)), Metadata: { Description: DESCRIPTION } }, ...store.list()].map(
      (context) => row(context, current),
    );
    if (current !== "default" && !store.has(current)) {
      let why = "";
      try {
        store.read(current);
      } catch (error) {
        why = messageOf(error);
      }
      rows.push({ Name: current, Description: "", DockerEndpoint: "", Current: true, Error: why });
    }
    rows.sort((a, b) => a.Name.localeCompare(b.Name, "en", { numeric: true }));
    const format = call.flags.text("format");
    const isTable = (format === "" || format === "table") && !call.flags.bool("quiet");
    await printListing({
      format,
      quiet: call.flags.bool("quiet"),
      raw: [["name", "Name"]],
      columns: ["Name", "Description", "DockerEndpoint", "Error"],
      headings: HEADINGS,
      type: "*formatter.clientContextContext",
      rows: isTable ? rows.map((entry) => ({ ...entry, Name: entry.Current ? `${entry.Name} *` : entry.Name })) : rows,
    });
    const variable = ["GANTRY_HOST", "DOCKER_HOST"].find((key) => (process.env[key] ?? "") !== "");
    if (variable !== undefined && call.settings.context === "default") {
      complain(
        `Warning: ${variable} environment variable overrides the active context. To use a context, either set the global --context flag, or unset ${variable} environment variable.`,
      );
    }
    return 0;
  },
};

function row(
  context: ContextMeta,
  current: string,
): {
  Name: string;
  Description: string;
  DockerEndpoint: string;
  Current: boolean;
  Error: string;
} {
  const docker = context.Endpoints.docker;
  return {
    Name: context.Name,
    Description: context.Metadata.Description ?? "",
    DockerEndpoint: docker?.Host ?? "",
    Current: context.Name === current,
    Error: "",
  };
}

export const inspectContexts: Command = {
  offline: true,
  usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
  args: { rule: "at-least", count: 0 },
  flags: [textFlag("f,format", "Format output with a Go template or 'json'")],
  async run(call) {
    const { inspectValues } = await import("../output/inspection.ts");
    const names = call.args.length === 0 ? [call.settings.context] : call.args;
    const lookup = async (name: string): Promise<string> => {
      const { Name, Metadata, Endpoints } = await contextOf(call, name);
      const store = storeOf(call);
      const memory = name === "default" ? "<IN MEMORY>" : undefined;
      return escapedJson({
        Name,
        Metadata,
        Endpoints,
        TLSMaterial: memory === undefined ? store.tlsNames(name) : {},
        Storage: { MetadataPath: memory ?? store.metaFolder(name), TLSPath: memory ?? store.tlsFolder(name) },
      });
    };
    const shape = { type: "context.contextWithTLSListing", leftOut: {} };
    return await inspectValues(names, lookup, call.flags.text("format"), shape);
  },
};

export const exportContext: Command = {
  offline: true,
  usage: "CONTEXT [FILE|-]",
  args: { rule: "between", count: 1, most: 2 },
  long: "Export a context to a file (CONTEXT.dockercontext unless another is named), or to standard output for `-`.",
  flags: [],
  async run(call) {
    const [name = "", target = `${call.args[0]}.dockercontext`] = call.args;
    if (name !== "default") checkContextName(name);
    const meta = await contextOf(call, name);
    const { writeContext } = await import("../contexts/archive.ts");
    const archive = writeContext(meta, name === "default" ? {} : storeOf(call).tls(name));
    if (target === "-") {
      if (isTerminal(1)) throw new Error("cowardly refusing to export to a terminal, specify a file path");
      await copyBody(archive, false);
      return 0;
    }
    let fd: number;
    try {
      fd = openSync(target, "wx", 0o600);
    } catch (error) {
      if (existsSync(target)) throw new Error(`open ${target}: file exists`);
      throw error;
    }
    await copyBody(archive, false, fd);
    complain(`Written file ${JSON.stringify(target)}`);
    return 0;
  },
};

export const importContext: Command = {
  offline: true,
  usage: "CONTEXT FILE|-",
  args: { rule: "exactly", count: 2 },
  flags: [],
  async run(call) {
    const [name = "", path = ""] = call.args;
    checkContextName(name);
    const store = storeOf(call);
    if (store.has(name)) throw new ExitError(1, `context ${JSON.stringify(name)} already exists`);
    if (path !== "-" && statSync(path, { throwIfNoEntry: false })?.isFile() !== true) {
      throw new GantryError("not-found", `open ${path}: no such file or directory`);
    }
    const { readContext } = await import("../contexts/archive.ts");
    const source = path === "-" ? process.stdin : createReadStream(path);
    const { meta, tls } = await readContext(source, name);
    store.write(meta, tls);
    printLine(name);
    complain(`Successfully imported context ${JSON.stringify(name)}`);
    return 0;
  },
};
