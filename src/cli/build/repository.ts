import { execFile } from "node:child_process";
import { lstatSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { parseBool } from "../../base/parse-bool.ts";

/** The git repository that a folder is in, as far as a build tells of it. Read from its files: no git runs for it. */
export interface Repository {
  /** Where its work tree begins. */
  readonly root: string;
  /** The commit that is checked out; undefined before the first. */
  readonly revision: string | undefined;
  /** Its remote's address, without a password. */
  readonly source: string | undefined;
}

/** Undefined for a folder of no repository. */
export function repositoryOf(folder: string): Repository | undefined {
  const root = rootOf(resolve(folder));
  if (root === undefined) return undefined;
  const own = gitFolderOf(root);
  const shared = own === undefined ? undefined : resolve(own, text(join(own, "commondir"))?.trim() || ".");
  const head = own === undefined ? undefined : text(join(own, "HEAD"))?.trim();
  if (own === undefined || shared === undefined || head === undefined) return undefined;
  const branch = /^ref: (.+)$/.exec(head)?.[1];
  const revision = branch === undefined ? head : commitOf(own, shared, branch);
  const isCommit = revision !== undefined && /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/.test(revision);
  const source = remoteOf(text(join(shared, "config")) ?? "", branch?.replace(/^refs\/heads\//, ""));
  return { root, revision: isCommit ? revision : undefined, source };
}

function rootOf(folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    if (lstatSync(join(at, ".git"), { throwIfNoEntry: false }) !== undefined) return at;
    if (at === dirname(at)) return undefined;
  }
}

/** `.git` is a folder, or a file that says where one is. */
function gitFolderOf(root: string): string | undefined {
  const path = join(root, ".git");
  if (lstatSync(path).isDirectory()) return path;
  const [, place] = /^gitdir: (.+)$/m.exec(text(path) ?? "") ?? [];
  return place === undefined ? undefined : resolve(root, place.trim());
}

function commitOf(own: string, shared: string, ref: string): string | undefined {
  if (ref.split("/").includes("..")) return undefined;
  const loose = text(join(own, ref)) ?? text(join(shared, ref));
  if (loose !== undefined) return loose.trim();
  const packed = (text(join(shared, "packed-refs")) ?? "").split("\n").find((line) => line.endsWith(` ${ref}`));
  return packed?.split(" ")[0];
}

/** The remote of the branch that is checked out; else `origin`, else the first there is. */
function remoteOf(config: string, branch: string | undefined): string | undefined {
  const remotes = new Map<string, string>();
  let tracked: string | undefined;
  let section: readonly string[] = [];
  for (const line of config.split("\n")) {
    const [, kind, name] = /^\s*\[\s*([\w.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]/.exec(line) ?? [];
    if (kind !== undefined) section = [kind.toLowerCase(), name ?? ""];
    const [, key, value = ""] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (section[0] === "remote" && key === "url" && !remotes.has(section[1]!)) remotes.set(section[1]!, value);
    if (section[0] === "branch" && section[1] === branch && key === "remote") tracked = value;
  }
  const address = remotes.get(tracked ?? "") ?? remotes.get("origin") ?? [...remotes.values()][0];
  return address?.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@]*@/i, "$1");
}

const MOST_BYTES = 16 << 20;

function text(path: string): string | undefined {
  try {
    return lstatSync(path).size > MOST_BYTES ? undefined : readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/**
 * What a build tells of where its folders are from, as options of the frontend. BUILDX_GIT_INFO=0 tells nothing,
 * BUILDX_GIT_LABELS=1 says it in labels, BUILDX_GIT_CHECK_DIRTY=1 has git look whether files differ from the commit.
 */
export async function repositoryOptions(
  folder: string,
  dockerfile: string,
  folders: ReadonlyMap<string, string>,
  env: NodeJS.ProcessEnv,
): Promise<Record<string, string>> {
  const { BUILDX_GIT_LABELS: labels = "", BUILDX_GIT_INFO: info = "", BUILDX_GIT_CHECK_DIRTY: dirty = "" } = env;
  const isLabelled = labels === "full" || parseBool(labels) === true;
  const isTold = parseBool(info) !== false;
  const repository = isLabelled || isTold ? repositoryOf(folder) : undefined;
  if (repository === undefined) return {};
  const { root, source } = repository;
  const differs = parseBool(dirty) === true && repository.revision !== undefined && (await isDirty(root, env));
  const revision = repository.revision && `${repository.revision}${differs ? "-dirty" : ""}`;
  const options: Record<string, string> = {};
  const set = (name: string, value: string | undefined): void => {
    if (value !== undefined && value !== "") options[name] = value;
  };
  if (isLabelled) {
    set("label:org.opencontainers.image.revision", revision);
    set("label:org.opencontainers.image.source", source);
    const file = relative(root, resolve(dockerfile));
    if (!file.startsWith("..")) set("label:com.docker.image.source.entrypoint", file);
  }
  if (!isTold) return options;
  set("vcs:revision", revision);
  set("vcs:source", source);
  for (const [name, path] of new Map([...folders, ["dockerfile", dirname(resolve(dockerfile))]])) {
    const within = relative(root, path) || ".";
    if (!within.startsWith("..")) set(`vcs:localdir:${name}`, within);
  }
  return options;
}

const LONGEST_MS = 10_000;

/** Nobody is asked for anything by it, and no hook or monitor of the repository runs. */
function isDirty(root: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  const args = ["-c", "core.fsmonitor=false", "-C", root, "status", "--porcelain", "--ignored"];
  const options = { timeout: LONGEST_MS, maxBuffer: 64 << 20, env: { ...env, GIT_OPTIONAL_LOCKS: "0" } };
  return new Promise((done) => {
    execFile("git", args, options, (error, stdout) => done(error !== null || stdout.trim() !== ""));
  });
}
