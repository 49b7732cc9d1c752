import { posix } from "node:path";
import { GantryError } from "../../base/errors.ts";
import { checkoutOf, parseGitUrl } from "../git-url.ts";
import type { GitOperation } from "../graph.ts";

const SCHEMES: ReadonlySet<string> = new Set(["http:", "https:", "ssh:", "git:"]);
/** `git@host:path`, as ssh's own tools write it. */
const SCP = /^(?:([A-Za-z0-9_.-]+)@)?([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\]):(?!\/\/)([^:].*)$/;
const COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
const BEGINNING = /^[0-9a-f]{4,64}$/;
/** No name of git's that could be taken for an option, a range or several words: git-check-ref-format(1). */
const REF = /^(?![-./])(?!.*\.\.)(?!.*@\{)(?!.*\/\/)[^ ~^:?*[\\]+(?<![./])$/;
const LONGEST_REF = 1024;

/** What a build's context is that was given as a repository: `https://host/path.git#ref:folder`, `github.com/…`. */
export function gitContext(text: string): GitOperation {
  const full = text.startsWith("github.com/")
    ? `https://${text.replace(/^([^#?]*?)(\.git)?(?=[#?]|$)/, "$1.git")}`
    : text;
  const parsed = parseGitUrl(full);
  if (parsed !== undefined) {
    const { keepGitDir = false, ref, remote, subdir } = parsed;
    return { kind: "git", remote, ref, subdir, keepGitDir, ...checkoutOf(parsed) };
  }
  const [remote = "", fragment = ""] = full.split(/#(.*)/s);
  const [ref = "", subdir = ""] = fragment.split(/:(.*)/s);
  return { kind: "git", remote, ref, subdir, keepGitDir: false };
}

/** Throws `invalid` for what git could take for something else than what it is. */
export function checkGitOperation({ remote, ref, subdir, checksum }: GitOperation): void {
  checkRemote(remote);
  if (ref !== "" && (!REF.test(ref) || ref.length > LONGEST_REF || hasControls(ref))) {
    throw invalid(remote, `${JSON.stringify(ref)} is no branch, tag or commit`);
  }
  if (subdir.includes("\0")) throw invalid(remote, "the folder in it contains NUL");
  if (checksum !== undefined && !BEGINNING.test(checksum)) {
    throw invalid(remote, `${JSON.stringify(checksum)} is no commit`);
  }
}

/** True for the whole name of a commit. */
export function isCommit(text: string): boolean {
  return COMMIT.test(text);
}

export interface RemoteHost {
  readonly scheme: string;
  /** With the port. */
  readonly host: string;
  readonly hostname: string;
}

/** Where a remote is. */
export function remoteHost(remote: string): RemoteHost {
  if (URL.canParse(remote) && SCHEMES.has(new URL(remote).protocol)) {
    const { protocol, host, hostname } = new URL(remote);
    return { scheme: protocol.slice(0, -1), host, hostname: bare(hostname) };
  }
  const host = SCP.exec(remote)?.[2] ?? "";
  return { scheme: "ssh", host, hostname: bare(host) };
}

/** Who uses a remote, as its address says. */
export interface GitUser {
  readonly name: string;
  readonly password: string;
}

/**
 * An address as it may stand in a command line, which anybody on the machine can read: of one of the web without its
 * user, who is told apart; of others without a password, which no protocol but the web's has a use for.
 */
export function withoutUser(remote: string): { readonly remote: string; readonly user: GitUser | undefined } {
  if (!URL.canParse(remote)) return { remote, user: undefined };
  const url = new URL(remote);
  if (url.username === "" && url.password === "") return { remote, user: undefined };
  const isWeb = url.protocol === "http:" || url.protocol === "https:";
  const user = { name: decoded(url.username), password: decoded(url.password) };
  const plain = remote.replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)([^/]*)@/, (_, scheme: string, login: string) =>
    isWeb ? scheme : `${scheme}${login.replace(/:.*$/s, "")}@`,
  );
  return { remote: plain, user: isWeb ? user : undefined };
}

/** Without who uses it. */
export function shownRemote(remote: string): string {
  return remote.replace(/^([a-z]+:\/\/)[^/@]*@/i, "$1").replace(/[?#].*$/s, "");
}

/** The folder in a repository, as short as it can be: "" is its top. */
export function cleanSubdir(subdir: string): string {
  return posix.join("/", subdir).slice(1).replace(/\/$/, "");
}

function checkRemote(text: string): void {
  const isNone = () => invalid(text, "it is no URL of a repository");
  if (text.startsWith("-") || /\s/.test(text) || hasControls(text)) throw isNone();
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):(?:\/\/|:)/.exec(text)?.[1];
  if (scheme === undefined) {
    const [, user = "", , path = "-"] = SCP.exec(text) ?? [];
    if (user.startsWith("-") || path.startsWith("-")) throw isNone();
    return;
  }
  if (!SCHEMES.has(`${scheme}:`)) {
    throw invalid(text, `repositories are fetched by http, https, ssh and git, not by ${scheme}`);
  }
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // What ssh could read as an option of its own, also once a percent sign is undone.
  const words = url === undefined ? [] : [url.hostname, url.username].map((word) => decodeURIComponent(word));
  if (url === undefined || url.hostname === "" || words.some((word) => word.startsWith("-") || hasControls(word))) {
    throw invalid(text, "it names no host");
  }
}

function hasControls(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

function invalid(text: string, why: string): GantryError {
  return new GantryError("invalid", `invalid git URL ${JSON.stringify(shownRemote(text).slice(0, 300))}: ${why}`);
}
