import type { Query, QuerySpec } from "./query.ts";

/**
 * The API as data. A path's `:x` matches one segment; `*name` matches one or more, for image names with slashes, and
 * may only be followed by one more segment.
 */
export interface Route {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly query: QuerySpec;
  /** The answer may take the connection over. */
  readonly hijacks?: true;
}

const none = {} as const;
const stopQuery = { signal: "text", t: "int" } as const;
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

export const ROUTES = {
  ping: { method: "GET", path: "/_ping", query: none },
  pingHead: { method: "HEAD", path: "/_ping", query: none },
  version: { method: "GET", path: "/version", query: none },
  info: { method: "GET", path: "/info", query: none },
  events: { method: "GET", path: "/events", query: { since: "nanos", until: "nanos", filters: "filters" } },

  containerList: {
    method: "GET",
    path: "/containers/json",
    query: { all: "bool", limit: "int", size: "bool", filters: "filters" },
  },
  containerCreate: { method: "POST", path: "/containers/create", query: { name: "text", platform: "text" } },
  containerPrune: { method: "POST", path: "/containers/prune", query: { filters: "filters" } },
  containerInspect: { method: "GET", path: "/containers/:id/json", query: { size: "bool" } },
  containerTop: { method: "GET", path: "/containers/:id/top", query: { ps_args: "text" } },
  containerLogs: { method: "GET", path: "/containers/:id/logs", query: logsQuery },
  containerStart: { method: "POST", path: "/containers/:id/start", query: { detachKeys: "text" } },
  containerStop: { method: "POST", path: "/containers/:id/stop", query: stopQuery },
  containerRestart: { method: "POST", path: "/containers/:id/restart", query: stopQuery },
  containerKill: { method: "POST", path: "/containers/:id/kill", query: { signal: "text" } },
  containerPause: { method: "POST", path: "/containers/:id/pause", query: none },
  containerUnpause: { method: "POST", path: "/containers/:id/unpause", query: none },
  containerWait: { method: "POST", path: "/containers/:id/wait", query: { condition: "text" } },
  containerRename: { method: "POST", path: "/containers/:id/rename", query: { name: "text" } },
  containerResize: { method: "POST", path: "/containers/:id/resize", query: sizeQuery },
  containerAttach: { method: "POST", path: "/containers/:id/attach", query: attachQuery, hijacks: true },
  containerRemove: { method: "DELETE", path: "/containers/:id", query: { force: "bool", v: "bool", link: "bool" } },

  execCreate: { method: "POST", path: "/containers/:id/exec", query: none },
  execStart: { method: "POST", path: "/exec/:id/start", query: none, hijacks: true },
  execResize: { method: "POST", path: "/exec/:id/resize", query: sizeQuery },
  execInspect: { method: "GET", path: "/exec/:id/json", query: none },

  imageList: {
    method: "GET",
    path: "/images/json",
    query: { all: "bool", filters: "filters", filter: "text", "shared-size": "bool" },
  },
  imageSaveMany: { method: "GET", path: "/images/get", query: { names: "texts", platform: "text" } },
  imageInspect: { method: "GET", path: "/images/*name/json", query: none },
  imageHistory: { method: "GET", path: "/images/*name/history", query: none },
  imageSave: { method: "GET", path: "/images/*name/get", query: { platform: "text" } },
  imageLoad: { method: "POST", path: "/images/load", query: { quiet: "bool" } },
  imageCreate: { method: "POST", path: "/images/create", query: importQuery },
  imagePrune: { method: "POST", path: "/images/prune", query: { filters: "filters" } },
  imageTag: { method: "POST", path: "/images/*name/tag", query: { repo: "text", tag: "text" } },
  imageRemove: { method: "DELETE", path: "/images/*name", query: { force: "bool", noprune: "bool" } },
  imageBootstrap: { method: "POST", path: "/gantry/images/bootstrap", query: { name: "text" } },

  networkList: { method: "GET", path: "/networks", query: { filters: "filters" } },
  networkInspect: { method: "GET", path: "/networks/:id", query: { verbose: "bool", scope: "text" } },

  volumeList: { method: "GET", path: "/volumes", query: { filters: "filters" } },
  volumeInspect: { method: "GET", path: "/volumes/:name", query: none },
  volumeCreate: { method: "POST", path: "/volumes/create", query: none },
  volumeRemove: { method: "DELETE", path: "/volumes/:name", query: { force: "bool" } },
} as const satisfies Record<string, Route>;

export type RouteName = keyof typeof ROUTES;
export type RouteQuery<N extends RouteName> = Query<(typeof ROUTES)[N]["query"]>;
