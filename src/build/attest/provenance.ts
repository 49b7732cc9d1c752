import { GantryError } from "../../base/errors.ts";
import type { Descriptor } from "../../oci/image.ts";
import { formatPlatform, hostPlatform } from "../../oci/platform.ts";
import type { BuildRequest } from "../builder.ts";
import type { Graph, Operation, Vertex } from "../graph.ts";
import type { ExportInput, SolvedTarget, UsedSource } from "../parts.ts";
import type { AttestedImage } from "../results/image-package.ts";
import { withoutPassword } from "../shown-address.ts";
import type { ProvenanceOptions } from "./options.ts";
import { imagePurl } from "./purl.ts";
import { type Claim, digestSet } from "./statement.ts";

/** What went into a build, and its digest where that is known. */
interface Material {
  readonly uri: string;
  readonly digest?: Readonly<Record<string, string>>;
}

interface Parameters {
  readonly frontend: string;
  readonly args?: Readonly<Record<string, string>>;
  readonly secrets?: readonly Demand[];
  readonly ssh?: readonly Demand[];
  readonly locals?: readonly { readonly name: string }[];
}

/** A secret or an agent, by its id alone. */
interface Demand {
  readonly id: string;
  readonly optional?: boolean;
}

interface BuildConfig {
  readonly llbDefinition: readonly { readonly id: string; readonly op: unknown; readonly inputs?: readonly string[] }[];
  readonly digestMapping: Readonly<Record<string, string>>;
}

const TYPE_V02 = "https://mobyproject.org/buildkit@v1";
const TYPE_V1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
/** What is of this machine, of its cache or of this very request, and nothing of what is built. */
const HOST_OPTIONS: ReadonlySet<string> = new Set([
  "cache-from",
  "cache-imports",
  "cgroup-parent",
  "gantry:explain",
  "gantry:keep-failed",
  "image-resolve-mode",
  "platform",
]);

/** How a result came about: SLSA provenance, in the words that BuildKit's readers know. */
export function provenanceOf(
  input: ExportInput,
  solved: SolvedTarget,
  options: ProvenanceOptions,
  finishedAt: number,
  image: AttestedImage | undefined,
): Claim {
  const { request, graph } = input;
  const isMax = options.mode === "max";
  const sources = input.sources?.() ?? [];
  const used = usedVertices(graph, solved);
  const planned = new Set(graph?.vertices.map(({ id }) => id));
  // What isn't planned here is what other builds were made of, whose results are contexts.
  const own = sources.filter(
    ({ vertex }) => used.has(vertex.id) || !planned.has(vertex.id) || isContext(vertex, request),
  );
  const materials = unique(own.flatMap(materialOf));
  const locals = localsOf(request, own);
  const args = argsOf(request);
  const vcs = takeVcs(args);
  const configSource = configSourceOf(request, own);
  const scrubbed = Object.entries(args).filter(([name]) => isMax || !/^(?:build-arg|label):/.test(name));
  const demands = isMax ? demandsOf(used) : { secrets: [], ssh: [] };
  const parameters: Parameters = {
    frontend: "dockerfile.v0",
    ...(scrubbed.length > 0 && { args: Object.fromEntries(scrubbed) }),
    ...(demands.secrets.length > 0 && { secrets: demands.secrets }),
    ...(demands.ssh.length > 0 && { ssh: demands.ssh }),
    ...(locals.length > 0 && { locals }),
  };
  const steps = [...used.values()];
  const isRemote = request.context.type === "git" || request.context.type === "http";
  const completeness = {
    parameters: scrubbed.length === Object.keys(args).length,
    materials:
      locals.length === 0 &&
      materials.every(({ digest }) => digest !== undefined) &&
      (!isRemote || "digest" in configSource),
  };
  const usesNetwork = steps.some(
    ({ operation }) => operation.kind === "exec" && networkOf(operation, request) !== "none",
  );
  const buildkit = {
    ...(Object.keys(vcs).length > 0 && { vcs }),
    ...(isMax && { source: sourceOf(input, steps) }),
    ...(isMax && image !== undefined && { layers: layersOf(solved, image, steps) }),
  };
  const config = isMax ? { buildConfig: buildConfigOf(steps) } : {};
  const facts: Facts = {
    materials,
    parameters,
    configSource,
    config,
    completeness,
    buildkit,
    hermetic: completeness.materials && !usesNetwork,
    started: rfc3339(input.startedAt ?? finishedAt),
    finished: rfc3339(finishedAt),
    id: request.id,
    options,
    entryPoint: "path" in request.dockerfile ? request.dockerfile.path : "Dockerfile",
  };
  return {
    predicateType: `https://slsa.dev/provenance/${options.version}`,
    fileName: "provenance.json",
    predicate: JSON.stringify(options.version === "v1" ? predicateV1(facts) : predicateV02(facts)),
  };
}

