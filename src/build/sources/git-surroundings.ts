import { chmodSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream";
import { GantryError } from "../../base/errors.ts";
import { proxyOf } from "../../remote/proxy.ts";
import type { ProxySettings } from "../../remote/settings.ts";
import type { DenyRanges } from "../deny-ranges.ts";
import type { GitOperation } from "../graph.ts";
import type { BuildSession } from "../session.ts";
import { CheckingProxy } from "./checking-proxy.ts";
import type { GitSurroundings } from "./git-process.ts";
import { type GitUser, type RemoteHost, remoteHost, shownRemote, withoutUser } from "./git-remote.ts";

/** Those of the network: a repository's submodules can't name a folder of this machine or a program. */
const PROTOCOLS = "http:https:ssh:git";
/** Tells git who uses a remote when its server asks: what is told is in the environment, not in a command line. */
const CREDENTIAL_HELPER = `!printf 'username=%s\\npassword=%s\\n' "$GANTRY_GIT_USER" "$GANTRY_GIT_PASSWORD"; true`;

/** For whom git runs. */
export interface GitClient {
  readonly session: BuildSession | undefined;
  readonly deny: DenyRanges;
  readonly signal: AbortSignal;
}

/** Where it runs. */
export interface GitPlace {
  /** What git takes for a home: empty. */
  readonly home: string;
  /** The keys of ssh hosts that were learnt. */
  readonly knownHosts: string;
  readonly proxies: ProxySettings;
}

export interface OpenSurroundings {
  readonly surroundings: GitSurroundings;
  /** The remote as git is told it. */
  readonly remote: string;
  /** What holds git to addresses that aren't denied. */
  readonly proxy: CheckingProxy | undefined;
}

/** What git may talk to for an operation, by which way and as whom; `ends` takes it down. */
export async function openSurroundings(
  operation: GitOperation,
  client: GitClient,
  place: GitPlace,
  ends: AsyncDisposableStack,
): Promise<OpenSurroundings> {
  const { deny, session, signal } = client;
  const { remote, user } = withoutUser(operation.remote);
  const where = remoteHost(remote);
  const { scheme } = where;
  const isWeb = scheme === "http" || scheme === "https";
  const config: (readonly [string, string])[] = [];
  const secrets: string[] = [];
  const env: Record<string, string> = {};
  let proxy: CheckingProxy | undefined;
  if (!deny.isEmpty) {
    // It has no way to be told whom to connect to.
    if (scheme === "git") {
      const why = "deny ranges can't be held for git://, use https";
      throw new GantryError("forbidden", `cannot fetch ${shownRemote(remote)}: ${why}`);
    }
    proxy = ends.use(await CheckingProxy.start(deny));
    secrets.push(proxy.password);
    config.push(["http.proxy", proxy.url]);
  } else if (isWeb) {
    const upstream = proxyOf(new URL(remote), place.proxies);
    config.push(["http.proxy", upstream?.href ?? ""]);
    if (upstream !== undefined && upstream.password !== "") secrets.push(upstream.password);
  }
  const header = isWeb ? await authorization(operation, session, where.host, signal) : undefined;
  if (header !== undefined) {
    const { origin } = new URL(remote);
    secrets.push(header.slice(header.lastIndexOf(" ") + 1), ...header.split(" ").slice(1));
    // For this server alone; git would take it along to where a redirect leads.
    config.push([`http.${origin}/.extraHeader`, `Authorization: ${header}`], ["http.followRedirects", "false"]);
  } else if (isWeb && user !== undefined) {
    secrets.push(...secretsOf(user));
    config.push([`credential.${new URL(remote).origin}.helper`, CREDENTIAL_HELPER]);
    Object.assign(env, { GANTRY_GIT_USER: user.name, GANTRY_GIT_PASSWORD: user.password });
  }
  Object.assign(
    env,
    scheme === "ssh" ? await ssh(where, client, sshPlace(operation, place), ends) : { GIT_SSH_COMMAND: "/bin/false" },
  );
  const protocols = deny.isEmpty ? PROTOCOLS : scheme === "ssh" ? "ssh" : "http:https";
  return { surroundings: { home: place.home, config, env, protocols, secrets }, remote, proxy };
}

/** Whatever git or a server could show of them. A name alone is a token. */
function secretsOf({ name, password }: GitUser): string[] {
  const login = Buffer.from(`${name}:${password}`).toString("base64");
  const secret = password === "" ? name : password;
  return [secret, encodeURIComponent(secret), login];
}

/** `basic …` or `bearer …`, of the client's secrets; undefined where it has none. */
async function authorization(
  { secrets }: GitOperation,
  session: BuildSession | undefined,
  host: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (session === undefined) return undefined;
  const { header = "GIT_AUTH_HEADER", token = "GIT_AUTH_TOKEN" } = secrets ?? {};
  for (const [name, isToken] of [
    [`${header}.${host}`, false],
    [`${token}.${host}`, true],
    [header, false],
    [token, true],
  ] as const) {
    const value = (await session.secret(name, signal).catch(() => undefined)) ?? Buffer.alloc(0);
    const text = Buffer.from(value).toString("utf8").trim();
    if (text === "") continue;
    if (/[\r\n\0]/.test(text))
      throw new GantryError("invalid", `the secret ${name} is no header: it has several lines`);
    return isToken ? `basic ${Buffer.from(`x-access-token:${text}`).toString("base64")}` : text;
  }
  return undefined;
}

interface SshPlace extends Pick<GitPlace, "home" | "knownHosts"> {
  /** What is learnt at the first connection, or what is known of all there are. */
  readonly hostKeys: "accept-new" | "yes";
}

/** The client may say which keys hosts have. */
function sshPlace({ knownHosts }: GitOperation, place: GitPlace): SshPlace {
  if (knownHosts === undefined) return { ...place, hostKeys: "accept-new" };
  const own = join(place.home, "known_hosts");
  writeFileSync(own, `${knownHosts}\n`, { mode: 0o600 });
  return { ...place, knownHosts: own, hostKeys: "yes" };
}

/** The client's agent and nobody's keys. */
async function ssh(
  { hostname }: RemoteHost,
  { deny, session, signal }: GitClient,
  { home, hostKeys, knownHosts }: SshPlace,
  ends: AsyncDisposableStack,
): Promise<Record<string, string>> {
  const words = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", `StrictHostKeyChecking=${hostKeys}`];
  words.push("-o", `UserKnownHostsFile=${knownHosts}`, "-o", "IdentityFile=none", "-o", "ConnectTimeout=30");
  if (!deny.isEmpty) {
    const [address] = await deny.resolve(hostname);
    if (address === undefined) throw new GantryError("unavailable", `cannot fetch from ${hostname}: it has no address`);
    // Wherever git wants to go, it ends up at the address that was checked.
    words.push("-o", `HostName=${address.address}`, "-o", `HostKeyAlias=${hostname}`);
  }
  const env = { GIT_SSH_VARIANT: "ssh", GIT_SSH_COMMAND: words.map(quoted).join(" ") };
  if (session === undefined || !(await hasAgent(session, signal))) return env;
  const socket = join(home, "agent");
  await serveAgent(socket, session, signal, ends);
  return { ...env, SSH_AUTH_SOCK: socket };
}

async function hasAgent(session: BuildSession, signal: AbortSignal): Promise<boolean> {
  try {
    await session.checkAgent("default", signal);
    return true;
  } catch {
    return false;
  }
}

async function serveAgent(
  socket: string,
  session: BuildSession,
  signal: AbortSignal,
  ends: AsyncDisposableStack,
): Promise<void> {
  const server = createServer((client) => {
    client.on("error", () => {});
    session.agent("default", signal).then(
      (agent) => {
        pipeline(client, agent, () => {});
        pipeline(agent, client, () => {});
      },
      () => client.destroy(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(socket, resolve);
  });
  chmodSync(socket, 0o600);
  ends.defer(() => new Promise<void>((resolve) => server.close(() => resolve())));
}

/** A word of a shell's. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
