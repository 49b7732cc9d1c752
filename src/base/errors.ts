/** What went wrong, in the one vocabulary that every folder shares. `api` maps it to HTTP, `cli` to exit codes. */
export type ErrorKind =
  | "invalid"
  | "unauthenticated"
  | "forbidden"
  | "not-found"
  | "conflict"
  | "not-modified"
  | "unavailable"
  | "too-many-requests"
  | "unsupported"
  | "cancelled"
  | "internal";

/**
 * The only error that Gantry throws on purpose. `message` is one sentence for a person: Docker's text where tools
 * match on it, else "cannot <do what>: <why>" and what would be right.
 */
export class GantryError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = "GantryError";
    this.kind = kind;
  }
}

/** A failed system call: keeps the call's name and the errno, so that callers can tell EBUSY from ENOENT. */
export class SyscallError extends Error {
  readonly syscall: string;
  /** Positive errno, e.g. 2 for ENOENT. */
  readonly errno: number;
  /** Symbolic name, e.g. "ENOENT"; the same property as on Node's own errors. */
  readonly code: string;
  /** What it was about, such as a path; may be empty. */
  readonly detail: string;

  constructor(syscall: string, errno: number, code: string, detail: string) {
    super(`${syscall}: ${code}${detail === "" ? "" : `: ${detail}`}`);
    this.name = "SyscallError";
    this.syscall = syscall;
    this.errno = errno;
    this.code = code;
    this.detail = detail;
  }
}

/** True if `error` carries this symbolic errno, be it Node's or ours. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return typeof error === "object" && error !== null && codes.includes((error as { code?: string }).code ?? "");
}

/** What `act` returns, or undefined if it fails with one of these codes. */
export function unlessCode<T>(codes: readonly string[], act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (hasCode(error, ...codes)) return undefined;
    throw error;
  }
}

/** True for a GantryError of this kind. */
export function isKind(error: unknown, kind: ErrorKind): error is GantryError {
  return error instanceof GantryError && error.kind === kind;
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
