import { randomBytes } from "node:crypto";
import { closeSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { lstat, opendir, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import { GantryError, hasCode } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { O_PATH, openInRoot } from "../../kernel/path.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { CacheUsage } from "../builder.ts";
import { denied } from "../deny-ranges.ts";
import type { GitOperation } from "../graph.ts";
import type { ResolvedSource } from "../operator.ts";
import type { CacheHolder } from "../parts.ts";
import type { Root } from "../root.ts";
import type { Roots } from "../roots.ts";
import { clone, findCommit, makeCheckout, type Run, type Wanted } from "./git-checkout.ts";
import { checkGitOperation, cleanSubdir, isCommit, shownRemote } from "./git-remote.ts";
import { type GitClient, openSurroundings } from "./git-surroundings.ts";
import type { SourceSettings } from "./settings.ts";

export interface GitPorts {
  /** A folder of its own. */
  readonly root: string;
  readonly roots: Pick<Roots, "folder">;
  readonly settings: () => Pick<SourceSettings, "proxies">;
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
  async resolve(operation: GitOperation, options: GitClient): Promise<ResolvedSource> {
    checkGitOperation(operation);
    const { checksum, keepGitDir, ref, remote } = operation;
    const wanted: Wanted =
      commitOf(operation) ?? (await this.#inside(operation, options, (run) => findCommit(run, ref)));
    if (checksum !== undefined && !wanted.commit.startsWith(checksum) && wanted.tag?.startsWith(checksum) !== true) {
      throw new GantryError("invalid", `expected checksum to match ${checksum}, got ${wanted.commit}`);
    }
    const subdir = cleanSubdir(operation.subdir);
    const ways = [...(operation.skipSubmodules ? ["alone"] : []), ...(operation.commitTimes ? ["dated"] : [])];
    const made = ["git", wanted.commit, subdir, keepGitDir, keepGitDir ? remote : "", ...ways];
    const key = sha256Of(JSON.stringify(made));
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

  async #root(operation: GitOperation, wanted: Wanted, subdir: string, options: GitClient): Promise<Root> {
    const id = idOf(operation.remote);
    const { commitTimes, keepGitDir, skipSubmodules } = operation;
    const ways = [keepGitDir ? "-git" : "", skipSubmodules ? "-alone" : "", commitTimes ? "-dated" : ""];
    const name = `checkout-${wanted.commit}${ways.join("")}`;
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
  async #inside<T>(operation: GitOperation, options: GitClient, act: (run: Run) => Promise<T>): Promise<T> {
    const { root } = this.#ports;
    const id = idOf(operation.remote);
    const folder = join(root, id);
    return this.#lock.run(id, async () => {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const now = Date.now();
      const former = this.#read(id) ?? {
        remote: shownRemote(operation.remote),
        createdAt: now,
        lastUsedAt: now,
        usageCount: 0,
      };
      const meta = { ...former, lastUsedAt: now, usageCount: former.usageCount + 1 };
      writeFileAtomic(join(folder, "meta.json"), JSON.stringify(meta), { durable: false });
      const home = join(folder, `home-${randomBytes(6).toString("hex")}`);
      mkdirSync(home, { mode: 0o700 });
      await using ends = new AsyncDisposableStack();
      ends.defer(() => rm(home, { recursive: true, force: true }));
      const place = { home, knownHosts: join(root, "../git-known-hosts"), proxies: this.#ports.settings().proxies };
      const { proxy, remote, surroundings } = await openSurroundings(operation, options, place, ends);
      const { signal } = options;
      const repository = join(folder, "repository");
      try {
        if (!existsSync(repository)) await clone(repository, surroundings, signal);
        return await act({ folder, remote, repository, surroundings, signal });
      } catch (error) {
        const [refused] = proxy?.refused ?? [];
        if (refused !== undefined) throw denied(refused);
        throw error;
      }
    });
  }

  #read(id: string): Meta | undefined {
    try {
      return JSON.parse(readFileSync(join(this.#ports.root, id, "meta.json"), "utf8")) as Meta;
    } catch {
      return undefined;
    }
  }
}

/** The commit, where it need not be asked for. Throws `invalid`. */
function commitOf({ checksum, fetchByCommit, ref }: GitOperation): Wanted | undefined {
  if (isCommit(ref)) return { commit: ref, name: "" };
  if (!fetchByCommit) return undefined;
  if (checksum === undefined) {
    throw new GantryError("invalid", "fetch-by-commit requires a checksum or a commit SHA ref");
  }
  if (isCommit(checksum)) return { commit: checksum, name: "" };
  const got = JSON.stringify(checksum);
  throw new GantryError("invalid", `fetch-by-commit requires a full commit SHA checksum, got ${got}`);
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
