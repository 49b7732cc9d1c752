import { randomBytes } from "node:crypto";
import { isIP } from "node:net";
import { decodeBuildArgs, decodeBuildLabels, decodeCacheFrom, decodeUlimits } from "../api/build-request.ts";
import { GantryError } from "../base/errors.ts";
import type { BuildRequest, ContextSource } from "../build/builder.ts";
import { readSourceDate } from "../build/source-date.ts";
import { parsePlatform } from "../oci/platform.ts";
import { formatReference, parseNormalized, tagNameOnly } from "../oci/reference.ts";
import { decodeRegistryConfig } from "../remote/credentials.ts";
import type { RouteRequest } from "./route-request.ts";

const GIT = /^(?:git:\/\/|ssh:\/\/|git@|github\.com\/)|^https?:\/\/[^?]*\.git(?:#.*)?$/;
const ISOLATIONS: ReadonlySet<string> = new Set(["", "default"]);
const ID_LENGTH = 25;

/** What the classic client asks for, its words checked and refused in Docker's. Nothing of the body is read. */
export function classicBuildRequest(request: RouteRequest<"buildImage">): BuildRequest {
  const { header, query } = request;
  if ((query.securityopt ?? "") !== "") {
    throw new GantryError("invalid", "The daemon on this platform does not support setting security options on build");
  }
  if (!ISOLATIONS.has((query.isolation ?? "").toLowerCase())) {
    throw new GantryError("invalid", `Unsupported isolation: ${JSON.stringify(query.isolation)}`);
  }
  if (!/^(\[\])?$/.test((query.outputs ?? "").trim())) {
    throw new GantryError("invalid", "outputs are the BuildKit protocol's: ask for them with version=2");
  }
  const buildArgs = decodeBuildArgs(query.buildargs);
  const names = [...new Set(query.t.filter((name) => name !== "").map(tagOf))];
  const registryConfig = decodeRegistryConfig(header("x-registry-config"));
  const sourceDateEpoch = readSourceDate(buildArgs.get("SOURCE_DATE_EPOCH") ?? "");
  return {
    id: query.buildid || newBuildId(),
    session: undefined,
    context: contextOf(query.remote ?? "", request),
    dockerfile: { path: query.dockerfile || "Dockerfile" },
    target: query.target ?? "",
    platforms: query.platform ? [parsePlatform(query.platform)] : [],
    buildArgs,
    labels: decodeBuildLabels(query.labels),
    namedContexts: new Map(),
    noCache: query.nocache,
    noCacheFilter: [],
    pull: query.pull,
    network: query.networkmode || "default",
    extraHosts: query.extrahosts.filter((text) => text !== "").map(hostOf),
    // The client's own word that it is the host's network.
    entitlements: query.networkmode === "host" ? ["network.host"] : [],
    limits: limitsOf(query),
    call: "build",
    outputs: [{ type: "image", attributes: new Map(names.length === 0 ? [] : [["name", names.join(",")]]) }],
    cacheFrom: decodeCacheFrom(query.cachefrom).map((ref) => ({
      type: "registry",
      attributes: new Map([["ref", ref]]),
    })),
    cacheTo: [],
    attestations: new Map(),
    ...(sourceDateEpoch !== undefined && { sourceDateEpoch }),
    explain: false,
    keepFailed: false,
    denyRanges: [],
    squash: query.squash,
    credentialsOf: async (registry) => registryConfig(registry),
    origin: "docker",
  };
}

function newBuildId(): string {
  return randomBytes(ID_LENGTH).toString("hex").slice(0, ID_LENGTH);
}

/** In its normal form. */
export function tagOf(name: string): string {
  const reference = parseNormalized(name);
  if (reference.digest !== undefined) throw new GantryError("invalid", "build tag cannot contain a digest");
  return formatReference(tagNameOnly(reference));
}

function contextOf(remote: string, { body }: Pick<RouteRequest<"buildImage">, "body">): ContextSource {
  if (remote === "") return { type: "archive", bytes: body() };
  if (GIT.test(remote)) return { type: "git", url: remote };
  if (/^https?:\/\//.test(remote)) return { type: "http", url: remote };
  throw new GantryError("invalid", `remoteURL (${remote.slice(0, 200)}) could not be recognized as URL`);
}

function hostOf(text: string): { readonly name: string; readonly address: string } {
  const [, name = "", address = ""] = /^([^:=]+)[:=](.*)$/.exec(text) ?? [];
  if (name === "") throw new GantryError("invalid", `bad format for add-host: ${JSON.stringify(text.slice(0, 200))}`);
  const bare = address.replace(/^\[(.*)\]$/, "$1");
  if (bare !== "host-gateway" && isIP(bare) === 0) {
    throw new GantryError("invalid", `invalid IP address in add-host: ${JSON.stringify(address.slice(0, 200))}`);
  }
  return { name, address: bare };
}

function limitsOf(query: RouteRequest<"buildImage">["query"]): BuildRequest["limits"] {
  return {
    memory: query.memory ?? 0,
    memorySwap: query.memswap ?? 0,
    cpuShares: query.cpushares ?? 0,
    cpuPeriod: query.cpuperiod ?? 0,
    cpuQuota: query.cpuquota ?? 0,
    cpusetCpus: query.cpusetcpus ?? "",
    cpusetMems: query.cpusetmems ?? "",
    shmSize: query.shmsize ?? 0,
    cgroupParent: query.cgroupparent ?? "",
    ulimits: decodeUlimits(query.ulimits).map(({ Name, Soft, Hard }) => ({ name: Name, soft: Soft, hard: Hard })),
  };
}
