import { randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import {
  type Bake,
  type BakeSurroundings,
  type BakeTarget,
  readBake,
  readDefinition,
  showBake,
} from "../../bake/bake.ts";
import type { Entry, Target } from "../../bake/target.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import { ramInBytes } from "../../base/units.ts";
import type { Asked } from "../build/asked.ts";
import { bakeSurroundings, readBakeFiles } from "../bake/files.ts";
import { toldAsBuild } from "../build/failure.ts";
import { PROGRESS_FLAGS, progressOf } from "../build/flags.ts";
import { untilInterrupted } from "../build/interrupt.ts";
import { type Built, metadataOf, type RunOptions, runBuild } from "../build/run.ts";
import type { Call, Command } from "../command.ts";
import { boolFlag, listFlag, textFlag } from "../flags/spec.ts";
import { print } from "../output/print.ts";
import { aligned } from "../output/table.ts";
import { STDIN } from "./build.ts";

export const bake: Command = {
  usage: "[OPTIONS] [TARGET...]",
  args: { rule: "at-least", count: 0 },
  flags: [
    listFlag("allow", "Allow build to access specified resources"),
    textFlag("call", "Set method for evaluating build (check, outline, targets)", { initial: "build" }),
    boolFlag("check", "Shorthand for --call=check"),
    boolFlag("debug", "Show warnings with the lines they are about"),
    listFlag("f,file", "Build definition file"),
    textFlag("list", "List targets or variables"),
    boolFlag("load", "Shorthand for --set=*.output=type=docker"),
    boolFlag("no-cache", "Do not use cache when building the image"),
    boolFlag("print", "Print the options without building"),
    textFlag("provenance", "Shorthand for --set=*.attest=type=provenance", { bare: "true" }),
    boolFlag("pull", "Always attempt to pull all referenced images"),
    boolFlag("push", "Shorthand for --set=*.output=type=registry"),
    textFlag("sbom", "Shorthand for --set=*.attest=type=sbom", { bare: "true" }),
    listFlag("set", 'Override target value (e.g., "targetpattern.key=value")'),
    listFlag("var", "Set a variable value (name=value)"),
    ...PROGRESS_FLAGS,
  ],
  run: (call) => toldAsBuild(() => runBake(call)),
};

async function runBake(call: Call): Promise<number> {
  const { flags } = call;
  if (flags.changed("list")) return list(call);
  const read = bakeOf(call);
  if (flags.bool("print")) {
    print(showBake(read));
    return 0;
  }
  return await buildAll(call, read);
}

function bakeOf({ flags, args }: Call): Bake {
  return readBake(readBakeFiles(flags.list("file")), {
    ...surroundingsOf({ flags }),
    names: args,
    overrides: [...flags.list("set"), ...shorthands({ flags })],
  });
}

function surroundingsOf({ flags }: Pick<Call, "flags">): BakeSurroundings {
  const given = Object.fromEntries(
    flags.list("var").map((row) => [row.split("=")[0]!, row.slice(row.indexOf("=") + 1)]),
  );
  return bakeSurroundings({ ...process.env, ...given });
}

function shorthands({ flags }: Pick<Call, "flags">): string[] {
  const attest = (type: "provenance" | "sbom"): string[] => {
    if (!flags.changed(type)) return [];
    const value = flags.text(type);
    return [`*.attest=type=${type}${value === "true" ? "" : value === "false" ? ",disabled=true" : `,${value}`}`];
  };
  return [
    ...(flags.bool("push") ? ["*.push=true"] : []),
    ...(flags.bool("load") ? ["*.load=true"] : []),
    ...(flags.bool("no-cache") ? ["*.no-cache=true"] : []),
    ...(flags.bool("pull") ? ["*.pull=true"] : []),
    ...attest("provenance"),
    ...attest("sbom"),
  ];
}

/** Needs no target of a name: it is for those who don't know one yet. */
function list({ flags }: Call): number {
  const what = flags.text("list");
  if (what !== "targets" && what !== "variables") {
    throw new GantryError("invalid", `cannot list ${JSON.stringify(what)}: there are targets and variables`);
  }
  const definition = readDefinition(readBakeFiles(flags.list("file")), surroundingsOf({ flags }));
  const rows =
    what === "variables"
      ? definition.variables.map(({ name, value, description = "" }) => [
          name,
          value === null ? "<null>" : String(value),
          description,
        ])
      : [
          ...[...definition.targets].map(([name, { own }]) => [name, own.description ?? ""]),
          ...[...definition.groups].map(([name, { targets, description }]) => [
            name,
            description ?? targets.join(", "),
          ]),
        ].sort(([a = ""], [b = ""]) => (a < b ? -1 : 1));
  const head = what === "variables" ? ["VARIABLE", "VALUE", "DESCRIPTION"] : ["TARGET", "DESCRIPTION"];
  print(aligned([head, ...rows], { minWidth: 10, padding: 3 }));
  return 0;
}

/** Targets that others take as a context come first; their images are that context. The rest is built side by side. */
async function buildAll(call: Call, { targets }: Bake): Promise<number> {
  using interrupt = untilInterrupted();
  const { flags } = call;
  const options: RunOptions = {
    progress: targets.size > 1 && progressOf(flags) === "auto" ? "plain" : progressOf(flags),
    signal: interrupt.signal,
    verbose: flags.bool("debug"),
  };
  const builds = new Map<string, Promise<Built>>();
  const needed = new Set(
    [...targets.values()].flatMap(({ target }) =>
      Object.values(target.contexts ?? {})
        .filter(isTarget)
        .map(targetIn),
    ),
  );
  // Names by which others find their images, until all is built.
  const run = randomBytes(6).toString("hex");
  const temporary = new Map([...needed].map((name) => [name, `gantry-bake-${run}/${name.toLowerCase()}:latest`]));
  for (const [name, one] of targets) {
    const before = Object.entries(one.target.contexts ?? {}).filter(([, place]) => isTarget(place));
    const start = async (): Promise<Built> => {
      const images = new Map<string, string>();
      for (const [context, place] of before) {
        await builds.get(targetIn(place));
        images.set(context, temporary.get(targetIn(place))!);
      }
      const asked = askedByTarget(call, name, one, images, needed.has(name));
      const tag = temporary.get(name);
      const tags = tag === undefined ? asked.tags : [...asked.tags, tag];
      return await runBuild(call, { ...asked, tags }, STDIN, options);
    };
    const built = start();
    built.catch(() => {});
    builds.set(name, built);
  }
  const done = new Map<string, Built>();
  try {
    for (const [name, built] of builds) done.set(name, await built);
  } finally {
    await Promise.allSettled(builds.values());
    for (const tag of temporary.values()) await forget(call, tag);
  }
  const file = flags.text("metadata-file");
  if (file !== "") writeFileSync(file, metadataOfAll(done));
  return 0;
}

/** The image stays where it has another name, or belongs to the cache. */
async function forget(call: Call, tag: string): Promise<void> {
  await call.client.done("DELETE", `/images/${tag}`, { query: { noprune: true } }).catch(() => {});
}

const isTarget = (place: string): boolean => place.startsWith("target:");
const targetIn = (place: string): string => place.slice("target:".length);

function metadataOfAll(done: ReadonlyMap<string, Built>): string {
  const rows = [...done].map(([name, built]) => [name, JSON.parse(metadataOf(built)) as unknown]);
  return `${JSON.stringify(Object.fromEntries(rows), undefined, 2)}\n`;
}

/** A target in the words of `build`. `isNeeded`: another one takes it as a context, so its image has to be here. */
function askedByTarget(
  { flags }: Call,
  name: string,
  { target, linked }: BakeTarget,
  images: ReadonlyMap<string, string>,
  isNeeded: boolean,
): Asked {
  const rows = (map: Readonly<Record<string, string>> | undefined): string[] =>
    Object.entries(map ?? {}).map(([key, value]) => `${key}=${value}`);
  const entries = (list: readonly Entry[] | undefined): string[] => (list ?? []).map(csvOf);
  const contexts = Object.entries(target.contexts ?? {}).map(([context, place]) => {
    const image = images.get(context);
    return `${context}=${image === undefined ? place : `docker-image://${image}`}`;
  });
  const outputs = linked ? [] : entries(target.output);
  return {
    context: (target.context ?? ".").replace(/^cwd:\/\//, "") || ".",
    file: dockerfileOf(target),
    ...(target["dockerfile-inline"] !== undefined && { inline: target["dockerfile-inline"] }),
    target: target.target ?? "",
    tags: linked ? [] : (target.tags ?? []),
    platforms: target.platforms ?? [],
    buildArgs: rows(target.args),
    labels: rows(target.labels),
    annotations: target.annotations ?? [],
    contexts,
    outputs:
      isNeeded && outputs.length > 0 && !outputs.some((output) => /(^|,)type=(image|docker)(,|$)/.test(output))
        ? [...outputs, "type=image"]
        : outputs,
    cacheFrom: entries(target["cache-from"]),
    cacheTo: entries(target["cache-to"]),
    secrets: entries(target.secret),
    ssh: (target.ssh ?? []).map(({ id = "default", paths }) => (paths === undefined ? id : `${id}=${paths}`)),
    attest: entries(target.attest),
    hosts: rows(target["extra-hosts"]),
    ulimits: target.ulimits ?? [],
    allow: [...(target.entitlements ?? []), ...flags.list("allow").filter((one) => !one.startsWith("fs"))],
    noCache: target["no-cache"] ?? false,
    noCacheFilter: target["no-cache-filter"] ?? [],
    pull: target.pull ?? false,
    push: false,
    load: false,
    network: target.network ?? "default",
    shmSize: bytesOf(name, target["shm-size"]),
    cgroupParent: "",
    call: flags.bool("check") ? "check" : ((target.call ?? flags.text("call")) as Asked["call"]),
    explain: false,
    keepFailed: false,
    squash: false,
    deny: [],
    limits: new Map(),
  };
}

/** A Dockerfile's path is relative to its context; a context elsewhere looks for it itself. */
function dockerfileOf({ context = ".", dockerfile = "Dockerfile" }: Target): string {
  if (dockerfile === "Dockerfile" || dockerfile.startsWith("/")) return dockerfile === "Dockerfile" ? "" : dockerfile;
  if (dockerfile.startsWith("cwd://")) return dockerfile.slice("cwd://".length);
  return existsSync(context) ? `${context}/${dockerfile}` : dockerfile;
}

function csvOf(entry: Entry): string {
  return Object.entries(entry)
    .map(([key, value]) => (/[",\n]/.test(value) ? `"${`${key}=${value}`.replaceAll('"', '""')}"` : `${key}=${value}`))
    .join(",");
}

function bytesOf(name: string, text: string | undefined): number {
  if (text === undefined) return 0;
  try {
    return ramInBytes(text);
  } catch (error) {
    throw new GantryError("invalid", `shm-size of target ${name}: ${messageOf(error)}`);
  }
}
