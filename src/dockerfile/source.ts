import { type ErrorKind, GantryError } from "../base/errors.ts";

/** Lines of a file, both included; the first is 1. */
export interface SourceRange {
  readonly start: number;
  readonly end: number;
}

export interface SourceFile {
  /** As messages name it. */
  readonly name: string;
  readonly text: string;
}

export interface ErrorPlace {
  readonly source?: SourceFile;
  readonly range: SourceRange;
  /** What of these lines is wrong, as it is written there. */
  readonly offending?: string;
}

/** Something wrong at a known place. The message alone is a whole sentence; `excerptOf` shows the place. */
export class DockerfileError extends GantryError {
  readonly place: ErrorPlace;

  constructor(message: string, place: ErrorPlace, options?: { readonly kind?: ErrorKind; readonly cause?: unknown }) {
    super(options?.kind ?? "invalid", message, options);
    this.name = "DockerfileError";
    this.place = place;
  }
}

/** A line that can't be read. */
export class ParseError extends DockerfileError {
  readonly line: number;
  /** The sentence without the line. */
  readonly why: string;

  constructor(line: number, why: string, place: ErrorPlace, options: { readonly cause: unknown }) {
    super(`dockerfile parse error on line ${line}: ${why}`, place, options);
    this.name = "ParseError";
    this.line = line;
    this.why = why;
  }
}

/** What `act` returns; what it throws gets a place, unless it has one. The innermost place is the one that is told. */
export function located<T>(place: ErrorPlace, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw withPlace(error, place);
  }
}

/** The error with a place; a place that lacks its file is given this one's. */
export function withPlace(error: unknown, place: ErrorPlace): unknown {
  if (error instanceof DockerfileError) {
    if (error.place.source !== undefined || place.source === undefined) return error;
    return new DockerfileError(
      error.message,
      { ...error.place, source: place.source },
      { kind: error.kind, cause: error },
    );
  }
  if (!(error instanceof GantryError)) return error;
  return new DockerfileError(error.message, place, { kind: error.kind, cause: error });
}

/** A sentence about something in a Dockerfile, by those who don't know where it stands. */
export function invalid(message: string): GantryError {
  return new GantryError("invalid", message);
}
