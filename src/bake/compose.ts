import { posix } from "node:path";
import { parse, YAMLError } from "yaml";
import { GantryError } from "../base/errors.ts";
import { bytesSize, ramInBytes } from "../base/units.ts";
import type { Source } from "./hcl/syntax.ts";
import { interpolate } from "./interpolate.ts";

type Env = Readonly<Record<string, string | undefined>>;
type Members = Readonly<Record<string, unknown>>;

/** True for a file of the Compose kind: YAML by its name. */
export function isCompose({ name }: Source): boolean {
  return /\.ya?ml$/i.test(name);
}

/**
 * A Compose file as a Bake file in HCL's JSON syntax: each service with a `build` section is a target, all of them the
 * group `default`. Variables are put in as Compose does. Throws invalid, naming the file.
 */
export function composeBody(file: Source, env: Env): Source {
  let document: unknown;
  try {
    document = parse(file.text, { merge: true, maxAliasCount: 1000 });
  } catch (error) {
    if (!(error instanceof YAMLError)) throw error;
    throw new GantryError("invalid", `cannot read ${file.name}: ${error.message}`);
  }
  const project = members(file, "the file", interpolateAll(file, document ?? {}, env));
  const services = Object.entries(members(file, "services", project.services ?? {}));
  const target: Record<string, unknown> = {};
  for (const [name, service] of services) {
    const fields = members(file, `service ${name}`, service ?? {});
    if (fields.build === undefined) continue;
    target[targetName(name)] = targetOf(file, name, fields, project, env);
  }
  const body = { group: { default: { targets: Object.keys(target) } }, target };
  return { name: file.name, text: JSON.stringify(escaped(body)) };
}

/** Its texts are final: no templates. */
function escaped(value: unknown): unknown {
  if (typeof value === "string") return value.replaceAll("${", () => "$${").replaceAll("%{", "%%{");
  if (Array.isArray(value)) return value.map(escaped);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, escaped(each)]));
}

function interpolateAll(file: Source, value: unknown, env: Env): unknown {
  if (typeof value === "string") {
    try {
      return interpolate(value, env);
    } catch (error) {
      if (error instanceof GantryError) throw new GantryError("invalid", `cannot read ${file.name}: ${error.message}`);
      throw error;
    }
  }
  if (Array.isArray(value)) return value.map((item) => interpolateAll(file, item, env));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, interpolateAll(file, each, env)]));
}

function members(file: Source, what: string, value: unknown): Members {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Members;
  throw new GantryError("invalid", `cannot read ${file.name}: ${what} has to be a mapping`);
}

/** A service's fields under a target's names. What is not said stays out. */
function targetOf(file: Source, name: string, service: Members, project: Members, env: Env): Members {
  const given = service.build;
  const build = typeof given === "string" ? { context: given } : members(file, `build of service ${name}`, given);
  const rows = (key: string, environment?: Env): Members | undefined => {
    const value = build[key];
    return value === undefined || value === null
      ? undefined
      : mapping(file, `${key} of service ${name}`, value, environment);
  };
  const { image } = service;
  const serviceEnv = service.environment;
  const environment = serviceEnv === undefined ? {} : mapping(file, `environment of service ${name}`, serviceEnv, env);
  const texts = (key: string): unknown => build[key];
  const contexts = rows("additional_contexts");
  const tags = texts("tags") ?? (typeof image === "string" ? [image] : undefined);
  const attest = [attestation("sbom", build.sbom), attestation("provenance", build.provenance)].filter(
    (row) => row !== undefined,
  );
  const plain: Record<string, unknown> = {
    context: build.context,
    contexts: contexts === undefined ? undefined : namedContexts(contexts),
    dockerfile: build.dockerfile,
    "dockerfile-inline": build.dockerfile_inline,
    args: rows("args", { ...env, ...(environment as Env) }),
    labels: rows("labels"),
    tags,
    "cache-from": texts("cache_from"),
    "cache-to": texts("cache_to"),
    target: build.target,
    secret: secretsOf(file, name, build.secrets, project),
    ssh: sshOf(build.ssh),
    platforms: texts("platforms"),
    pull: build.pull === true ? true : undefined,
    "no-cache": build.no_cache === true ? true : undefined,
    network: build.network,
    "shm-size": build.shm_size === undefined ? undefined : sizeOf(String(build.shm_size)),
    ulimits: ulimitsOf(file, name, build.ulimits),
    entitlements: texts("entitlements"),
    "extra-hosts": rowsOfHosts(file, name, build.extra_hosts),
    attest: attest.length === 0 ? undefined : attest,
  };
  const extension = extended(file, name, build["x-bake"]);
  const said = Object.entries({ ...plain, ...extension }).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(said);
}

