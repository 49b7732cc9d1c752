import { randomBytes } from "node:crypto";
import { chmodSync, closeSync, constants, existsSync, mkdirSync, readFileSync } from "node:fs";
import { lutimes, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { GantryError } from "../../base/errors.ts";
import { O_PATH, openInRoot } from "../../kernel/path.ts";
import type { GitOperation } from "../graph.ts";
import { GitError, type GitSurroundings, git } from "./git-process.ts";
import { isCommit, shownRemote } from "./git-remote.ts";

/** Git, in the folder of one remote. */
export interface Run {
  readonly folder: string;
  /** The remote as git is told it: who uses it is in the surroundings. */
  readonly remote: string;
  /** Bare. */
  readonly repository: string;
  readonly surroundings: GitSurroundings;
  readonly signal: AbortSignal;
}

/** A commit, and how it was found. */
export interface Wanted {
  readonly commit: string;
  /** The full name of the branch or tag that has it; empty where a commit was asked for. */
  readonly name: string;
  /** The tag's own object, of a tag with a message. */
  readonly tag?: string;
}

/** Makes an empty clone, which appears whole. */
export async function clone(repository: string, surroundings: GitSurroundings, signal: AbortSignal): Promise<void> {
  const incoming = `${repository.replace(/[^/]*$/, "")}incoming-${randomBytes(6).toString("hex")}`;
  try {
    await git(["init", "--quiet", "--bare", "--template=", "--", incoming], "/", surroundings, signal);
    await rename(incoming, repository);
  } finally {
    await rm(incoming, { recursive: true, force: true });
  }
}

/** The commit that a name of the remote means now; of no name its default branch. Throws not-found. */
export async function findCommit({ remote, repository, surroundings, signal }: Run, ref: string): Promise<Wanted> {
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
    const [own, tagged] = [rows.get(name), rows.get(`${name}^{}`)];
    const commit = tagged ?? own;
    if (commit !== undefined) return { commit, name, ...(tagged !== undefined && own !== undefined && { tag: own }) };
  }
  throw new GantryError("not-found", `repository does not contain ref ${ref === "" ? "HEAD" : ref}`);
}

/** Makes sure of a commit, with as little of the history as the server lets. */
async function fetchCommit(run: Run, { commit, name }: Wanted): Promise<void> {
  const { remote, repository, signal, surroundings } = run;
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

export type Layout = Pick<GitOperation, "commitTimes" | "keepGitDir" | "skipSubmodules">;

/** Makes the tree of a commit, which appears whole under its name. */
export async function makeCheckout(run: Run, layout: Layout, wanted: Wanted, checkout: string): Promise<void> {
  const { keepGitDir } = layout;
  const withSubmodules = layout.skipSubmodules !== true;
  const { folder, repository, signal, surroundings } = run;
  const { commit } = wanted;
  await fetchCommit(run, wanted);
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
    if (keepGitDir || (withSubmodules && existsSync(join(incoming, ".gitmodules")))) {
      await rm(incoming, { recursive: true, force: true });
      await makeRepository(run, commit, incoming, withSubmodules);
      if (!keepGitDir) await removeGitDirs(incoming, run);
    }
    chmodSync(incoming, 0o755);
    if (layout.commitTimes) {
      const seconds = await git(["log", "-1", "--format=%ct", commit], repository, surroundings, signal);
      await setTimes(incoming, Number(seconds));
    }
    await rename(incoming, checkout);
  } finally {
    await rm(incoming, { recursive: true, force: true });
  }
}

/** A repository of one commit with its submodules, and nothing in it of how it was made. */
async function makeRepository(run: Run, commit: string, folder: string, withSubmodules: boolean): Promise<void> {
  const { remote, repository, signal, surroundings } = run;
  const own = (...args: readonly string[]) => git(args, folder, surroundings, signal);
  await git(["init", "--quiet", "--template=", "--", folder], "/", surroundings, signal);
  // From the clone beside it: the only time that git reads a folder of this machine.
  const here = { ...surroundings, protocols: "file", config: [] };
  const fetch = ["fetch", "--quiet", "--no-tags", "--depth=1", "--update-shallow", "--", repository, commit];
  await git(fetch, folder, here, signal);
  await own("checkout", "--quiet", "--detach", commit);
  await own("remote", "add", "--", "origin", shownRemote(remote));
  if (withSubmodules && existsSync(join(folder, ".gitmodules"))) {
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

/** Gives all that is in a folder one time, and then the folder. Nobody else knows of it yet. */
async function setTimes(folder: string, seconds: number): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await setTimes(path, seconds);
    else await lutimes(path, seconds, seconds);
  }
  await lutimes(folder, seconds, seconds);
}
