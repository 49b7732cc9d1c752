import { GantryError } from "../base/errors.ts";
import { STATUS_CODES } from "../base/http.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Credentials } from "./credentials.ts";
import { type Endpoint, endpointsOf } from "./endpoint.ts";
import { RefusedError, titleOf, UnreachableError } from "./failure.ts";
import type { RemotePorts, Waiting } from "./settings.ts";
import { basic, type Tokens } from "./token.ts";
import type { Answer, Transport } from "./transport.ts";

export interface LoginResult {
  readonly status: "Login Succeeded";
  /** Stands for name and password from now on; empty if the registry gave none. */
  readonly identityToken: string;
}

interface Parts {
  readonly ports: RemotePorts;
  readonly transport: Transport;
  readonly tokens: Tokens;
}

/** Proves credentials at `GET /v2/`. Throws why not, in Docker's words; what was refused is not tried without TLS. */
export async function login(
  parts: Parts,
  address: string,
  credentials: Credentials,
  waiting: Waiting,
): Promise<LoginResult> {
  const endpoints = await endpointsOf({ domain: hostOf(address), path: "" }, parts.ports, { mirrors: false });
  let last: unknown;
  for (const endpoint of endpoints) {
    try {
      return await loginAt(parts, endpoint, credentials, waiting);
    } catch (error) {
      if (!(error instanceof UnreachableError)) throw error;
      last = error;
    }
  }
  throw last;
}

async function loginAt(
  { transport, tokens }: Parts,
  endpoint: Endpoint,
  credentials: Credentials,
  waiting: Waiting,
): Promise<LoginResult> {
  const url = new URL("v2/", endpoint.base);
  const ask = async (authorization?: string): Promise<Answer> => {
    const headers: Record<string, string> = authorization === undefined ? {} : { Authorization: authorization };
    const answer = await transport.send({ method: "GET", url, headers, verify: endpoint.verify }, waiting);
    answer.body.destroy();
    return answer;
  };
  let answer = await ask();
  let identityToken = "";
  const challenge = answer.status === 401 ? chosen(answer) : undefined;
  if (challenge?.scheme === "basic" && credentials.username === "") {
    throw new GantryError("internal", `${titleOf("GET", url)}: no basic auth credentials`);
  }
  if (challenge?.scheme === "basic") answer = await ask(basic(credentials));
  else if (challenge !== undefined) {
    const wish = { endpoint, challenge, scopes: [], credentials, isLogin: true };
    const token = await tokens.get(wish, waiting).catch((error: unknown) => {
      if (!(error instanceof RefusedError)) throw error;
      throw error.worded(`${titleOf("GET", url)}: ${error.reason}`);
    });
    identityToken = token.identityToken;
    answer = await ask(`Bearer ${token.value}`);
  }
  if (answer.status === 200) return { status: "Login Succeeded", identityToken };
  const status = `${answer.status} ${STATUS_CODES[answer.status] ?? ""}`.trimEnd();
  throw new GantryError("internal", `login attempt to ${url.href} failed with status: ${status}`);
}

function chosen({ headers }: Answer): Challenge | undefined {
  const offered = parseChallenges(headers["www-authenticate"] ?? "");
  return offered.find(({ scheme }) => scheme === "bearer") ?? offered.find(({ scheme }) => scheme === "basic");
}

/** `registry:5000`, `https://registry:5000/v1/`; empty is docker.io. */
function hostOf(address: string): string {
  if (address === "") return "docker.io";
  const full = /^https?:\/\//.test(address) ? address : `https://${address}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  if (url === undefined || url.host === "") {
    const shown = JSON.stringify(full.replace(/\/\/[^/@]*@/, "//").slice(0, 200));
    throw new GantryError("invalid", `unable to parse server address: parse ${shown}: invalid host name`);
  }
  // Not the URL's own: that one leaves out a port that the scheme implies.
  return full
    .replace(/^https?:\/\//, "")
    .replace(/[/?#].*$/s, "")
    .replace(/^.*@/, "");
}
