import { createPublicKey, randomBytes, verify } from "node:crypto";
import { GantryError } from "../../base/errors.ts";
import { create } from "../../buildkit/message.ts";
import {
  AUTH,
  CredentialsRequestSchema,
  FetchTokenRequestSchema,
  GetTokenAuthorityRequestSchema,
  VerifyTokenAuthorityRequestSchema,
} from "../../buildkit/session.ts";
import type { Caller } from "../../grpc/caller.ts";
import { GrpcError, STATUS, toGantryError } from "../../grpc/status.ts";
import { ANONYMOUS, type Credentials } from "../../remote/credentials.ts";

/** A client that serves a session. */
export interface Asked {
  /** The session's. */
  readonly id: string;
  readonly client: Caller;
  readonly serves: (method: string) => boolean;
}

/** Someone may have to type a passphrase at the client. */
const ASK_MS = 60_000;
/** The same for all sessions, so that a client has one key; another one after a restart. */
const SALT = randomBytes(32);
const KEY_BYTES = 32;
const PAYLOAD_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** What stands before a key of this kind in its SubjectPublicKeyInfo (RFC 8410). */
const ED25519_HEADER = Buffer.from("302a300506032b6570032100", "hex");
/** As the client's own answer where nobody said how long. */
const LIFE_SECONDS = 60;
const CLIENT_ID = "gantry";

/**
 * By what a client proves itself to a registry: by tokens that it fetches, where it offers that, so that its password
 * stays with it; else by what it has.
 */
export async function credentialsOf(asked: Asked, registry: string, signal: AbortSignal): Promise<Credentials> {
  // The name under which clients of BuildKit look for those of Docker Hub.
  const host = registry === "docker.io" || registry === "index.docker.io" ? "registry-1.docker.io" : registry;
  const key = await tokenKey(asked, host, signal);
  if (key === undefined) return secretsOf(asked, host, signal);
  const { client, id } = asked;
  const owner = (await provesKey(asked, host, key, signal)) ? Buffer.from(key).toString("hex") : id;
  return {
    ...ANONYMOUS,
    tokens: {
      id: `${owner} ${host}`,
      fetch: async ({ realm, scopes, service }, waiting) => {
        const request = create(FetchTokenRequestSchema, {
          ...{ ClientID: CLIENT_ID, Host: host, Realm: realm, Service: service, Scopes: [...scopes] },
        });
        const options = { signal: waiting ?? signal, timeoutMs: ASK_MS };
        const { ExpiresIn, Token } = await told(client.unary(AUTH.fetchToken, request, options));
        return { value: Token, lifeSeconds: Number(ExpiresIn) || LIFE_SECONDS };
      },
      password: (waiting) => secretsOf(asked, host, waiting ?? signal),
    },
  };
}

/** Clients tell by a key of theirs that they do: it is made of what they prove themselves with. Undefined of those that don't. */
async function tokenKey({ client, serves }: Asked, host: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
  if (!serves(AUTH.fetchToken.path) || !serves(AUTH.getTokenAuthority.path)) return undefined;
  try {
    const request = create(GetTokenAuthorityRequestSchema, { Host: host, Salt: SALT });
    const { PublicKey } = await client.unary(AUTH.getTokenAuthority, request, { signal, timeoutMs: ASK_MS });
    if (PublicKey.length !== KEY_BYTES) {
      throw new GantryError("invalid", `invalid pubkey length ${PublicKey.length}`);
    }
    return PublicKey;
  } catch (error) {
    if (error instanceof GrpcError && (error.code === STATUS.unimplemented || error.code === STATUS.unavailable)) {
      return undefined;
    }
    throw toGantryError(error);
  }
}

/**
 * Whether the key is the client's own: then tokens that were fetched by another session of whoever has it are good for
 * this one, too. Those of a client that can't show it are for its session alone.
 */
async function provesKey(
  { client, serves }: Asked,
  host: string,
  key: Uint8Array,
  signal: AbortSignal,
): Promise<boolean> {
  if (!serves(AUTH.verifyTokenAuthority.path)) return false;
  try {
    const payload = randomBytes(PAYLOAD_BYTES);
    const request = create(VerifyTokenAuthorityRequestSchema, { Host: host, Salt: SALT, Payload: payload });
    const { Signed } = await client.unary(AUTH.verifyTokenAuthority, request, { signal, timeoutMs: ASK_MS });
    return isSignedBy(key, Signed, payload);
  } catch (error) {
    if (error instanceof GrpcError && error.code !== STATUS.cancelled) return false;
    throw toGantryError(error);
  }
}

/** An Ed25519 signature with what it signs behind it, as NaCl's `crypto_sign` has them. */
function isSignedBy(key: Uint8Array, signed: Uint8Array, payload: Uint8Array): boolean {
  const [signature, rest] = [signed.subarray(0, SIGNATURE_BYTES), signed.subarray(SIGNATURE_BYTES)];
  if (signature.length !== SIGNATURE_BYTES || !Buffer.from(payload).equals(rest)) return false;
  try {
    const der = Buffer.concat([ED25519_HEADER, key]);
    return verify(null, payload, createPublicKey({ key: der, format: "der", type: "spki" }), signature);
  } catch {
    // It is no point of the curve.
    return false;
  }
}

async function secretsOf({ client, serves }: Asked, host: string, signal: AbortSignal): Promise<Credentials> {
  if (!serves(AUTH.credentials.path)) return ANONYMOUS;
  try {
    const request = create(CredentialsRequestSchema, { Host: host });
    const { Secret, Username } = await client.unary(AUTH.credentials, request, { signal, timeoutMs: ASK_MS });
    // A secret without a name is a token that stands for both.
    return Username === ""
      ? { ...ANONYMOUS, identityToken: Secret }
      : { ...ANONYMOUS, username: Username, password: Secret };
  } catch (error) {
    if (error instanceof GrpcError && error.code === STATUS.unimplemented) return ANONYMOUS;
    throw toGantryError(error);
  }
}

async function told<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw toGantryError(error);
  }
}
