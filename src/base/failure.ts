import { type ErrorKind, GantryError, messageOf } from "./errors.ts";

/** An error on its way between threads. */
export interface Failure {
  readonly kind: ErrorKind | undefined;
  readonly message: string;
  /** As `ENOSPC`, where it has one. */
  readonly code: string | undefined;
}

export function failureOf(error: unknown): Failure {
  const kind = error instanceof GantryError ? error.kind : undefined;
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
  return { kind, message: messageOf(error), code };
}

/** What a thread told, as an error of this one. */
export function errorOf({ kind, message, code }: Failure): Error {
  const error = kind === undefined ? new Error(message) : new GantryError(kind, message);
  return code === undefined ? error : Object.assign(error, { code });
}
