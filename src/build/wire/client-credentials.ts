import { randomBytes } from "node:crypto";
import { create } from "../../buildkit/message.ts";
import {
  AUTH,
  CredentialsRequestSchema,
  FetchTokenRequestSchema,
  GetTokenAuthorityRequestSchema,
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
const SALT_BYTES = 32;
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
  if (!(await fetchesTokens(asked, host, signal))) return secretsOf(asked, host, signal);
  const { client, id } = asked;
  return {
    ...ANONYMOUS,
    tokens: {
      id: `${id} ${host}`,
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

/** Clients tell by a key of theirs that they do; whose tokens those are is never asked: nobody else is given them. */
async function fetchesTokens({ client, serves }: Asked, host: string, signal: AbortSignal): Promise<boolean> {
  if (!serves(AUTH.fetchToken.path) || !serves(AUTH.getTokenAuthority.path)) return false;
  try {
    const request = create(GetTokenAuthorityRequestSchema, { Host: host, Salt: randomBytes(SALT_BYTES) });
    await client.unary(AUTH.getTokenAuthority, request, { signal, timeoutMs: ASK_MS });
    return true;
  } catch (error) {
    if (error instanceof GrpcError && (error.code === STATUS.unimplemented || error.code === STATUS.unavailable)) {
      return false;
    }
    throw toGantryError(error);
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
