import type { Query, QuerySpec } from "./query.ts";
import { MULTIPLEXED_STREAM } from "./version.ts";

/**
 * The API as data: routing, the reading of queries, who may call what, and the OpenAPI document all come from this one
 * table. A path's `:x` matches one segment; `*name` matches one or more, for image names with slashes, and may only be
 * followed by one more segment.
 *
 * The names in `body` are keys of `BODIES` (bodies.ts). Those in `answer` are types that a file of this folder exports;
 * their schemas are generated: run `npm run schemas` after a change of one. Each route answers 400 and 500 too.
 */
export interface Route {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  /** What it does, for people: a verb first, no full stop. */
  readonly summary: string;
  /** What attaches, runs or changes anything is a write, whatever its method. */
  readonly access: "read" | "write";
  readonly query: QuerySpec;
  /** Parameters that came later or are gone: to other versions they are unknown, and ignored as all unknown ones. */
  readonly paramVersions?: Readonly<Record<string, VersionRange>>;
  readonly body?: BodySpec;
  readonly answer: AnswerSpec;
  /** Further statuses of refusals. */
  readonly errors?: readonly number[];
  /** The API version that has it first; none for those that were always there. */
  readonly since?: string;
  /** The answer may take the connection over: bytes as they are, or WebSocket's messages. */
  readonly hijacks?: true | "websocket";
}

/** From a version on, or up to before one. */
export interface VersionRange {
  readonly since?: string;
  readonly until?: string;
}

/** A JSON body by the name of its shape, or bytes of a media type. */
export type BodySpec = { readonly json: string } | { readonly media: string };

/** The answer if all goes well. The status is 200 unless it says otherwise; without a content it has no body. */
export interface AnswerSpec {
  readonly status?: number;
  /** The name of a type, `Name[]` for a list of it. */
  readonly json?: string;
  /** The type of each of many JSON values, one a line, that come as time goes by. */
  readonly lines?: string;
  /** Bytes of a media type. */
  readonly media?: string;
}

const none = {} as const;
const TAR = "application/x-tar";
const nothing = { status: 204 } as const;
const stopQuery = { signal: "text", t: "int" } as const;
const stopVersions = { signal: { since: "1.42" } } as const;
const sizeQuery = { h: "text", w: "text" } as const;
const attachQuery = {
  stdin: "bool",
  stdout: "bool",
  stderr: "bool",
  stream: "bool",
  logs: "bool",
  detachKeys: "text",
} as const;
const logsQuery = {
  stdout: "bool",
  stderr: "bool",
  since: "nanos",
  until: "nanos",
  timestamps: "bool",
  tail: "text",
  follow: "bool",
  details: "bool",
} as const;
const importQuery = {
  fromImage: "text",
  fromSrc: "text",
  repo: "text",
  tag: "text",
  message: "text",
  changes: "texts",
  platform: "text",
} as const;

const commitQuery = {
  container: "text",
  repo: "text",
  tag: "text",
  comment: "text",
  author: "text",
  pause: "boolOrTrue",
  changes: "texts",
} as const;

/** Clients ask whether the engine is in a swarm by asking for what is in it. */
function noSwarm<P extends string, S extends string>(path: P, summary: S) {
  return { method: "GET", path, summary, access: "read", query: none, answer: {}, errors: [503] } as const;
}