interface Facts {
  readonly materials: readonly Material[];
  readonly parameters: Parameters;
  readonly configSource: Partial<Material>;
  readonly config: { readonly buildConfig?: BuildConfig };
  readonly completeness: { readonly parameters: boolean; readonly materials: boolean };
  readonly buildkit: unknown;
  readonly hermetic: boolean;
  readonly started: string;
  readonly finished: string;
  readonly id: string;
  readonly options: ProvenanceOptions;
  readonly entryPoint: string;
}

function predicateV02(facts: Facts): unknown {
  const { completeness, options } = facts;
  return {
    builder: { id: options.builderId },
    buildType: TYPE_V02,
    materials: facts.materials,
    invocation: {
      configSource: { ...facts.configSource, entryPoint: facts.entryPoint },
      parameters: facts.parameters,
      environment: { platform: formatPlatform(hostPlatform()) },
    },
    ...facts.config,
    metadata: {
      buildInvocationID: facts.id,
      buildStartedOn: facts.started,
      buildFinishedOn: facts.finished,
      completeness: { parameters: completeness.parameters, environment: true, materials: completeness.materials },
      reproducible: options.reproducible,
      [`${TYPE_V02}#hermetic`]: facts.hermetic,
      [`${TYPE_V02}#metadata`]: facts.buildkit,
    },
  };
}

function predicateV1(facts: Facts): unknown {
  const { completeness, options } = facts;
  return {
    buildDefinition: {
      buildType: TYPE_V1,
      externalParameters: {
        configSource: { ...facts.configSource, path: facts.entryPoint },
        request: facts.parameters,
      },
      internalParameters: { ...facts.config, builderPlatform: formatPlatform(hostPlatform()) },
      resolvedDependencies: facts.materials,
    },
    runDetails: {
      builder: { id: options.builderId },
      metadata: {
        invocationId: facts.id,
        startedOn: facts.started,
        finishedOn: facts.finished,
        buildkit_metadata: facts.buildkit,
        buildkit_hermetic: facts.hermetic,
        buildkit_completeness: { request: completeness.parameters, resolvedDependencies: completeness.materials },
        buildkit_reproducible: options.reproducible,
      },
    },
  };
}

/** A platform's own part of the graph, by the ids of its vertices, inputs first. */
function usedVertices(graph: Graph | undefined, { target }: SolvedTarget): ReadonlyMap<string, Vertex> {
  const wanted = new Set(target.root === undefined ? [] : [target.root]);
  const vertices = graph?.vertices ?? [];
  for (const vertex of vertices.toReversed()) {
    if (wanted.has(vertex.id)) for (const input of vertex.inputs) wanted.add(input);
  }
  return new Map(vertices.filter(({ id }) => wanted.has(id)).map((vertex) => [vertex.id, vertex]));
}

/** The Dockerfile is of it, also where no step reads any other file. */
function isContext({ operation }: Vertex, request: BuildRequest): boolean {
  return operation.kind === "git" && request.context.type === "git" && request.context.url.startsWith(operation.remote);
}

function materialOf({ vertex: { operation }, digest }: UsedSource): Material[] {
  const known = digest === undefined ? {} : { digest: digestSet(digest) };
  switch (operation.kind) {
    case "image":
      return [{ uri: imagePurl(operation.reference, operation.platform), ...known }];
    case "layout":
      return [
        {
          uri: imagePurl(`${operation.store}@${operation.digest}`, operation.platform, "oci"),
          digest: digestSet(operation.digest),
        },
      ];
    case "git":
      return [{ uri: gitUri(operation), ...known }];
    case "http":
      return [{ uri: withoutPassword(operation.url), ...known }];
    default:
      return [];
  }
}

function gitUri({ ref, remote }: Extract<Operation, { kind: "git" }>): string {
  return `${withoutPassword(remote)}${ref === "" ? "" : `#${ref}`}`;
}

function unique(materials: readonly Material[]): readonly Material[] {
  return [...new Map(materials.map((material) => [JSON.stringify(material), material])).values()];
}

function localsOf(request: BuildRequest, sources: readonly UsedSource[]): readonly { readonly name: string }[] {
  const names = new Set<string>();
  // The Dockerfile is a file of one of them.
  if (request.dockerfileSource?.type === "session") names.add(request.dockerfileSource.name);
  else if (request.context.type === "session") names.add(request.context.name);
  else if (request.context.type === "archive") names.add("context");
  for (const { vertex } of sources) if (vertex.operation.kind === "local") names.add(vertex.operation.name);
  return [...names].sort().map((name) => ({ name }));
}

function configSourceOf({ context }: BuildRequest, sources: readonly UsedSource[]): Partial<Material> {
  if (context.type !== "git" && context.type !== "http") return {};
  const found = sources.find(({ vertex: { operation } }) =>
    context.type === "git"
      ? operation.kind === "git" && context.url.startsWith(operation.remote)
      : operation.kind === "http" && operation.url === context.url,
  );
  const digest = found?.digest;
  return { uri: withoutPassword(context.url), ...(digest !== undefined && { digest: digestSet(digest) }) };
}

