import { decodeJson } from "../../api/decode.ts";
import * as go from "../../api/shape.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import type { Platform } from "../../oci/image.ts";

interface GivenPlatform {
  architecture: string;
  os: string;
  "os.version": string;
  "os.features": string[] | null;
  variant: string;
}

const shape = go.struct<GivenPlatform>("v1.Platform", {
  architecture: go.text,
  os: go.text,
  "os.version": go.text,
  "os.features": go.list(go.text),
  variant: go.text,
});

/** A `platform` parameter, which is JSON on these routes; undefined where there is none. */
export function platformOf(text: string | undefined): Platform | undefined {
  if (text === undefined || text === "") return undefined;
  const { architecture, os, variant, ...rest } = parse(text);
  const hasMore = variant !== "" || rest["os.version"] !== "" || (rest["os.features"]?.length ?? 0) > 0;
  if (os === "" && architecture === "" && hasMore) {
    throw new GantryError("invalid", "optional platform fields provided, but OS and Architecture are missing");
  }
  if (os === "" || architecture === "") {
    throw new GantryError("invalid", "both OS and Architecture must be provided");
  }
  return { architecture, os, ...(variant !== "" && { variant }) };
}

function parse(text: string): GivenPlatform {
  try {
    return decodeJson(shape, text);
  } catch (error) {
    throw new GantryError("invalid", `failed to parse platform: ${messageOf(error).replace(/^invalid JSON: /, "")}`);
  }
}
