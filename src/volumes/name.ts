import { randomBytes } from "node:crypto";
import { GantryError } from "../base/errors.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** What a folder's name can have. */
const LONGEST = 255;

/** Of a volume that was made without a name. */
export const ANONYMOUS_LABEL = "com.docker.volume.anonymous";

/** For a volume that is made without one. */
export function newVolumeName(): string {
  return randomBytes(32).toString("hex");
}

/** Throws `invalid` with Docker's text unless this can be a volume's name, or a snapshot's. */
export function checkVolumeName(name: string): void {
  if (Buffer.byteLength(name) === 1) {
    throw refused(name, "volume name is too short, names should be at least two alphanumeric characters");
  }
  if (!NAME.test(name)) {
    throw refused(
      name,
      `${JSON.stringify(name)} includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  }
  if (name.length > LONGEST) {
    throw new GantryError(
      "invalid",
      `cannot create volume ${name.slice(0, 40)}…: a name has ${LONGEST} characters at most`,
    );
  }
}

function refused(name: string, why: string): GantryError {
  return new GantryError("invalid", `create ${name}: ${why}`);
}
