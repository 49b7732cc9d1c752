import { createHash } from "node:crypto";
import * as v from "valibot";
import { GantryError } from "../base/errors.ts";
import { getDefaultDomain } from "../oci/reference.ts";

/** Who a client is to a registry. Empty texts for what isn't known; the shape never goes into a message. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
  /** A refresh token that stands for name and password. */
  readonly identityToken: string;
  /** A bearer token to use as it is. */
  readonly registryToken: string;
  /** The registry they are kept under, as the client wrote it; absent or empty where it didn't. */
  readonly serverAddress?: string;
  /** Of who fetches tokens by itself: then the texts are empty, and nobody else learns them. */
  readonly tokens?: TokenService;
}

/** A client that proves itself to token servers, and shows only the tokens. */
export interface TokenService {
  /** Tokens are shared by who has the same. */
  readonly id: string;
  fetch(wish: ServiceWish, signal: AbortSignal | undefined): Promise<ServiceToken>;
  /** Name and password, for registries that want no token. */
  password(signal: AbortSignal | undefined): Promise<Pick<Credentials, "username" | "password">>;
}

export interface ServiceWish {
  readonly realm: string;
  readonly service: string;
  readonly scopes: readonly string[];
}

export interface ServiceToken {
  readonly value: string;
  readonly lifeSeconds: number;
}

/** Of who gives none. */
export const ANONYMOUS: Credentials = { username: "", password: "", identityToken: "", registryToken: "" };

const MAX_HEADER = 64 << 10;
const text = v.optional(v.string(), "");
const header = v.looseObject({
  username: text,
  password: text,
  identitytoken: text,
  registrytoken: text,
  serveraddress: text,
});

/**
 * Reads `X-Registry-Auth`: JSON in base64, of the URL's alphabet or the other. An absent or empty one is nobody.
 * Throws `invalid`, without the header's content.
 */
export function decodeCredentials(value: string | undefined): Credentials {
  if (value === undefined || value === "") return ANONYMOUS;
  const fields = v.safeParse(header, parsedHeader(value, "X-Registry-Auth"));
  if (!fields.success) throw unreadable("X-Registry-Auth", "it is not a registry's credentials");
  return credentialsOf(fields.output);
}

function parsedHeader(value: string, name: string): unknown {
  if (value.length > MAX_HEADER || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(value)) throw unreadable(name, "it is not base64");
  try {
    return JSON.parse(Buffer.from(value, "base64url").toString("utf8"));
  } catch {
    throw unreadable(name, "it holds no JSON");
  }
}

function credentialsOf(given: v.InferOutput<typeof header>): Credentials {
  const { username, password, identitytoken, registrytoken, serveraddress } = given;
  const credentials = { username, password, identityToken: identitytoken, registryToken: registrytoken };
  return serveraddress === "" ? credentials : { ...credentials, serverAddress: serveraddress };
}

const perHost = v.record(v.string(), header);

/**
 * Reads `X-Registry-Config`: JSON in base64 of the credentials for each of several registries, by their hosts or URLs.
 * An absent or empty one is of nobody. Throws `invalid`, without the header's content.
 */
export function decodeRegistryConfig(value: string | undefined): (domain: string) => Credentials {
  const fields = v.safeParse(perHost, value ? parsedHeader(value, "X-Registry-Config") : {});
  if (!fields.success) throw unreadable("X-Registry-Config", "it is not registries' credentials");
  const found = new Map(Object.entries(fields.output).map(([key, given]) => [hostOf(key), credentialsOf(given)]));
  return (domain) => found.get(hostOf(domain)) ?? ANONYMOUS;
}

/** `https://index.docker.io/v1/` is where clients keep Docker Hub's. */
function hostOf(key: string): string {
  const host = key.replace(/^https?:\/\//, "").replace(/\/.*$/s, "");
  return /^(index\.|registry-1\.)?docker\.io$/.test(host) ? "docker.io" : host;
}

/**
 * The credentials as far as they are for a registry. Clients send Docker Hub's with each name that has no registry,
 * also to an engine that takes such names for another one's.
 */
export function credentialsFor(domain: string, credentials: Credentials): Credentials {
  const isHubs = /^(https?:\/\/)?(index\.|registry-1\.)?docker\.io(\/|$)/.test(credentials.serverAddress ?? "");
  const isElsewhere = domain === getDefaultDomain() && domain !== "docker.io";
  return isHubs && isElsewhere ? ANONYMOUS : credentials;
}

/** Tells credentials apart without holding them. */
export function fingerprint(credentials: Credentials): string {
  const { username, password, identityToken, registryToken, tokens } = credentials;
  return createHash("sha256")
    .update(JSON.stringify([username, password, identityToken, registryToken, tokens?.id]))
    .digest("hex");
}

function unreadable(name: string, why: string): GantryError {
  return new GantryError("invalid", `invalid ${name} header: ${why}`);
}
