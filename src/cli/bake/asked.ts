import { existsSync } from "node:fs";
import type { BakeTarget } from "../../bake/bake.ts";
import { type Entry, placeOf, type Target } from "../../bake/target.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import { parseBool } from "../../base/parse-bool.ts";
import { ramInBytes } from "../../base/units.ts";
import type { Asked } from "../build/asked.ts";
import { callOf } from "../build/call.ts";

/** What a target is built with besides what it says. */
export interface Around {
  /** The images of the targets that it takes as contexts, by the contexts' names. */
  readonly images: ReadonlyMap<string, string>;
  /** Another one takes it as a context, so its image has to be here. */
  readonly isNeeded: boolean;
  /** What of the machine it may use. */
  readonly allowed: readonly string[];
  /** The repository that the definition came from; its folders are meant by relative paths. */
  readonly remote: string | undefined;
}

/** A target in the words of `build`. */
export function askedByTarget(name: string, { target, linked }: BakeTarget, around: Around): Asked {
  const rows = (map: Readonly<Record<string, string>> | undefined): string[] =>
    Object.entries(map ?? {}).map(([key, value]) => `${key}=${value}`);
  const entries = (list: readonly Entry[] | undefined): string[] => (list ?? []).map(csvOf);
  const contexts = Object.entries(target.contexts ?? {}).map(([context, place]) => {
    const image = around.images.get(context);
    return `${context}=${image === undefined ? contextOf(place, around.remote) : `docker-image://${image}`}`;
  });
  const outputs = linked ? [] : entries(target.output);
  if (target.context === "-") throw new GantryError("invalid", "context from stdin not allowed in bake");
  if (target.dockerfile === "-") throw new GantryError("invalid", "dockerfile from stdin not allowed in bake");
  return {
    context: contextOf(target.context ?? ".", around.remote),
    file: dockerfileOf(target, around.remote),
    ...(target["dockerfile-inline"] !== undefined && { inline: target["dockerfile-inline"] }),
    target: target.target ?? "",
    tags: linked ? [] : (target.tags ?? []),
    platforms: target.platforms ?? [],
    buildArgs: rows(target.args),
    labels: rows(target.labels),
    annotations: target.annotations ?? [],
    contexts,
    outputs:
      around.isNeeded && outputs.length > 0 && !outputs.some((output) => /(^|,)type=(image|docker)(,|$)/.test(output))
        ? [...outputs, "type=image"]
        : outputs,
    cacheFrom: entries(target["cache-from"]),
    cacheTo: entries(target["cache-to"]),
    secrets: entries(target.secret),
    ssh: (target.ssh ?? []).map(({ id = "default", paths }) => (paths === undefined ? id : `${id}=${paths}`)),
    attest: entries(target.attest?.map(switched)),
    hosts: rows(target["extra-hosts"]),
    ulimits: target.ulimits ?? [],
    allow: around.allowed,
    noCache: target["no-cache"] ?? false,
    noCacheFilter: target["no-cache-filter"] ?? [],
    pull: target.pull ?? false,
    push: false,
    load: false,
    network: target.network ?? "default",
    shmSize: bytesOf(name, target["shm-size"]),
    cgroupParent: "",
    call: callOf(target.call ?? "build").name,
    explain: false,
    keepFailed: false,
    squash: false,
    deny: [],
    limits: new Map(),
  };
}

/** `cwd://` is here; of a definition from elsewhere, a relative path is there. */
function contextOf(context: string, remote: string | undefined): string {
  if (remote === undefined || context.startsWith("cwd://") || !isPath(context)) return placeOf(context);
  return subfolderOf(remote, placeOf(context));
}

/** False for what has a place of its own: a repository, an image, another target. */
export function isPath(context: string): boolean {
  return (
    context.startsWith("cwd://") ||
    !/^(?:[a-z][a-z0-9+.-]*:\/\/|git@|github\.com\/|target:|docker-image:)/.test(context)
  );
}

/** A folder of a repository: what stands behind its branch's colon, or a query. */
function subfolderOf(remote: string, folder: string): string {
  if (folder === "." || folder === "") return remote;
  const [, address = remote, branch = "", former = ""] = /^([^#]*)(?:#([^:]*)(?::(.*))?)?$/.exec(remote) ?? [];
  return `${address}#${branch}:${former === "" ? folder : `${former.replace(/\/$/, "")}/${folder}`}`;
}

/** A Dockerfile's path is relative to its context; a context elsewhere looks for it itself. */
function dockerfileOf({ context = ".", dockerfile = "Dockerfile" }: Target, remote: string | undefined): string {
  if (dockerfile === "Dockerfile" || dockerfile.startsWith("/")) return dockerfile === "Dockerfile" ? "" : dockerfile;
  if (dockerfile.startsWith("cwd://")) return dockerfile.slice("cwd://".length);
  const place = placeOf(context);
  return (remote === undefined || context.startsWith("cwd://")) && existsSync(place)
    ? `${place}/${dockerfile}`
    : dockerfile;
}

function switched({ disabled = "false", ...entry }: Entry): Entry {
  return parseBool(disabled) === true ? { ...entry, disabled: "true" } : entry;
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
