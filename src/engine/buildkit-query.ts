import { randomBytes } from "node:crypto";
import {
  decodeBuildArgs,
  decodeBuildLabels,
  decodeBuildOutputs,
  decodeCacheFrom,
  decodeUlimits,
} from "../api/build-request.ts";
import { GantryError } from "../base/errors.ts";
import type { BuildSpec as Spec } from "../build/build-wire.ts";
import { decodeRegistryConfig } from "../remote/credentials.ts";
import { tagOf } from "./build-query.ts";
import type { RouteRequest } from "./route-request.ts";

type Request = RouteRequest<"buildImage">;

/** A request of `POST /build?version=2` as the options of BuildKit's frontend. `archive` was uploaded for it. */
export function buildkitSpec(
  { body, header, query }: Request,
  archive: AsyncIterable<Uint8Array> | undefined,
): Omit<Spec, "job" | "signal"> {
  if ((query.securityopt ?? "") !== "") {
    throw new GantryError("invalid", "security options are not supported on linux");
  }
  const remote = query.remote ?? "";
  const isLocal = remote === "client-session";
  const credentials = header("x-registry-config");
  const buildArgs = decodeBuildArgs(query.buildargs);
  const inline = /^(?:1|t|true)$/i.test(buildArgs.get("BUILDKIT_INLINE_CACHE") ?? "");
  return {
    id: query.buildid || randomBytes(13).toString("hex").slice(0, 25),
    sessionId: query.session ?? "",
    frontend: "dockerfile.v0",
    options: optionsOf(query, buildArgs, isLocal || remote === "upload-request" ? "" : remote),
    exporters: exportersOf(query),
    cacheExports: inline ? [{ type: "inline", attributes: {} }] : [],
    cacheImports: decodeCacheFrom(query.cachefrom).map((ref) => ({ type: "registry", attributes: { ref } })),
    entitlements: query.networkmode === "host" ? ["network.host"] : [],
    ...(archive !== undefined && { archive }),
    ...(remote === "" && { archive: body() }),
    ...(credentials !== undefined &&
      !query.session && { credentialsOf: async (registry: string) => decodeRegistryConfig(credentials)(registry) }),
    origin: "docker",
  };
}

function optionsOf(
  query: Request["query"],
  buildArgs: ReadonlyMap<string, string>,
  context: string,
): Record<string, string> {
  const options: Record<string, string> = {
    "image-resolve-mode": query.pull ? "pull" : "default",
  };
  const set = (name: string, value: string | number | undefined) => {
    if (value !== undefined && value !== "" && value !== 0) options[name] = String(value);
  };
  set("target", query.target);
  set("filename", query.dockerfile === "." ? "" : query.dockerfile);
  set("context", context);
  set("platform", query.platform);
  for (const [name, value] of buildArgs) options[`build-arg:${name}`] = value;
  for (const [name, value] of decodeBuildLabels(query.labels)) options[`label:${name}`] = value;
  if (query.nocache) options["no-cache"] = "";
  set("force-network-mode", networkOf(query.networkmode ?? ""));
  set(
    "add-hosts",
    query.extrahosts
      .filter((text) => text !== "")
      .map(hostField)
      .join(","),
  );
  set("shm-size", query.shmsize);
  set("cgroup-parent", query.cgroupparent);
  set("memory", query.memory);
  set("memswap", query.memswap);
  set("cpushares", query.cpushares);
  set("cpuperiod", query.cpuperiod);
  set("cpuquota", query.cpuquota);
  set("cpusetcpus", query.cpusetcpus);
  set("cpusetmems", query.cpusetmems);
  const ulimits = decodeUlimits(query.ulimits);
  set("ulimit", ulimits.map(({ Hard, Name, Soft }) => `${Name}=${Soft}:${Hard}`).join(","));
  return options;
}

function networkOf(mode: string): string {
  if (mode === "host" || mode === "none" || mode === "") return mode;
  if (mode === "default") return "";
  throw new GantryError("invalid", `network mode ${JSON.stringify(mode)} not supported by buildkit`);
}

/** `name:address`, of which the address may have colons. */
function hostField(text: string): string {
  const [, name, address] = /^([^:]+):(.+)$/.exec(text) ?? [];
  if (name === undefined) throw new GantryError("invalid", `invalid host ${text}`);
  return `${name}=${address}`;
}

function exportersOf(query: Request["query"]): Spec["exporters"] {
  const outputs = decodeBuildOutputs(query.outputs);
  if (outputs.length > 1) throw new GantryError("invalid", "multiple outputs not supported");
  const [output] = outputs;
  const names = [...new Set(query.t.filter((name) => name !== "").map(tagOf))].join(",");
  const type = output?.Type ?? "moby";
  const attributes: Record<string, string> = { ...output?.Attrs };
  if ((type === "moby" || type === "image") && names !== "") attributes.name = names;
  return type === "cacheonly" ? [] : [{ type, attributes }];
}
