import { GantryError } from "../../base/errors.ts";
import { ANONYMOUS } from "../../remote/credentials.ts";
import type { BuildOutput, BuildRequest, CacheReference, ContextSource } from "../builder.ts";
import type { LowLevelDefinition } from "../definition/definition.ts";
import { parseGitUrl } from "../git-url.ts";
import type { BuildInput } from "../made.ts";
import type { ClientSession } from "./client-session.ts";
import { type FrontendOptions, isOwnClient, prefixed, readOptions } from "./options.ts";
import { SharedSession } from "./shared-session.ts";

/** What a client asks for, whichever of BuildKit's ways it took. */
export interface Asked {
  readonly id: string;
  readonly session: ClientSession | undefined;
  /** Others' sessions that the options name, by their ids. */
  readonly others: ReadonlyMap<string, ClientSession>;
  readonly frontend: string;
  readonly options: FrontendOptions;
  /** Results of other builds, by what named contexts call them. */
  readonly inputs?: ReadonlyMap<string, BuildInput>;
  /** What is to be built where no frontend says it. */
  readonly definition?: LowLevelDefinition;
  /** A question of the client's own. */
  readonly isInternal?: boolean;
  readonly exporters: readonly Named[];
  readonly cacheExports: readonly Named[];
  readonly cacheImports: readonly Named[];
  readonly entitlements: readonly string[];
  /** The archive that comes with the request, where the context is one. */
  readonly archive?: AsyncIterable<Uint8Array>;
  readonly credentialsOf?: BuildRequest["credentialsOf"];
  readonly origin: BuildRequest["origin"];
  readonly signal: AbortSignal;
}

export interface Named {
  readonly type: string;
  readonly attributes: FrontendOptions;
}

/** Under this host a client has what it was given on its standard input. */
const UPLOADS = "buildkit-session";
/** What clients call results that take the place of a build's own folders. */
const CONTEXT_INPUT = "context";
const DOCKERFILE_INPUT = "dockerfile";
const OWN_SYNTAX = /^(?:docker\.io\/)?docker\/dockerfile(?:-upstream)?(?:[:@]|$)/;
const OUTPUTS: ReadonlySet<string> = new Set(["image", "registry", "local", "tar", "oci", "docker", "cacheonly"]);
const CACHES: ReadonlySet<string> = new Set(["inline", "local", "registry"]);
/** What is the client's own, as where it puts a result, and what is always so: ids and digests are told both. */
const WITHOUT_MEANING: ReadonlySet<string> = new Set([
  "context",
  "dest",
  "load",
  "prefer-image-digest",
  "buildinfo",
  "buildinfo-attrs",
]);

/** The request in the builder's terms. Throws `invalid` or `unsupported`, naming what it is about. */
export function buildRequest(asked: Asked): BuildRequest {
  const { options } = asked;
  refuseFrontend(asked);
  const session = sessionOf(asked);
  const parts = readOptions(options);
  return {
    id: asked.id,
    session,
    ...parts,
    options,
    ...filesOf(asked),
    ...(asked.inputs !== undefined && { inputs: asked.inputs }),
    ...(asked.definition !== undefined && { definition: asked.definition }),
    ...(asked.isInternal === true && { isInternal: true }),
    entitlements: asked.entitlements.map(entitlement),
    outputs: parts.call === "build" ? asked.exporters.map(readOutput) : [],
    cacheFrom: readImports(asked),
    cacheTo: asked.cacheExports.map((one) => readCache(one, "cannot export the cache")),
    credentialsOf:
      asked.credentialsOf ??
      (async (registry) => (session === undefined ? ANONYMOUS : session.credentials(registry, asked.signal))),
    origin: isOwnClient(options) ? "gantry" : asked.origin,
  };
}

/** Ids of sessions by which other folders than the build's own come. */
export function otherSessions(options: FrontendOptions): string[] {
  return prefixed(options, "local-sessionid:").map(([, id]) => id);
}

function refuseFrontend({ definition, frontend, options }: Asked): void {
  if (definition !== undefined) return;
  if (frontend === "dockerfile.v0") return;
  if (frontend === "gateway.v0") {
    const source = options.source ?? "";
    // What is built here is the language of its newest version.
    if (OWN_SYNTAX.test(source)) return;
    const text = `frontend ${JSON.stringify(source)} is not supported: only Dockerfiles are built here (docker/dockerfile)`;
    throw new GantryError("unsupported", text);
  }
  throw new GantryError("unsupported", `frontend ${JSON.stringify(frontend)} is not supported: only dockerfile.v0 is`);
}

function sessionOf({ session, others, options }: Asked): BuildRequest["session"] {
  if (session === undefined) return undefined;
  const folders = new Map(
    prefixed(options, "local-sessionid:").flatMap(([name, id]) => {
      const other = others.get(id);
      return other === undefined ? [] : [[name, other] as const];
    }),
  );
  const sharedKey = session.sharedKey || options["sharedkey:localdir:context"] || "";
  return new SharedSession(session, folders, sharedKey);
}

