import { GantryError } from "../../base/errors.ts";
import { parseBool } from "../../base/parse-bool.ts";
import type { SourceOp } from "../../buildkit/operations.ts";
import type { Platform } from "../../oci/image.ts";
import { formatReference, parseNormalized, tagNameOnly } from "../../oci/reference.ts";
import type { BuildRequest } from "../builder.ts";
import type { GitOperation, HttpOperation, LocalOperation, Operation } from "../graph.ts";
import { imageOrigin } from "../plan/sources.ts";
import type { OriginImage } from "../plan/stage-state.ts";
import type { PlanPorts } from "../plan/types.ts";
import { withoutPassword } from "../shown-address.ts";
import type { PlannedRoot } from "./planned-root.ts";
import { unsupported } from "./refuse.ts";

export interface SourceSurroundings {
  readonly ports: Pick<PlanPorts, "resolveBase" | "resolveLayout">;
  readonly request: BuildRequest;
  readonly signal: AbortSignal;
  readonly platform: Platform;
}

type Attributes = Readonly<Record<string, string>>;

/** Another build's result, by its token. */
export const RESULT_SCHEME = "gantry-result://";
const TRANSPORT = /^(?:https?|ssh|git):\/\/|^[A-Za-z0-9_]+@[A-Za-z0-9.-]+:/;
/** What says how a source is to be brought, or counted, and changes nothing of what comes. */
const WITHOUT_MEANING: ReadonlySet<string> = new Set([
  "image.recordtype",
  "local.differ",
  "local.sharedkeyhint",
  "local.unique",
  "git.mountsshsock",
]);

/** The root that a source is. What of it can't be is refused by its name. */
export async function sourceRoot(
  { attrs, identifier }: SourceOp,
  name: string,
  surroundings: SourceSurroundings,
): Promise<PlannedRoot> {
  const scheme = /^[a-z+-]+:\/\//.exec(identifier)?.[0] ?? "";
  const rest = identifier.slice(scheme.length);
  const given = new SourceAttributes(attrs);
  switch (scheme) {
    case "docker-image://":
      return done(given, identifier, await imageRoot(rest, given, name, surroundings));
    case "oci-layout://":
      return done(given, identifier, await layoutRoot(rest, given, name, surroundings));
    case RESULT_SCHEME:
      return done(given, identifier, await resultRoot(rest, name, surroundings));
    case "git://":
      return done(given, identifier, folderRoot(gitOperation(rest, given), identifier, name, surroundings));
    case "http://":
    case "https://":
      return done(given, identifier, folderRoot(httpOperation(identifier, given), identifier, name, surroundings));
    case "local://":
      return done(
        given,
        identifier,
        folderRoot(localOperation(rest, given, surroundings), identifier, name, surroundings),
      );
    default:
      throw unsupported(`the source ${JSON.stringify(withoutPassword(identifier).slice(0, 200))} is of no known kind`);
  }
}

