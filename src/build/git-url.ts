import { parseBool } from "../base/parse-bool.ts";
import { quote } from "../dockerfile/go-text.ts";
import { invalid } from "../dockerfile/source.ts";

/** A place in a git repository, as contexts and ADD name it: `https://host/repo.git#branch:folder`. */
export interface GitUrl {
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
  for (const name of new Set(query.keys())) {
    const [value = "", ...more] = query.getAll(name);
    if (more.length > 0) throw invalid(`query ${quote(name)} has multiple values`);
    setFromQuery(draft, name, value);
  }
}

function setFromQuery(draft: Draft, name: string, value: string): void {
  if (name === "keep-git-dir") {
    draft.keepGitDir = value === "" ? true : parseBool(value);
    if (draft.keepGitDir === undefined) throw invalid(`invalid keep-git-dir value: ${quote(value)}`);
    return;
  }
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
    default:
      throw invalid(`unexpected query ${quote(name)}`);
  }
}

function setRef(draft: Draft, ref: string): void {
  if (draft.ref !== "" && draft.ref !== ref) throw invalid(`ref conflicts: ${quote(draft.ref)} vs ${quote(ref)}`);
  draft.ref = ref;
}
