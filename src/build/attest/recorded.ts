import { formatPlatform } from "../../oci/platform.ts";
import type { TargetProvenance } from "../builder.ts";
import type { ExportInput } from "../parts.ts";
import { withoutPassword } from "../shown-address.ts";
import { readAttestOptions } from "./options.ts";
import { provenanceOf } from "./provenance.ts";

/** How each target came about, as the history keeps it of all builds: all that is known, but passwords. */
export function recordedProvenance(input: ExportInput): readonly TargetProvenance[] {
  const { dockerfile, request, targets } = input;
  const asked = readAttestOptions(request).provenance;
  const told: ExportInput =
    dockerfile === undefined
      ? input
      : { ...input, dockerfile: { ...dockerfile, text: withoutPassword(dockerfile.text) } };
  const finishedAt = Date.now();
  return targets.map((solved) => {
    const options = {
      mode: "max",
      version: asked?.version ?? "v0.2",
      builderId: asked?.builderId ?? "",
      reproducible: asked?.reproducible ?? false,
      inlineOnly: false,
    } as const;
    const { predicate, predicateType } = provenanceOf(told, solved, options, finishedAt, undefined);
    const platform = targets.length === 1 ? "" : formatPlatform(solved.target.platform);
    return { platform, predicateType, predicate };
  });
}