/** The operation of a source that is a folder, for who asks what it is; undefined of others. */
export function folderOperation({ attrs, identifier }: SourceOp): GitOperation | HttpOperation | undefined {
  const given = new SourceAttributes(attrs);
  const isGit = identifier.startsWith("git://");
  if (!isGit && !/^https?:\/\//.test(identifier)) return undefined;
  const operation = isGit ? gitOperation(identifier.slice("git://".length), given) : httpOperation(identifier, given);
  given.refuseRest(identifier);
  return operation;
}

async function imageRoot(
  text: string,
  given: SourceAttributes,
  name: string,
  { platform, ports, request }: SourceSurroundings,
): Promise<PlannedRoot> {
  const reference = formatReference(tagNameOnly(parseNormalized(text)));
  const pull = pulls(given.take("image.resolvemode")) || request.pull;
  const resolved = await ports.resolveBase(reference, platform, { pull });
  const base = { reference: resolved.reference, id: resolved.id };
  const operation = { kind: "image", reference, id: resolved.id, platform } as const;
  const title = name || `docker-image://${resolved.reference}`;
  const { image, root } = imageOrigin(operation, title, resolved.config, platform, base);
  return onImage(root, image!);
}

/** Whether an image is asked for at its registry though it is here. */
export function pulls(mode: string | undefined): boolean {
  if (mode === undefined || mode === "" || mode === "default" || mode === "local") return false;
  if (mode === "pull") return true;
  throw new GantryError("invalid", `invalid image resolve mode ${JSON.stringify(mode.slice(0, 100))}`);
}

async function layoutRoot(
  text: string,
  given: SourceAttributes,
  name: string,
  { platform, ports, request }: SourceSurroundings,
): Promise<PlannedRoot> {
  ownSession(given.take("oci.session"), request);
  const resolved = await ports.resolveLayout(layoutName(text, given.take("oci.store")), platform);
  const operation = { kind: "layout", store: resolved.store, digest: resolved.digest, platform } as const;
  const title = name || `oci-layout://${text}`;
  const { image, root } = imageOrigin(operation, title, resolved.config, platform, undefined);
  return onImage(root, image!);
}

/** A layout by the session's name of its store, where that isn't the layout's own. */
export function layoutName(text: string, store: string | undefined): string {
  const at = text.lastIndexOf("@");
  const name = store || (at < 0 ? text : text.slice(0, at)).split("/").at(-1)!;
  return at < 0 ? name : `${name}${text.slice(at)}`;
}

async function resultRoot(
  input: string,
  name: string,
  { platform, request, signal }: SourceSurroundings,
): Promise<PlannedRoot> {
  const build = request.inputs?.get(input);
  if (build === undefined) throw new GantryError("not-found", "the build whose result is asked for has ended");
  const { key, root, target } = await build.made(platform, signal);
  const operation = { kind: "result", input, platform: target.platform, key: key ?? "" } as const;
  const { image } = imageOrigin(operation, name, target.config, platform, target.base);
  const rows = target.history.map(({ vertex, ...row }) => (vertex === undefined ? row : { ...row, emptyLayer: false }));
  const vertex = { operation, inputs: [], name: name || "a result", stage: "", site: "result" };
  return onImage(root === undefined ? undefined : vertex, { ...image!, history: rows }, root?.folder !== undefined);
}

function onImage(vertex: PlannedRoot["vertex"], image: OriginImage, isFolder = false): PlannedRoot {
  return { vertex, platform: image.platform, isFolder, image };
}

function folderRoot(
  operation: Operation,
  identifier: string,
  name: string,
  { platform }: SourceSurroundings,
): PlannedRoot {
  const shown = withoutPassword(identifier);
  const vertex = { operation, inputs: [], name: name || shown, stage: "", site: `definition/${shown}` };
  return { vertex, platform, isFolder: true };
}

/** What of it git could take for something else is refused where it is used. */
function gitOperation(text: string, given: SourceAttributes): GitOperation {
  const [address = "", fragment = ""] = text.split(/#(.*)/s);
  const [ref = "", subdir = ""] = fragment.split(/:(.*)/s);
  const full = given.take("git.fullurl") ?? address;
  const remote = TRANSPORT.test(full) ? full : `https://${full}`;
  const checksum = given.take("git.checksum");
  const token = given.take("git.authtokensecret");
  const header = given.take("git.authheadersecret");
  const knownHosts = given.take("git.knownsshhosts");
  const times = given.take("git.mtime");
  return {
    kind: "git",
    remote,
    ref,
    subdir,
    keepGitDir: given.take("git.keepgitdir") === "true",
    ...(checksum && { checksum }),
    ...(given.take("git.skipsubmodules") === "true" && { skipSubmodules: true as const }),
    ...(times === "commit" && { commitTimes: true as const }),
    ...(given.take("git.fetchbycommit") === "true" && { fetchByCommit: true as const }),
    ...((token || header) && { secrets: { ...(token && { token }), ...(header && { header }) } }),
    ...(knownHosts && { knownHosts }),
  };
}

function httpOperation(url: string, given: SourceAttributes): HttpOperation {
  if (!URL.canParse(url)) throw new GantryError("invalid", `invalid URL ${shown(url)}`);
  const checksum = given.take("http.checksum");
  const filename = given.take("http.filename");
  if (filename !== undefined && (/[/\0]/.test(filename) || filename === "." || filename === "..")) {
    throw new GantryError("invalid", `invalid file name ${JSON.stringify(filename.slice(0, 200))}`);
  }
  const mode = given.take("http.perm");
  if (mode !== undefined && !/^0?o?[0-7]{1,4}$/.test(mode))
    throw new GantryError("invalid", `invalid mode ${mode.slice(0, 20)}`);
  const uid = idOf(given.take("http.uid"));
  const gid = idOf(given.take("http.gid"));
  return {
    kind: "http",
    url,
    ...(checksum && { checksum }),
    ...(filename && { filename }),
    ...(mode !== undefined && { mode: Number.parseInt(mode.replace("o", ""), 8) }),
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
  };
}

function idOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const id = Number(text);
  if (!/^\d{1,10}$/.test(text) || id > 2 ** 32 - 2) throw new GantryError("invalid", `invalid id ${text.slice(0, 20)}`);
  return id;
}

function localOperation(name: string, given: SourceAttributes, { request }: SourceSurroundings): LocalOperation {
  ownSession(given.take("local.session"), request);
  const include = patterns(given.take("local.includepattern"), name);
  if (include.length > 0) throw unsupported(`include patterns of the folder ${JSON.stringify(name.slice(0, 100))}`);
  const followPaths = patterns(given.take("local.followpaths"), name);
  return {
    kind: "local",
    name,
    exclude: patterns(given.take("local.excludepatterns"), name),
    followPaths: followPaths.length === 0 ? undefined : followPaths,
  };
}

/** A list as JSON. */
function patterns(json: string | undefined, folder: string): readonly string[] {
  if (json === undefined || json === "") return [];
  let list: unknown;
  try {
    list = JSON.parse(json);
  } catch {
    list = undefined;
  }
  if (list === null) return [];
  if (Array.isArray(list) && list.every((one) => typeof one === "string")) return list as string[];
  throw new GantryError("invalid", `the patterns of the folder ${JSON.stringify(folder.slice(0, 100))} are no list`);
}

/** Folders of others' sessions are theirs. */
function ownSession(id: string | undefined, { session }: BuildRequest): void {
  if (id === undefined || id === "" || id === session?.id) return;
  throw unsupported("a source of another session than the build's own");
}

/** Attributes, each to be asked for: what nobody asks for is refused. */
class SourceAttributes {
  readonly #rows: Map<string, string>;

  constructor(attributes: Attributes) {
    this.#rows = new Map(Object.entries(attributes).filter(([key]) => !WITHOUT_MEANING.has(key)));
  }

  take(key: string): string | undefined {
    const value = this.#rows.get(key);
    this.#rows.delete(key);
    return value;
  }

  /** Of a switch that has one position here. */
  only(key: string, position: "true" | "false"): void {
    const value = this.#rows.get(key);
    if (value === "" || (value !== undefined && String(parseBool(value)) === position)) this.#rows.delete(key);
  }

  refuseRest(identifier: string): void {
    const [rest] = this.#rows.keys();
    if (rest !== undefined) throw unsupported(`${rest.slice(0, 100)} of the source ${shown(identifier)}`);
  }
}

function done(given: SourceAttributes, identifier: string, root: PlannedRoot): PlannedRoot {
  given.refuseRest(identifier);
  return root;
}

function shown(address: string): string {
  return JSON.stringify(withoutPassword(address).slice(0, 200));
}
