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
  if (value.length > MAX_HEADER || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(value)) throw unreadable("it is not base64");
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(value, "base64url").toString("utf8"));
  } catch {
    throw unreadable("it holds no JSON");
  }
  const fields = v.safeParse(header, parsed);
  if (!fields.success) throw unreadable("it is not a registry's credentials");
  const { username, password, identitytoken, registrytoken, serveraddress } = fields.output;
  const credentials = { username, password, identityToken: identitytoken, registryToken: registrytoken };
  return serveraddress === "" ? credentials : { ...credentials, serverAddress: serveraddress };
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
  const { username, password, identityToken } = credentials;
  return createHash("sha256")
    .update(JSON.stringify([username, password, identityToken]))
    .digest("hex");
}

function unreadable(why: string): GantryError {
  return new GantryError("invalid", `invalid X-Registry-Auth header: ${why}`);
}
