import { GantryError, hasCode, messageOf } from "../../base/errors.ts";

const NO_SPACE = ["ENOSPC", "EDQUOT"];

/** True for what the disk is to blame for, also where a thread told it. */
export function isDiskError(error: unknown): boolean {
  return hasCode(error, ...NO_SPACE, "EIO", "EROFS");
}

/** What the disk said of a layer, in a sentence; anything else as it is. */
export function diskError(error: unknown, digest: string): unknown {
  if (error instanceof GantryError || !isDiskError(error)) return error;
  const why = hasCode(error, ...NO_SPACE) ? "no space left on device" : messageOf(error);
  const said = new GantryError("internal", `cannot store layer ${digest}: ${why}`, { cause: error });
  return Object.assign(said, { code: (error as { code: string }).code });
}