/** What the client asked of the frontend, without what is of its machine. */
function argsOf({ options = {} }: BuildRequest): Record<string, string> {
  const context = options.contextkey || "context";
  const left = (name: string): boolean =>
    HOST_OPTIONS.has(name) ||
    name === context ||
    name === "filename" ||
    /^(?:attest|build-arg:BUILDKIT_ATTEST_|local-sessionid|sharedkey):?/.test(name);
  const kept = Object.entries(options).filter(([name]) => !left(name));
  return Object.fromEntries(
    kept.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => [name, withoutPassword(value)]),
  );
}

function takeVcs(args: Record<string, string>): Record<string, string> {
  const vcs: Record<string, string> = {};
  for (const [name, value] of Object.entries(args)) {
    if (!name.startsWith("vcs:")) continue;
    delete args[name];
    if (value !== "") vcs[name.slice("vcs:".length)] = value;
  }
  return vcs;
}

function demandsOf(used: ReadonlyMap<string, Vertex>): { secrets: readonly Demand[]; ssh: readonly Demand[] } {
  const secrets = new Map<string, boolean>();
  const ssh = new Map<string, boolean>();
  const add = (to: Map<string, boolean>, id: string, required: boolean): void => {
    to.set(id, required || to.get(id) === true);
  };
  for (const { operation } of used.values()) {
    if (operation.kind === "git") {
      for (const id of [operation.secrets?.token, operation.secrets?.header]) {
        if (id !== undefined) add(secrets, id, false);
      }
    }
    if (operation.kind !== "exec") continue;
    for (const mount of operation.mounts) {
      if (mount.type === "secret") add(secrets, mount.id, mount.required);
      if (mount.type === "ssh") add(ssh, mount.id, mount.required);
    }
    for (const { id, required } of operation.secretEnv) add(secrets, id, required);
  }
  const shown = (of: ReadonlyMap<string, boolean>): Demand[] =>
    [...of].map(([id, required]) => ({ id, ...(!required && { optional: true }) }));
  return { secrets: shown(secrets), ssh: shown(ssh) };
}

function networkOf(operation: Extract<Operation, { kind: "exec" }>, request: BuildRequest): string {
  return operation.network === "default" ? request.network : operation.network;
}

function buildConfigOf(steps: readonly Vertex[]): BuildConfig {
  const names = new Map(steps.map(({ id }, index) => [id, `step${index}`]));
  return {
    llbDefinition: steps.map((step) => ({
      id: names.get(step.id)!,
      op: shownOperation(step),
      ...(step.inputs.length > 0 && { inputs: step.inputs.map((input) => `${names.get(input)}:0`) }),
    })),
    digestMapping: Object.fromEntries(names),
  };
}

/** Without what addresses bear of passwords, and without proxies, which are the machine's. */
function shownOperation(vertex: Vertex): unknown {
  const { name } = vertex;
  const { proxyEnv: _, ...operation } = vertex.operation as Operation & { readonly proxyEnv?: unknown };
  return withoutPasswords({ ...operation, name });
}

/** Serialized once, at the end: an operation may have megabytes of a file. */
function withoutPasswords(value: unknown): unknown {
  if (typeof value === "string") return withoutPassword(value);
  if (Array.isArray(value)) return value.map(withoutPasswords);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, withoutPasswords(each)]));
}

function sourceOf({ dockerfile }: ExportInput, steps: readonly Vertex[]): unknown {
  const rows = steps.flatMap(({ source }, index) => {
    if (source === undefined) return [];
    const ranges = [{ start: { line: source.start }, end: { line: source.end } }];
    return [[`step${index}`, { locations: [{ ranges }] }] as const];
  });
  return {
    locations: Object.fromEntries(rows),
    ...(dockerfile !== undefined && {
      infos: [
        {
          filename: dockerfile.file,
          language: "Dockerfile",
          data: Buffer.from(dockerfile.text).toString("base64"),
        },
      ],
    }),
  };
}

/** By step: the layers of what it made, from the lowest. */
function layersOf({ target }: SolvedTarget, { image, layers }: AttestedImage, steps: readonly Vertex[]): unknown {
  const rows = image.config.history ?? [];
  // Of layers that were made into one, nobody can say whose they are.
  if (rows.length !== target.history.length) return {};
  const names = new Map(steps.map(({ id }, index) => [id, `step${index}:0`]));
  const told: Record<string, readonly (readonly Descriptor[])[]> = {};
  let count = 0;
  for (const [index, row] of rows.entries()) {
    if (row.empty_layer !== true) count++;
    const { vertex } = target.history[index]!;
    const name = vertex === undefined ? undefined : names.get(vertex);
    if (name !== undefined)
      told[name] = [layers.slice(0, count).map(({ digest, mediaType, size }) => ({ mediaType, digest, size }))];
  }
  if (count !== layers.length)
    throw new GantryError("internal", `cannot attest layers: ${count} of ${layers.length} are of the history`);
  return told;
}

function rfc3339(time: number): string {
  return new Date(time).toISOString();
}
