import type { ParsedFlags } from "../flags/parse.ts";
import { boolFlag, type FlagSpec } from "../flags/spec.ts";
import { fromEnvironment } from "../settings.ts";

/** `--disable-content-trust`, which is true where the environment doesn't ask for content trust. */
export function contentTrustFlag(usage: string): FlagSpec {
  return boolFlag("disable-content-trust", usage, { initial: "true", shownDefault: "true" });
}

/** Refuses what asks for Docker's content trust: what then went on unchecked would be taken for checked. */
export function refuseContentTrust(flags: ParsedFlags): void {
  const isAsked = flags.changed("disable-content-trust")
    ? !flags.bool("disable-content-trust")
    : /^(1|t|true)$/i.test(fromEnvironment("CONTENT_TRUST") ?? "");
  if (!isAsked) return;
  throw new Error(
    "Docker Content Trust is not available: sign by `gantry image sign`, and demand signatures by the engine's signature-policy",
  );
}