/** Every route of the engine, by a name of its own: what is served, documented and tested is made of this table. */
export const ROUTES = {
  ping: {
    method: "GET",
    path: "/_ping",
    summary: "Say that the engine is there",
    access: "read",
    query: none,
    answer: { media: "text/plain; charset=utf-8" },
  },
  pingHead: {
    method: "HEAD",
    path: "/_ping",
    summary: "Say that the engine is there, in headers alone",
    access: "read",
    query: none,
    answer: {},
    since: "1.40",
  },
  version: {
    method: "GET",
    path: "/version",
    summary: "Show the versions of the engine and its parts",
    access: "read",
    query: none,
    answer: { json: "VersionInfo" },
  },
  info: {
    method: "GET",
    path: "/info",
    summary: "Show the engine and its machine",
    access: "read",
    query: none,
    answer: { json: "SystemInfo" },
  },
  events: {
    method: "GET",
    path: "/events",
    summary: "Follow what happens",
    access: "read",
    query: { since: "nanos", until: "nanos", filters: "filters" },
    answer: { lines: "EventMessage" },
  },

  openapi: {
    method: "GET",
    path: "/openapi.json",
    summary: "Show this API as an OpenAPI document",
    access: "read",
    query: none,
    answer: { media: "application/json" },
  },
  pluginList: {
    method: "GET",
    path: "/plugins",
    summary: "List managed plugins, of which there are none",
    access: "read",
    query: { filters: "filters" },
    answer: { json: "Plugin[]" },
    since: "1.25",
  },
  swarmInspect: noSwarm("/swarm", "Show the swarm"),
  swarmNodeList: noSwarm("/nodes", "List the nodes of the swarm"),
  swarmServiceList: noSwarm("/services", "List the services of the swarm"),
  swarmTaskList: noSwarm("/tasks", "List the tasks of the swarm"),
  swarmSecretList: noSwarm("/secrets", "List the secrets of the swarm"),
  swarmConfigList: noSwarm("/configs", "List the configs of the swarm"),

  diskUsage: {
    method: "GET",
    path: "/system/df",
    summary: "Show what takes up the disk",
    access: "read",
    query: { type: "texts" },
    answer: { json: "DiskUsage" },
  },
  buildPrune: {
    method: "POST",
    path: "/build/prune",
    summary: "Remove what the builder keeps, which is nothing yet",
    access: "write",
    query: { all: "bool", filters: "filters" },
    answer: { json: "BuildPruneResponse" },
    since: "1.31",
  },
  metrics: {
    method: "GET",
    path: "/metrics",
    summary: "Show what the engine counts, in Prometheus's format",
    access: "read",
    query: none,
    answer: { media: "text/plain; version=0.0.4; charset=utf-8" },
  },

  containerList: {
    method: "GET",
    path: "/containers/json",
    summary: "List containers",
    access: "read",
    query: { all: "bool", limit: "int", size: "bool", filters: "filters" },
    answer: { json: "ContainerSummary[]" },
  },
  containerCreate: {
    method: "POST",
    path: "/containers/create",
    summary: "Create a container",
    access: "write",
    query: { name: "text", platform: "text" },
    paramVersions: { platform: { since: "1.41" } },
    body: { json: "ContainerCreateRequest" },
    answer: { status: 201, json: "ContainerCreateResponse" },
    errors: [404, 409],
  },
  containerPrune: {
    method: "POST",
    path: "/containers/prune",
    summary: "Remove stopped containers",
    access: "write",
    query: { filters: "filters" },
    answer: { json: "ContainersPruneResponse" },
    errors: [409],
    since: "1.25",
  },
  containerInspect: {
    method: "GET",
    path: "/containers/:id/json",
    summary: "Show a container",
    access: "read",
    query: { size: "bool" },
    answer: { json: "ContainerInspect" },
    errors: [404],
  },
  containerStats: {
    method: "GET",
    path: "/containers/:id/stats",
    summary: "Follow what a container uses",
    access: "read",
    query: { stream: "boolOrTrue", "one-shot": "bool" },
    answer: { lines: "ContainerStats" },
    errors: [404],
  },
  containerTop: {
    method: "GET",
    path: "/containers/:id/top",
    summary: "List the processes of a container",
    access: "read",
    query: { ps_args: "text" },
    answer: { json: "TopResponse" },
    errors: [404, 409],
  },
  containerLogs: {
    method: "GET",
    path: "/containers/:id/logs",
    summary: "Read what a container printed",
    access: "read",
    query: logsQuery,
    paramVersions: { until: { since: "1.35" } },
    answer: { media: MULTIPLEXED_STREAM },
    errors: [404],
  },
  containerStart: {
    method: "POST",
    path: "/containers/:id/start",
    summary: "Start a container",
    access: "write",
    query: { detachKeys: "text", checkpoint: "text", "checkpoint-dir": "text" },
    answer: nothing,
    errors: [304, 404, 409],
  },
  containerStop: {
    method: "POST",
    path: "/containers/:id/stop",
    summary: "Stop a container",
    access: "write",
    query: stopQuery,
    paramVersions: stopVersions,
    answer: nothing,
    errors: [304, 404],
  },
  containerRestart: {
    method: "POST",
    path: "/containers/:id/restart",
    summary: "Stop a container and start it again",
    access: "write",
    query: stopQuery,
    paramVersions: stopVersions,
    answer: nothing,
    errors: [404],
  },
  containerKill: {
    method: "POST",
    path: "/containers/:id/kill",
    summary: "Send a signal to a container",
    access: "write",
    query: { signal: "text" },
    answer: nothing,
    errors: [404, 409],
  },
  containerPause: {
    method: "POST",
    path: "/containers/:id/pause",
    summary: "Freeze the processes of a container",
    access: "write",
    query: none,
    answer: nothing,
    errors: [404, 409],
  },
  containerUnpause: {
    method: "POST",
    path: "/containers/:id/unpause",
    summary: "Let the processes of a frozen container go on",
    access: "write",
    query: none,
    answer: nothing,
    errors: [404, 409],
  },
  containerWait: {
    method: "POST",
    path: "/containers/:id/wait",
    summary: "Wait for the end of a container",
    access: "read",
    query: { condition: { oneOf: ["not-running", "next-exit", "removed"], refusal: "invalid condition" } },
    paramVersions: { condition: { since: "1.30" } },
    answer: { json: "ContainerWaitResponse" },
    errors: [404],
  },
  containerRename: {
    method: "POST",
    path: "/containers/:id/rename",
    summary: "Rename a container",
    access: "write",
    query: { name: "text" },
    answer: nothing,
    errors: [404, 409],
  },
  containerUpdate: {
    method: "POST",
    path: "/containers/:id/update",
    summary: "Change the limits and the restart policy of a container",
    access: "write",
    query: none,
    body: { json: "ContainerUpdateRequest" },
    answer: { json: "ContainerUpdateResponse" },
    errors: [404, 409],
  },
  containerHealthcheck: {
    method: "POST",
    path: "/gantry/containers/:id/healthcheck",
    summary: "Run a container's health check at once",
    access: "write",
    query: none,
    answer: { json: "HealthcheckResult" },
    errors: [404, 409],
  },
  containerResize: {
    method: "POST",
    path: "/containers/:id/resize",
    summary: "Resize the terminal of a container",
    access: "write",
    query: sizeQuery,
    answer: {},
    errors: [404, 409],
  },
  containerAttach: {
    method: "POST",
    path: "/containers/:id/attach",
    summary: "Join the streams of a container",
    access: "write",
    query: attachQuery,
    answer: { media: MULTIPLEXED_STREAM },
    errors: [404, 409],
    hijacks: true,
  },
  containerAttachSocket: {
    method: "GET",
    path: "/containers/:id/attach/ws",
    summary: "Join the streams of a container over a WebSocket",
    access: "write",
    query: attachQuery,
    answer: { status: 101 },
    errors: [404, 409],
    hijacks: "websocket",
  },
  containerChanges: {
    method: "GET",
    path: "/containers/:id/changes",
    summary: "List what a container has changed of its image's files",
    access: "read",
    query: none,
    answer: { json: "FilesystemChange[]" },
    errors: [404],
  },
  containerExport: {
    method: "GET",
    path: "/containers/:id/export",
    summary: "Get a container's root filesystem as an archive",
    access: "read",
    query: none,
    answer: { media: TAR },
    errors: [404, 409],
  },
  containerPathStat: {
    method: "HEAD",
    path: "/containers/:id/archive",
    summary: "Tell what a path in a container is, in the header X-Docker-Container-Path-Stat",
    access: "read",
    query: { path: "text" },
    answer: {},
    errors: [404],
  },
  containerArchive: {
    method: "GET",
    path: "/containers/:id/archive",
    summary: "Get what is at a path in a container as an archive",
    access: "read",
    query: { path: "text" },
    answer: { media: TAR },
    errors: [404],
  },
  containerExtract: {
    method: "PUT",
    path: "/containers/:id/archive",
    summary: "Put an archive into a folder of a container",
    access: "write",
    query: { path: "text", noOverwriteDirNonDir: "bool", copyUIDGID: "bool" },
    body: { media: TAR },
    answer: {},
    errors: [403, 404, 409],
  },
  containerCommit: {
    method: "POST",
    path: "/commit",
    summary: "Make an image of what a container has changed",
    access: "write",
    query: commitQuery,
    body: { json: "CommitRequest" },
    answer: { status: 201, json: "IdResponse" },
    errors: [404, 409],
  },
  containerRemove: {
    method: "DELETE",
    path: "/containers/*name",
    summary: "Remove a container",
    access: "write",
    query: { force: "bool", v: "bool", link: "bool" },
    answer: nothing,
    errors: [404, 409],
  },

  execCreate: {
    method: "POST",
    path: "/containers/:id/exec",
    summary: "Prepare a command in a container",
    access: "write",
    query: none,
    body: { json: "ExecConfig" },
    answer: { status: 201, json: "IdResponse" },
    errors: [404, 409],
  },
  execStart: {
    method: "POST",
    path: "/exec/:id/start",
    summary: "Run a prepared command and join its streams",
    access: "write",
    query: none,
    body: { json: "ExecStartRequest" },
    answer: { media: MULTIPLEXED_STREAM },
    errors: [404, 409],
    hijacks: true,
  },
  execResize: {
    method: "POST",
    path: "/exec/:id/resize",
    summary: "Resize the terminal of a command",
    access: "write",
    query: sizeQuery,
    answer: {},
    errors: [404],
  },
  execInspect: {
    method: "GET",
    path: "/exec/:id/json",
    summary: "Show a command in a container",
    access: "read",
    query: none,
    answer: { json: "ExecInspect" },
    errors: [404],
  },

  imageList: {
    method: "GET",
    path: "/images/json",
    summary: "List images",
    access: "read",
    query: {
      all: "bool",
      filters: "filters",
      filter: "text",
      "shared-size": "bool",
      digests: "bool",
      manifests: "bool",
    },
    paramVersions: { "shared-size": { since: "1.42" }, filter: { until: "1.41" }, manifests: { since: "1.47" } },
    answer: { json: "ImageSummary[]" },
    errors: [404],
  },
  imageSaveMany: {
    method: "GET",
    path: "/images/get",
    summary: "Read images as one archive",
    access: "read",
    query: { names: "texts", platform: "text" },
    paramVersions: { platform: { since: "1.48" } },
    answer: { media: TAR },
    errors: [404],
  },
  imageInspect: {
    method: "GET",
    path: "/images/*name/json",
    summary: "Show an image",
    access: "read",
    query: { manifests: "bool", platform: "text" },
    paramVersions: { manifests: { since: "1.48" }, platform: { since: "1.49" } },
    answer: { json: "ImageInspect" },
    errors: [404],
  },
  imageHistory: {
    method: "GET",
    path: "/images/*name/history",
    summary: "List the steps that an image was made by",
    access: "read",
    query: { platform: "text" },
    paramVersions: { platform: { since: "1.48" } },
    answer: { json: "ImageHistoryRow[]" },
    errors: [404],
  },
  imageSave: {
    method: "GET",
    path: "/images/*name/get",
    summary: "Read an image as an archive",
    access: "read",
    query: { platform: "text" },
    paramVersions: { platform: { since: "1.48" } },
    answer: { media: TAR },
    errors: [404],
  },
  imageLoad: {
    method: "POST",
    path: "/images/load",
    summary: "Load images from an archive",
    access: "write",
    query: { quiet: "bool", platform: "text" },
    paramVersions: { platform: { since: "1.48" } },
    body: { media: TAR },
    answer: { lines: "ProgressMessage" },
    errors: [404],
  },
  imageCreate: {
    method: "POST",
    path: "/images/create",
    summary: "Import an image from a root filesystem, or pull one",
    access: "write",
    query: importQuery,
    paramVersions: { platform: { since: "1.32" } },
    body: { media: TAR },
    answer: { lines: "ProgressMessage" },
    errors: [404],
  },
  imagePrune: {
    method: "POST",
    path: "/images/prune",
    summary: "Remove unused images",
    access: "write",
    query: { filters: "filters" },
    answer: { json: "ImagesPruneResponse" },
    errors: [409],
    since: "1.25",
  },
  imagePush: {
    method: "POST",
    path: "/images/*name/push",
    summary: "Push an image to its registry",
    access: "write",
    query: { tag: "text", platform: "text" },
    paramVersions: { platform: { since: "1.46" } },
    answer: { lines: "ProgressMessage" },
    errors: [404],
  },
  imageTag: {
    method: "POST",
    path: "/images/*name/tag",
    summary: "Give an image a further name",
    access: "write",
    query: { repo: "text", tag: "text" },
    answer: { status: 201 },
    errors: [404, 409],
  },
  imageRemove: {
    method: "DELETE",
    path: "/images/*name",
    summary: "Remove an image",
    access: "write",
    query: { force: "bool", noprune: "bool", platforms: "texts" },
    paramVersions: { platforms: { since: "1.50" } },
    answer: { json: "ImageDeleteRow[]" },
    errors: [404, 409],
  },
  doctor: {
    method: "GET",
    path: "/gantry/doctor",
    summary: "Check whether this machine can run containers",
    access: "read",
    query: { check: "texts" },
    answer: { json: "DoctorReport" },
  },
  imageCopy: {
    method: "POST",
    path: "/gantry/images/copy",
    summary: "Copy an image between registries",
    access: "write",
    query: { from: "text", to: "text", platform: "texts", all: "bool", signatures: "bool", insecure: "bool" },
    answer: { lines: "ProgressMessage" },
    errors: [401, 403, 404],
  },
  imageBootstrap: {
    method: "POST",
    path: "/gantry/images/bootstrap",
    summary: "Make an image of this machine's own busybox",
    access: "write",
    query: { name: "text" },
    answer: { lines: "ProgressMessage" },
  },

  auth: {
    method: "POST",
    path: "/auth",
    summary: "Check credentials at a registry",
    access: "write",
    query: none,
    body: { json: "AuthConfig" },
    answer: { json: "AuthResponse" },
    errors: [401],
  },
  registrySearch: {
    method: "GET",
    path: "/images/search",
    summary: "Search a registry for images",
    // As with `distributionInspect`.
    access: "write",
    query: { term: "text", limit: "int", filters: "filters" },
    answer: { json: "SearchResult[]" },
    errors: [401, 403, 404],
  },
  distributionInspect: {
    method: "GET",
    path: "/distribution/*name/json",
    summary: "Show what a name points to at its registry",
    // It makes the engine call whom the client names, in networks that the client may not be in.
    access: "write",
    query: { insecure: "bool" },
    answer: { json: "DistributionInspect" },
    errors: [401, 403, 404],
    since: "1.30",
  },

  distributionManifest: {
    method: "GET",
    path: "/gantry/distribution/*name/manifest",
    summary: "Read a manifest or an index as its registry has it",
    // As with `distributionInspect`.
    access: "write",
    query: { insecure: "bool" },
    answer: { media: "application/vnd.oci.image.manifest.v1+json" },
    errors: [401, 403, 404],
  },
  distributionManifestPut: {
    method: "PUT",
    path: "/gantry/distribution/*name/manifest",
    summary: "Put a manifest or an index into a registry, with what it names from other repositories",
    access: "write",
    query: { insecure: "bool", from: "texts" },
    body: { media: "application/vnd.oci.image.manifest.v1+json" },
    answer: { status: 201, json: "ManifestPutResponse" },
    errors: [401, 403, 404],
  },
  signatureList: {
    method: "GET",
    path: "/gantry/distribution/*name/signatures",
    summary: "Show the signatures of what a name points to at its registry",
    // As with `distributionInspect`.
    access: "write",
    query: { recursive: "bool" },
    answer: { json: "ImageSignatures" },
    errors: [401, 403, 404],
  },
  signaturePut: {
    method: "PUT",
    path: "/gantry/distribution/*name/signatures",
    summary: "Add signatures to those of an image at its registry",
    access: "write",
    query: none,
    body: { json: "SignaturesPutRequest" },
    answer: { status: 201, json: "SignaturesPutResponse" },
    errors: [401, 403, 404, 409],
  },

  networkList: {
    method: "GET",
    path: "/networks",
    summary: "List networks",
    access: "read",
    query: { filters: "filters" },
    answer: { json: "NetworkInspect[]" },
  },
  networkInspect: {
    method: "GET",
    path: "/networks/:id",
    summary: "Show a network",
    access: "read",
    query: { verbose: "bool", scope: "text" },
    answer: { json: "NetworkInspect" },
    errors: [404],
  },
  networkCreate: {
    method: "POST",
    path: "/networks/create",
    summary: "Create a network",
    access: "write",
    query: none,
    body: { json: "NetworkCreateRequest" },
    answer: { status: 201, json: "NetworkCreateResponse" },
    errors: [403, 404, 409, 503],
  },
  networkConnect: {
    method: "POST",
    path: "/networks/:id/connect",
    summary: "Connect a container to a network",
    access: "write",
    query: none,
    body: { json: "NetworkConnectRequest" },
    answer: {},
    errors: [403, 404, 409],
  },
  networkDisconnect: {
    method: "POST",
    path: "/networks/:id/disconnect",
    summary: "Disconnect a container from a network",
    access: "write",
    query: none,
    body: { json: "NetworkDisconnectRequest" },
    answer: {},
    errors: [403, 404, 409],
  },
  networkPrune: {
    method: "POST",
    path: "/networks/prune",
    summary: "Remove unused networks",
    access: "write",
    query: { filters: "filters" },
    answer: { json: "NetworksPruneResponse" },
    errors: [409],
    since: "1.25",
  },
  networkRemove: {
    method: "DELETE",
    path: "/networks/:id",
    summary: "Remove a network",
    access: "write",
    query: none,
    answer: nothing,
    errors: [403, 404],
  },

  volumeList: {
    method: "GET",
    path: "/volumes",
    summary: "List volumes",
    access: "read",
    query: { filters: "filters" },
    answer: { json: "VolumeListResponse" },
  },
  volumeInspect: {
    method: "GET",
    path: "/volumes/:name",
    summary: "Show a volume",
    access: "read",
    query: none,
    answer: { json: "Volume" },
    errors: [404],
  },
  volumeCreate: {
    method: "POST",
    path: "/volumes/create",
    summary: "Create a volume",
    access: "write",
    query: none,
    body: { json: "VolumeCreateRequest" },
    answer: { status: 201, json: "Volume" },
    errors: [409],
  },
  volumePrune: {
    method: "POST",
    path: "/volumes/prune",
    summary: "Remove unused volumes",
    access: "write",
    query: { filters: "filters" },
    answer: { json: "VolumesPruneResponse" },
    errors: [409],
    since: "1.25",
  },
  volumeUpdate: {
    method: "PUT",
    path: "/volumes/:name",
    summary: "Change a cluster's volume",
    access: "write",
    query: { version: "text" },
    answer: { status: 200 },
    errors: [404, 503],
    since: "1.42",
  },
  volumeRemove: {
    method: "DELETE",
    path: "/volumes/:name",
    summary: "Remove a volume",
    access: "write",
    query: { force: "bool" },
    answer: nothing,
    errors: [404, 409],
  },
} as const satisfies Record<string, Route>;

/** A route's name in the table. */
export type RouteName = keyof typeof ROUTES;
/** A route's query, read and complete. */
export type RouteQuery<N extends RouteName> = Query<(typeof ROUTES)[N]["query"]>;
