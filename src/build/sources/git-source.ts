import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
} from "node:fs";
import { lstat, opendir, rename, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import { GantryError, hasCode } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { O_PATH, openInRoot } from "../../kernel/path.ts";
import { sha256Of } from "../../oci/digest.ts";
import { proxyOf } from "../../remote/proxy.ts";
import type { CacheUsage } from "../builder.ts";
import { type DenyRanges, denied } from "../deny-ranges.ts";
import type { GitOperation } from "../graph.ts";
import type { ResolvedSource } from "../operator.ts";
import type { CacheHolder } from "../parts.ts";
import type { Root } from "../root.ts";
import type { Roots } from "../roots.ts";
import type { BuildSession } from "../session.ts";
import { CheckingProxy } from "./checking-proxy.ts";
import { GitError, type GitSurroundings, git } from "./git-process.ts";
import { checkGitOperation, cleanSubdir, isCommit, remoteHost, shownRemote } from "./git-remote.ts";
import type { SourceSettings } from "./settings.ts";

/** Those of the network: a repository's submodules can't name a folder of this machine or a program. */
const PROTOCOLS = "http:https:ssh:git";

export interface GitPorts {
  /** A folder of its own. */
  readonly root: string;
  readonly roots: Pick<Roots, "folder">;
  readonly settings: () => Pick<SourceSettings, "proxies">;
}

export interface GitOptions {
  readonly session: BuildSession | undefined;
  readonly deny: DenyRanges;
  readonly signal: AbortSignal;
}

interface Meta {
  readonly remote: string;
  readonly createdAt: number;
  lastUsedAt: number;
  usageCount: number;
}

/**
 * Repositories by URL. Each has a folder with a bare clone, of which only the commits that were wanted are fetched, and a
 * checkout for each commit and way to have it, which appears whole. Git runs without hooks, helpers, anybody's
 * configuration and the machine's credentials.
 */
export class GitSource implements CacheHolder {
  readonly #ports: GitPorts;
  readonly #lock = new KeyedLock();
  readonly #held = new Map<string, number>();

  constructor(ports: GitPorts) {
    this.#ports = ports;
  }

  async recover(): Promise<void> {
    const { root } = this.#ports;
    mkdirSync(root, { recursive: true, mode: 0o700 });
    for (const id of readdirSync(root)) {
      const folder = join(root, id);
      const isLocked = existsSync(join(folder, "repository")) && hasLocks(join(folder, "repository"));
      if (this.#read(id) === undefined || isLocked) await rm(folder, { recursive: true, force: true });
      else {
        for (const name of readdirSync(folder))
          if (name.startsWith("incoming-") || name.startsWith("home-"))
            await rm(join(folder, name), { recursive: true, force: true });
      }
    }
  }

  /** The commit is what counts: a branch is asked for each time. */
  async resolve(operation: GitOperation, options: GitOptions): Promise<ResolvedSource> {
    checkGitOperation(operation);
    const { checksum, keepGitDir, ref, remote } = operation;
    const wanted = isCommit(ref)
      ? { commit: ref, name: "" }
      : await this.#inside(operation, options, (run) => findCommit(run, remote, ref));
    if (checksum !== undefined && !wanted.commit.startsWith(checksum)) {
      throw new GantryError("invalid", `expected checksum to match ${checksum}, got ${wanted.commit}`);
    }
    const subdir = cleanSubdir(operation.subdir);
    const key = sha256Of(JSON.stringify(["git", wanted.commit, subdir, keepGitDir, keepGitDir ? remote : ""]));
    const digest = `${wanted.commit.length === 64 ? "sha256" : "sha1"}:${wanted.commit}`;
    return { key, digest, root: () => this.#root(operation, wanted, subdir, options) };
  }

  async usage(): Promise<readonly CacheUsage[]> {
    const rows: CacheUsage[] = [];
    for (const id of readdirSync(this.#ports.root)) {
      const meta = this.#read(id);
      if (meta === undefined) continue;
      const { createdAt, lastUsedAt, remote, usageCount } = meta;
      rows.push({
        ...{ id, parents: [], type: "source.git.checkout", description: `git repository ${remote}`, shared: false },
        ...{
          inUse: this.#isUsed(id),
          size: await sizeOf(join(this.#ports.root, id)),
          createdAt,
          lastUsedAt,
          usageCount,
        },
      });
    }
    return rows;
  }

  async remove(id: string): Promise<number | undefined> {
    if (!/^[0-9a-f]{32}$/.test(id) || this.#isUsed(id)) return undefined;
    return this.#lock.run(id, async () => {
      if (this.#read(id) === undefined || this.#held.has(id)) return undefined;
      const folder = join(this.#ports.root, id);
      const size = await sizeOf(folder);
      await rm(join(folder, "meta.json"), { force: true });
      await rm(folder, { recursive: true, force: true });
      return size;
    });
  }

  #isUsed(id: string): boolean {
    return this.#held.has(id) || this.#lock.isHeld(id);
  }

  async #root(operation: GitOperation, wanted: Wanted, subdir: string, options: GitOptions): Promise<Root> {
    const id = idOf(operation.remote);
    const name = `checkout-${wanted.commit}${operation.keepGitDir ? "-git" : ""}`;
    const checkout = join(this.#ports.root, id, name);
    this.#hold(id, 1);
    try {
      if (!existsSync(checkout)) {
        await this.#inside(operation, options, async (run) => {
          if (!existsSync(checkout)) await makeCheckout(run, operation, wanted, checkout);
        });
      }
      return this.#ports.roots.folder(folderIn(checkout, subdir, operation), { onEnd: () => this.#hold(id, -1) });
    } catch (error) {
      this.#hold(id, -1);
      throw error;
    }
  }

  #hold(id: string, change: 1 | -1): void {
    const held = (this.#held.get(id) ?? 0) + change;
    if (held === 0) this.#held.delete(id);
    else this.#held.set(id, held);
  }

  /** Runs what needs git, alone in the folder of its remote. */
  async #inside<T>(operation: GitOperation, options: GitOptions, act: (run: Run) => Promise<T>): Promise<T> {
    const { remote } = operation;
    const id = idOf(remote);
    const folder = join(this.#ports.root, id);
    return this.#lock.run(id, async () => {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const now = Date.now();
      const former = this.#read(id) ?? { remote: shownRemote(remote), createdAt: now, lastUsedAt: now, usageCount: 0 };
      const meta = { ...former, lastUsedAt: now, usageCount: former.usageCount + 1 };
      writeFileAtomic(join(folder, "meta.json"), JSON.stringify(meta), { durable: false });
      const home = join(folder, `home-${randomBytes(6).toString("hex")}`);
      mkdirSync(home, { mode: 0o700 });
      await using ends = new AsyncDisposableStack();
      ends.defer(() => rm(home, { recursive: true, force: true }));
      const { surroundings, proxy } = await this.#surroundings(operation, options, home, ends);
      const { signal } = options;
      const repository = join(folder, "repository");
      try {
        if (!existsSync(repository)) await clone(repository, surroundings, signal);
        return await act({ folder, repository, surroundings, signal });
      } catch (error) {
        const [refused] = proxy?.refused ?? [];
        if (refused !== undefined) throw denied(refused);
        throw error;
      }
    });
  }

  async #surroundings(operation: GitOperation, options: GitOptions, home: string, ends: AsyncDisposableStack) {
    const { remote } = operation;
    const { deny, session, signal } = options;
    const { scheme, hostname, host } = remoteHost(remote);
    const { proxies } = this.#ports.settings();
    const config: (readonly [string, string])[] = [];
    const secrets: string[] = [];
    let env: Record<string, string> = {};
    let proxy: CheckingProxy | undefined;
    if (!deny.isEmpty) {
      // It has no way to be told whom to connect to.
      if (scheme === "git") {
        throw new GantryError(
          "forbidden",
          `cannot fetch ${shownRemote(remote)}: deny ranges can't be held for git://, use https`,
        );
      }
      proxy = ends.use(await CheckingProxy.start(deny));
      secrets.push(proxy.password);
      config.push(["http.proxy", proxy.url]);
    } else if (scheme === "http" || scheme === "https") {
      const upstream = proxyOf(new URL(remote), proxies);
      config.push(["http.proxy", upstream?.href ?? ""]);
      if (upstream !== undefined && upstream.password !== "") secrets.push(upstream.password);
    }
    const header = await authorization(operation, session, host, signal);
    if (header !== undefined) {
      const { origin } = new URL(remote);
      secrets.push(header.slice(header.lastIndexOf(" ") + 1), ...header.split(" ").slice(1));
      // For this server alone; git would take it along to where a redirect leads.
      config.push([`http.${origin}/.extraHeader`, `Authorization: ${header}`], ["http.followRedirects", "false"]);
    }
    if (scheme === "ssh") env = await this.#ssh(home, hostname, options, ends);
    else env = { GIT_SSH_COMMAND: "/bin/false" };
    const protocols = deny.isEmpty ? PROTOCOLS : scheme === "ssh" ? "ssh" : "http:https";
    const surroundings: GitSurroundings = { home, config, env, protocols, secrets };
    return { surroundings, proxy };
  }

  /** The client's agent and nobody's keys; a host's key is learnt at the first connection. */
  async #ssh(home: string, hostname: string, options: GitOptions, ends: AsyncDisposableStack) {
    const { deny, session, signal } = options;
    const known = join(this.#ports.root, `../git-known-hosts`);
    const words = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"];
    words.push("-o", `UserKnownHostsFile=${known}`, "-o", "IdentityFile=none", "-o", "ConnectTimeout=30");
    if (!deny.isEmpty) {
      const [address] = await deny.resolve(hostname);
      if (address === undefined)
        throw new GantryError("unavailable", `cannot fetch from ${hostname}: it has no address`);
      // Wherever git wants to go, it ends up at the address that was checked.
      words.push("-o", `HostName=${address.address}`, "-o", `HostKeyAlias=${hostname}`);
    }
    const env: Record<string, string> = { GIT_SSH_VARIANT: "ssh", GIT_SSH_COMMAND: words.map(quoted).join(" ") };
    const hasAgent =
      session !== undefined &&
      (await session.checkAgent("default", signal).then(
        () => true,
        () => false,
      ));
    if (!hasAgent) return env;
    const socket = join(home, "agent");
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
    return { ...env, SSH_AUTH_SOCK: socket };
  }

  #read(id: string): Meta | undefined {
    try {
      return JSON.parse(readFileSync(join(this.#ports.root, id, "meta.json"), "utf8")) as Meta;
    } catch {
      return undefined;
    }
  }
}

interface Run {
  readonly folder: string;
  /** Bare. */
  readonly repository: string;
  readonly surroundings: GitSurroundings;
  readonly signal: AbortSignal;
}

interface Wanted {
  readonly commit: string;
  /** The full name of the branch or tag that has it; empty where a commit was asked for. */
  readonly name: string;
}

async function clone(repository: string, surroundings: GitSurroundings, signal: AbortSignal): Promise<void> {
  const incoming = `${repository.replace(/[^/]*$/, "")}incoming-${randomBytes(6).toString("hex")}`;
  try {
    await git(["init", "--quiet", "--bare", "--template=", "--", incoming], "/", surroundings, signal);
    await rename(incoming, repository);
  } finally {
    await rm(incoming, { recursive: true, force: true });
  }
}

async function findCommit({ repository, surroundings, signal }: Run, remote: string, ref: string): Promise<Wanted> {
  const patterns = ref === "" ? ["HEAD"] : [ref, `${ref}^{}`];
  const listed = await git(["ls-remote", "--", remote, ...patterns], repository, surroundings, signal);
  const rows = new Map(
    listed.split("\n").flatMap((line) => {
      const [commit = "", name = ""] = line.split("\t");
      return isCommit(commit) ? [[name, commit] as const] : [];
    }),
  );
  const short = ref.replace(/^refs\//, "");
  // What is tagged counts, not the tag's own object; a branch comes before a tag.
  const candidates =
    ref === ""
      ? ["HEAD"]
      : [`refs/heads/${short.replace(/^heads\//, "")}`, `refs/tags/${short.replace(/^tags\//, "")}`, `refs/${short}`];
  for (const name of candidates) {
    const commit = rows.get(`${name}^{}`) ?? rows.get(name);
    if (commit !== undefined) return { commit, name };
  }
  throw new GantryError("not-found", `repository does not contain ref ${ref === "" ? "HEAD" : ref}`);
}

/** Makes sure of a commit, with as little of the history as the server lets. */
async function fetchCommit(run: Run, remote: string, { commit, name }: Wanted): Promise<void> {
  const { repository, signal, surroundings } = run;
  const kept = join(repository, "refs/gantry", commit);
  if (isKept(kept, commit)) return;
  const fetch = ["fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head"];
  for (const what of name === "" ? [commit] : [name, commit]) {
    const way = [...fetch, "--depth=1", "--", remote, `+${what}:refs/gantry/${commit}`];
    try {
      await git(way, repository, surroundings, signal);
    } catch (error) {
      // A server may refuse commits by their names, or everything but whole histories.
      if (!(error instanceof GitError)) throw error;
    }
    if (isKept(kept, commit)) return;
    // A tag's own object, or a branch that moved meanwhile.
    if (await hasCommit(run, commit)) return;
  }
  const isShallow = existsSync(join(repository, "shallow"));
  const refs = ["+refs/heads/*:refs/gantry/heads/*", "+refs/tags/*:refs/gantry/tags/*"];
  await git([...fetch, ...(isShallow ? ["--unshallow"] : []), "--", remote, ...refs], repository, surroundings, signal);
  if (!(await hasCommit(run, commit))) {
    throw new GantryError("not-found", `repository does not contain commit ${commit}`);
  }
}

/** Whether a reference of the clone is a commit. */
function isKept(path: string, commit: string): boolean {
  try {
    return readFileSync(path, "utf8").trim() === commit;
  } catch {
    return false;
  }
}

async function hasCommit({ repository, surroundings, signal }: Run, commit: string): Promise<boolean> {
  try {
    await git(["cat-file", "-e", `${commit}^{tree}`], repository, surroundings, signal);
    return true;
  } catch (error) {
    if (error instanceof GitError) return false;
    throw error;
  }
}

/** Appears whole under its name. */
async function makeCheckout(run: Run, operation: GitOperation, wanted: Wanted, checkout: string): Promise<void> {
  const { keepGitDir, remote } = operation;
  const { folder, repository, signal, surroundings } = run;
  const { commit } = wanted;
  await fetchCommit(run, remote, wanted);
  const incoming = join(folder, `incoming-${randomBytes(6).toString("hex")}`);
  try {
    if (!keepGitDir) {
      mkdirSync(incoming, { mode: 0o755 });
      const index = join(surroundings.home, "index");
      const own = { ...surroundings, env: { ...surroundings.env, GIT_INDEX_FILE: index } };
      const tree = [`--git-dir=${repository}`, `--work-tree=${incoming}`];
      await git([...tree, "read-tree", "--reset", "-u", commit], incoming, own, signal);
    }
    // Submodules want a repository around them.
    if (keepGitDir || existsSync(join(incoming, ".gitmodules"))) {
      await rm(incoming, { recursive: true, force: true });
      await makeRepository(run, remote, commit, incoming);
      if (!keepGitDir) await removeGitDirs(incoming, run);
    }
    chmodSync(incoming, 0o755);
    await rename(incoming, checkout);
  } finally {
    await rm(incoming, { recursive: true, force: true });
  }
}

/** A repository of one commit with its submodules, and nothing in it of how it was made. */
async function makeRepository(
  { repository, signal, surroundings }: Run,
  remote: string,
  commit: string,
  folder: string,
) {
  const own = (...args: readonly string[]) => git(args, folder, surroundings, signal);
  await git(["init", "--quiet", "--template=", "--", folder], "/", surroundings, signal);
  // From the clone beside it: the only time that git reads a folder of this machine.
  const here = { ...surroundings, protocols: "file", config: [] };
  const fetch = ["fetch", "--quiet", "--no-tags", "--depth=1", "--update-shallow", "--", repository, commit];
  await git(fetch, folder, here, signal);
  await own("checkout", "--quiet", "--detach", commit);
  await own("remote", "add", "--", "origin", shownRemote(remote));
  if (existsSync(join(folder, ".gitmodules"))) {
    await own("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1");
  }
  for (const name of ["FETCH_HEAD", "ORIG_HEAD", "logs", "hooks"]) {
    await rm(join(folder, ".git", name), { recursive: true, force: true });
  }
}

/** Of the repository and of its submodules. */
async function removeGitDirs(folder: string, { signal, surroundings }: Run): Promise<void> {
  if (existsSync(join(folder, ".gitmodules"))) {
    const listed = await git(
      ["submodule", "--quiet", "foreach", "--recursive", 'printf "%s\\0" "$displaypath"'],
      folder,
      surroundings,
      signal,
    );
    for (const path of listed.split("\0").filter((one) => one !== "")) {
      const fd = openInRoot(folder, path, O_PATH | constants.O_DIRECTORY);
      try {
        await rm(`/proc/self/fd/${fd}/.git`, { recursive: true, force: true });
      } finally {
        closeSync(fd);
      }
    }
  }
  await rm(join(folder, ".git"), { recursive: true, force: true });
}

/** `basic …` or `bearer …`, of the client's secrets; undefined where it has none, or for remotes without HTTP. */
async function authorization(
  { remote, secrets }: GitOperation,
  session: BuildSession | undefined,
  host: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (session === undefined || !/^https?:/i.test(remote)) return undefined;
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

function folderIn(checkout: string, subdir: string, { remote }: GitOperation): string {
  if (subdir === "") return checkout;
  try {
    const fd = openInRoot(checkout, subdir, O_PATH | constants.O_DIRECTORY);
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (!hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) throw error;
    throw new GantryError("not-found", `${shownRemote(remote)} has no folder ${JSON.stringify(subdir)}`, {
      cause: error,
    });
  }
}

/** What a run of git that was killed leaves, and every later one stumbles over. */
function hasLocks(repository: string): boolean {
  const names = [
    ...readdirSync(repository),
    ...(readdirSync(join(repository, "refs"), { recursive: true }) as string[]),
  ];
  return names.some((name) => name.endsWith(".lock"));
}

async function sizeOf(folder: string): Promise<number> {
  let size = 0;
  for await (const entry of await opendir(folder, { recursive: true })) {
    if (!entry.isFile()) continue;
    // It may go while one looks.
    size += (await lstat(join(entry.parentPath, entry.name)).catch(() => undefined))?.size ?? 0;
  }
  return size;
}

function idOf(remote: string): string {
  return sha256Of(remote).slice("sha256:".length, "sha256:".length + 32);
}

/** A word of a shell's. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
