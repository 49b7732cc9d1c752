import { type ErrorKind, GantryError, messageOf } from "./errors.ts";

/** An error on its way between threads. */
export interface Failure {
  readonly kind: ErrorKind | undefined;
  readonly message: string;
  /** As `ENOSPC`, where it has one. */
  readonly code: string | undefined;
  /** The file that it is about, where it says. */
  readonly path?: string | undefined;
}

export function failureOf(error: unknown): Failure {
  const kind = error instanceof GantryError ? error.kind : undefined;
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
  const path = error instanceof Error && "path" in error && typeof error.path === "string" ? error.path : undefined;
  return { kind, message: messageOf(error), code, path };
}

/** What a thread told, as an error of this one. */
export function errorOf({ kind, message, code, path }: Failure): Error {
  const error = kind === undefined ? new Error(message) : new GantryError(kind, message);
  return Object.assign(error, code !== undefined && { code }, path !== undefined && { path });
}
