import { GantryError, messageOf } from "../base/errors.ts";

/** A file that a step reads and that isn't there, in BuildKit's words. */
export class MissingSource extends GantryError {
  /** Absolute in what it was to be read from. */
  readonly path: string;

  /** `ref` names what it was to be read from. */
  constructor(ref: string, path: string, cause: unknown) {
    super("invalid", `failed to compute cache key: failed to calculate checksum of ref ${ref}: ${messageOf(cause)}`, {
      cause,
    });
    this.name = "MissingSource";
    this.path = path;
  }
}

/** The stage that was to be built is none of the Dockerfile's. */
export class MissingTarget extends GantryError {
  readonly target: string;

  constructor(target: string, message: string) {
    super("invalid", message);
    this.name = "MissingTarget";
    this.target = target;
  }
}