function filesOf(asked: Asked): Pick<BuildRequest, "context" | "dockerfile" | "dockerfileSource"> {
  const { inputs, options, session } = asked;
  if (asked.definition !== undefined) {
    const context: ContextSource = session === undefined ? { type: "none" } : { type: "session", name: "context" };
    return { context, dockerfile: { text: "" } };
  }
  const name = options.contextkey || "context";
  const context = contextOf(asked, name);
  const dockerfile = { path: options.filename || "Dockerfile" };
  const isInput = context.type === "input" || context.type === "session";
  if (isInput && options.dockerfilekey === undefined && inputs?.has(DOCKERFILE_INPUT) === true) {
    return { context, dockerfile, dockerfileSource: { type: "input", input: DOCKERFILE_INPUT } };
  }
  const elsewhere = options.dockerfilekey || (isInput ? "dockerfile" : "");
  if (elsewhere === "") return { context, dockerfile };
  return { context, dockerfile, dockerfileSource: { type: "session", name: elsewhere } };
}

function contextOf(asked: Asked, name: string): ContextSource {
  const { archive, options, session, signal } = asked;
  const subdir = options.contextsubdir ?? "";
  const remote = options[name] ?? "";
  const source = ((): ContextSource => {
    if (archive !== undefined) return { type: "archive", bytes: archive };
    if (remote === "" && asked.inputs?.has(CONTEXT_INPUT) === true) return { type: "input", input: CONTEXT_INPUT };
    if (remote === "") return session === undefined ? { type: "none" } : { type: "session", name };
    if (parseGitUrl(remote) !== undefined) return { type: "git", url: withSubdir(remote, subdir) };
    if (!/^https?:\/\//.test(remote)) return { type: "session", name };
    const url = new URL(remote);
    if (url.host !== UPLOADS) return { type: "http", url: remote };
    if (session === undefined) throw new GantryError("invalid", "the context is the client's, which has no session");
    return { type: "archive", bytes: session.upload(url, signal) };
  })();
  if (subdir !== "" && source.type !== "git") {
    throw new GantryError(
      "unsupported",
      `contextsubdir=${subdir} is not supported for a context that is no git repository`,
    );
  }
  return source;
}

/** `<repository>#<ref>:<folder>`. */
function withSubdir(url: string, subdir: string): string {
  if (subdir === "") return url;
  const [repository = "", fragment = ""] = url.split("#", 2);
  if (fragment.includes(":")) return url;
  return `${repository}#${fragment}:${subdir}`;
}

function entitlement(name: string): string {
  if (name === "network.host" || name === "security.insecure") return name;
  throw new GantryError("unsupported", `unknown entitlement ${name}`);
}

function readOutput({ type, attributes }: Named): BuildOutput {
  const name = type === "moby" ? "image" : type;
  if (!OUTPUTS.has(name)) throw new GantryError("invalid", `exporter ${JSON.stringify(type)} could not be found`);
  const kept = Object.entries(attributes).filter(([key]) => !WITHOUT_MEANING.has(key));
  return { type: name as BuildOutput["type"], attributes: new Map(kept) };
}

function readImports({ cacheImports, options }: Asked): readonly CacheReference[] {
  const given = [...cacheImports, ...importsOf(options["cache-imports"] ?? "")];
  for (const ref of (options["cache-from"] ?? "").split(",")) {
    if (ref !== "") given.push({ type: "registry", attributes: { ref } });
  }
  const known = new Map(given.map((one) => [JSON.stringify([one.type, Object.entries(one.attributes).sort()]), one]));
  return [...known.values()].map((one) => readCache(one, "cannot import a cache"));
}

function importsOf(json: string): Named[] {
  if (json === "") return [];
  const refuse = () =>
    new GantryError("invalid", `failed to unmarshal cache-imports (${JSON.stringify(json.slice(0, 500))})`);
  let rows: unknown;
  try {
    rows = JSON.parse(json);
  } catch {
    throw refuse();
  }
  if (!Array.isArray(rows)) throw refuse();
  return rows.map((row: { Type?: unknown; Attrs?: unknown } | null) => {
    const attributes = row?.Attrs ?? {};
    if (typeof row?.Type !== "string" || typeof attributes !== "object") throw refuse();
    if (!Object.values(attributes).every((value) => typeof value === "string")) throw refuse();
    return { type: row.Type, attributes: attributes as FrontendOptions };
  });
}

function readCache({ type, attributes }: Named, what: string): CacheReference {
  if (!CACHES.has(type)) {
    const text = `${what} of type ${JSON.stringify(type)}: known are ${[...CACHES].join(", ")}`;
    throw new GantryError("unsupported", text);
  }
  return { type: type as CacheReference["type"], attributes: new Map(Object.entries(attributes)) };
}
