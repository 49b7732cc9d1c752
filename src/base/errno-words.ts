import { GantryError, hasCode, messageOf, SyscallError } from "./errors.ts";

/** What the kernel refuses, and the resolver of names, in the words of Go's programs. */
const WORDS: Readonly<Record<string, string>> = {
  E2BIG: "argument list too long",
  EACCES: "permission denied",
  EAI_AGAIN: "server of names misbehaving",
  EBUSY: "device or resource busy",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset by peer",
  EDQUOT: "disk quota exceeded",
  EEXIST: "file exists",
  EFBIG: "file too large",
  EHOSTUNREACH: "no route to host",
  EINVAL: "invalid argument",
  EIO: "input/output error",
  EISDIR: "is a directory",
  ELOOP: "too many links",
  EMFILE: "too many open files",
  EMLINK: "too many links to one file",
  ENAMETOOLONG: "file name too long",
  ENETDOWN: "network is down",
  ENETUNREACH: "network is unreachable",
  ENFILE: "too many open files in system",
  ENODEV: "no such device",
  ENOENT: "no such file or directory",
  ENOMEM: "cannot allocate memory",
  ENOSPC: "no space left on device",
  ENOTDIR: "not a directory",
  ENOTFOUND: "no such host",
  ENOTEMPTY: "directory not empty",
  ENXIO: "no such device or address",
  EOPNOTSUPP: "operation not supported",
  EOVERFLOW: "value too large for defined data type",
  EPERM: "operation not permitted",
  EPIPE: "broken pipe",
  EROFS: "read-only file system",
  ETIMEDOUT: "connection timed out",
  ETXTBSY: "text file busy",
  EXDEV: "invalid cross-device link",
};
/** What whoever chose the names is to blame for, not the machine. */
const OF_NAMES = ["EFBIG", "EISDIR", "ELOOP", "EMLINK", "ENAMETOOLONG", "ENOTDIR", "ENOTEMPTY", "ETXTBSY"] as const;
/** What is the disk's, whichever file was to be written: its name would be the engine's own. */
const OF_DISKS = ["ENOSPC", "EDQUOT"] as const;
/** What `kernel` says of a name that no system call can be given. */
const NUL = "name contains NUL";

/** What this failure is called: `not a directory` of ENOTDIR; undefined of what is no system call's. */
export function errnoWords(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? WORDS[code] : undefined;
}

/** The text of anything that was thrown, without the kernel's names of its errors. */
export function sentenceOf(error: unknown): string {
  return messageOf(withoutErrno(error));
}

/**
 * A failed system call as a sentence, as Go's programs say it: `lstat /a/b: file name too long`. `invalid` where names
 * that came from outside are to blame, else `internal`. Anything else stays what it is.
 */
export function withoutErrno(error: unknown): unknown {
  const words = errnoWords(error);
  if (error instanceof GantryError || words === undefined) return error;
  if (hasCode(error, ...OF_DISKS)) return new GantryError("internal", words, { cause: error });
  if (error instanceof SyscallError && error.detail === NUL)
    return new GantryError("invalid", `a ${NUL}`, { cause: error });
  const { syscall = "", path = "" } = error as { syscall?: string; path?: string };
  const subject = [nameOf(syscall), error instanceof SyscallError ? error.detail : path].filter((text) => text !== "");
  const kind = hasCode(error, ...OF_NAMES) ? "invalid" : "internal";
  return new GantryError(kind, subject.length === 0 ? words : `${subject.join(" ")}: ${words}`, { cause: error });
}

/** As Go names the call: what looks a name up is one for all. */
function nameOf(syscall: string): string {
  if (/^(?:readlink(?:at)?|statx|openat2|fstatat|lstat)$/.test(syscall)) return "lstat";
  return syscall.replace(/at2?$/, "");
}
