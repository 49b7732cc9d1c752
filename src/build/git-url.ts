import { parseBool } from "../base/parse-bool.ts";
import { quote } from "../dockerfile/go-text.ts";
import { invalid } from "../dockerfile/source.ts";
import type { GitOperation } from "./graph.ts";

/** A place in a git repository, as contexts and ADD name it: `https://host/repo.git#branch:folder`. */
export interface GitUrl extends Pick<GitOperation, "commitTimes" | "fetchByCommit" | "skipSubmodules"> {
  /** Without its query and fragment. */
  readonly remote: string;
  /** Branch, tag, commit or full reference; empty is the default branch. */
  readonly ref: string;
  /** Empty is all of it. */
  readonly subdir: string;
  readonly checksum: string | undefined;
  readonly keepGitDir: boolean | undefined;
}

/** `user@host:path`, as ssh's tools have it. */
const SCP = /^[A-Za-z0-9_]+@[A-Za-z0-9.-]+:[^?#]+/;
const WITH_SCHEME = /^(?:git|ssh|https?):\/\//;
const WEB = /^https?:\/\//;

type Draft = { -readonly [Key in keyof GitUrl]: GitUrl[Key] };

/**
 * The repository that a text names; undefined for one that names none. An address of the web is one if its path ends
 * in `.git`. Throws `invalid` for a query that isn't understood.
 */
export function parseGitUrl(text: string): GitUrl | undefined {
  if (!WITH_SCHEME.test(text) && !SCP.test(text)) return undefined;
  const hash = text.indexOf("#");
  const fragment = hash < 0 ? "" : text.slice(hash + 1);
  const whole = hash < 0 ? text : text.slice(0, hash);
  const mark = whole.indexOf("?");
  const remote = mark < 0 ? whole : whole.slice(0, mark);
  if (WEB.test(remote) && !pathOf(remote).endsWith(".git")) return undefined;
  const colon = fragment.indexOf(":");
  const draft: Draft = {
    remote,
    ref: colon < 0 ? fragment : fragment.slice(0, colon),
    subdir: colon < 0 ? "" : fragment.slice(colon + 1),
    checksum: undefined,
    keepGitDir: undefined,
  };
  if (mark >= 0) readQuery(draft, new URLSearchParams(whole.slice(mark + 1)));
  // It stands among git's arguments, where a dash begins an option.
  if (draft.ref.startsWith("-") || draft.remote.startsWith("-"))
    throw invalid(`invalid git reference ${quote(draft.ref)}`);
  return draft;
}

function pathOf(url: string): string {
  return url.replace(WEB, "").replace(/^[^/]*/, "");
}

function readQuery(draft: Draft, query: URLSearchParams): void {
  if (query.get("tag") && query.get("branch")) throw invalid("branch conflicts with tag");
  for (const name of new Set(query.keys())) {
    const [value = "", ...more] = query.getAll(name);
    if (more.length > 0) throw invalid(`query ${quote(name)} has multiple values`);
    if (!setChoice(draft, name, value)) setFromQuery(draft, name, value);
  }
}

/** What is either so or not, and is without a value as well; false for others. */
function setChoice(draft: Draft, name: string, value: string): boolean {
  if (name !== "keep-git-dir" && name !== "submodules" && name !== "fetch-by-commit") return false;
  const chosen = value === "" ? true : parseBool(value);
  if (chosen === undefined) throw invalid(`invalid ${name} value: ${quote(value)}`);
  if (name === "keep-git-dir") draft.keepGitDir = chosen;
  else if (name === "submodules" && !chosen) draft.skipSubmodules = true;
  else if (name === "fetch-by-commit" && chosen) draft.fetchByCommit = true;
  return true;
}

function setFromQuery(draft: Draft, name: string, value: string): void {
  if (value === "") throw invalid(`query ${quote(name)} has no value`);
  switch (name) {
    case "ref":
      setRef(draft, value);
      return;
    case "tag":
      setRef(draft, value.startsWith("refs/tags/") ? value : `refs/tags/${value}`);
      return;
    case "branch":
      setRef(draft, value.startsWith("refs/heads/") ? value : `refs/heads/${value}`);
      return;
    case "subdir":
      if (draft.subdir !== "" && draft.subdir !== value) {
        throw invalid(`subdir conflicts: ${quote(draft.subdir)} vs ${quote(value)}`);
      }
      draft.subdir = value;
      return;
    case "checksum":
    case "commit":
      draft.checksum = value;
      return;
    case "mtime":
      if (value === "commit") draft.commitTimes = true;
      else if (value !== "checkout") {
        throw invalid(`invalid mtime value: ${quote(value)} (must be "checkout" or "commit")`);
      }
      return;
    default:
      throw invalid(`unexpected query ${quote(name)}`);
  }
}

function setRef(draft: Draft, ref: string): void {
  if (draft.ref !== "" && draft.ref !== ref) throw invalid(`ref conflicts: ${quote(draft.ref)} vs ${quote(ref)}`);
  draft.ref = ref;
}

/** What of an address says how a commit is found and laid out, as an operation has it. */
export function checkoutOf(
  git: GitUrl,
): Pick<GitOperation, "checksum" | "commitTimes" | "fetchByCommit" | "skipSubmodules"> {
  return {
    ...(git.checksum !== undefined && { checksum: git.checksum }),
    ...(git.skipSubmodules && { skipSubmodules: true }),
    ...(git.commitTimes && { commitTimes: true }),
    ...(git.fetchByCommit && { fetchByCommit: true }),
  };
}