/** `x-bake`: fields of a target that Compose has no word for. */
function extended(file: Source, name: string, value: unknown): Members {
  if (value === undefined || value === null) return {};
  const fields = members(file, `x-bake of service ${name}`, value);
  const lists = new Set(["tags", "cache-from", "cache-to", "secret", "ssh", "platforms", "output", "no-cache-filter"]);
  return Object.fromEntries(
    Object.entries(fields).map(([key, each]) => [key, lists.has(key) && !Array.isArray(each) ? [each] : each]),
  );
}

/** A mapping, or a list of `name=value`; a name alone takes the environment's value where there is one. */
function mapping(file: Source, what: string, value: unknown, env?: Env): Members {
  const rows: [string, unknown][] = [];
  const add = (name: string, each: unknown): void => {
    const text = each ?? env?.[name];
    if (text !== undefined && text !== null) rows.push([name, String(text)]);
    else if (env === undefined) rows.push([name, ""]);
  };
  if (!Array.isArray(value)) {
    for (const [name, each] of Object.entries(members(file, what, value))) add(name, each);
    return Object.fromEntries(rows);
  }
  for (const item of value) {
    const text = String(item);
    const equals = text.indexOf("=");
    if (equals < 0) add(text, undefined);
    else add(text.slice(0, equals), text.slice(equals + 1));
  }
  return Object.fromEntries(rows);
}

/** `service:x` is another target. */
function namedContexts(contexts: Members): Members {
  return Object.fromEntries(Object.entries(contexts).map(([name, place]) => [name, contextOf(String(place))]));
}

function contextOf(place: string): string {
  return place.startsWith("service:") ? `target:${targetName(place.slice("service:".length))}` : place;
}

/** Targets have no dots in their names. */
function targetName(service: string): string {
  return service.replaceAll(".", "_");
}

function attestation(type: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (value === true || value === "true") return `type=${type}`;
  if (value === false || value === "false") return `type=${type},disabled=true`;
  return `type=${type},${String(value)}`;
}

function secretsOf(file: Source, service: string, value: unknown, project: Members): unknown {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value))
    throw new GantryError("invalid", `cannot read ${file.name}: secrets of service ${service} have to be a list`);
  const defined = members(file, "secrets", project.secrets ?? {});
  return value.map((item: unknown) => {
    const source = typeof item === "string" ? item : String(members(file, "a secret", item).source);
    if (!Object.hasOwn(defined, source)) {
      throw new GantryError(
        "invalid",
        `cannot read ${file.name}: service ${service} takes the secret ${source}, which the file does not define`,
      );
    }
    const secret = members(file, `secret ${source}`, defined[source] ?? {});
    if (typeof secret.environment === "string") return { id: source, env: secret.environment };
    if (typeof secret.file === "string") return { id: source, src: posix.normalize(secret.file) };
    throw new GantryError(
      "invalid",
      `cannot read ${file.name}: the secret ${source} is neither a file nor of the environment`,
    );
  });
}

/** As Compose shows sizes; what is none is said where it is used. */
function sizeOf(text: string): string {
  try {
    return bytesSize(ramInBytes(text));
  } catch {
    return text;
  }
}

function sshOf(value: unknown): unknown {
  if (value === undefined || value === null) return undefined;
  const rows = Array.isArray(value)
    ? value.map(String)
    : Object.entries(value as object).map(([id, path]) => (path === null ? id : `${id}=${String(path)}`));
  return rows.sort();
}

function ulimitsOf(file: Source, service: string, value: unknown): unknown {
  if (value === undefined || value === null) return undefined;
  return Object.entries(members(file, `ulimits of service ${service}`, value)).map(([name, limit]) => {
    if (typeof limit === "number" || typeof limit === "string") return `${name}=${limit}:${limit}`;
    const { soft, hard } = members(file, `ulimit ${name}`, limit);
    return `${name}=${String(soft)}:${String(hard)}`;
  });
}

function rowsOfHosts(file: Source, service: string, value: unknown): Members | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) {
    return Object.fromEntries(
      Object.entries(members(file, `extra_hosts of service ${service}`, value)).map(([host, address]) => [
        host,
        Array.isArray(address) ? address.join(",") : String(address),
      ]),
    );
  }
  return Object.fromEntries(
    value.map((item: unknown) => {
      const [, host = "", address = ""] = /^([^=:]+)[=:](.*)$/.exec(String(item)) ?? [];
      return [host, address] as const;
    }),
  );
}
