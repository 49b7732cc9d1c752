import { GantryError } from "../../base/errors.ts";
import type { BuildRequest } from "../builder.ts";

export interface ProvenanceOptions {
  /** `min` leaves out build arguments, labels, steps and the Dockerfile. */
  readonly mode: "min" | "max";
  readonly version: "v0.2" | "v1";
  readonly builderId: string;
  /** The user's own word that the build can be repeated. */
  readonly reproducible: boolean;
  /** Only where it goes into an image's index. */
  readonly inlineOnly: boolean;
}

/** What is to be attested of a build's results. */
export interface AttestOptions {
  readonly provenance?: ProvenanceOptions;
  readonly sbom?: { readonly inlineOnly: boolean };
}

type Attributes = ReadonlyMap<string, string>;

const KNOWN: Readonly<Record<"provenance" | "sbom", readonly string[]>> = {
  provenance: ["builder-id", "disabled", "enabled", "inline-only", "mode", "reproducible", "version"],
  sbom: ["disabled", "enabled", "inline-only"],
};

/** Reads what a request says of attestations; throws `invalid` or `unsupported` for what can't be. */
export function readAttestOptions({ attestations }: Pick<BuildRequest, "attestations">): AttestOptions {
  const provenance = attestations.get("provenance");
  const sbom = attestations.get("sbom");
  return {
    ...(isWanted("provenance", provenance) && { provenance: provenanceOptions(provenance) }),
    ...(isWanted("sbom", sbom) && { sbom: { inlineOnly: flag("sbom", sbom, "inline-only") } }),
  };
}

function isWanted(type: "provenance" | "sbom", attributes: Attributes | undefined): attributes is Attributes {
  if (attributes === undefined) return false;
  if (attributes.size === 1 && attributes.get("false") === "") return false;
  for (const [name, value] of attributes) {
    if ((name === "true" || name === "") && value === "") continue;
    if (type === "sbom" && name === "generator") {
      throw new GantryError(
        "unsupported",
        `cannot make an SBOM with the generator ${JSON.stringify(value)}: the engine scans by itself, leave generator= out`,
      );
    }
    // Some clients say the type once more.
    if (KNOWN[type].includes(name) || (name === "type" && value === type)) continue;
    throw new GantryError(
      "invalid",
      `unknown attribute ${JSON.stringify(name)} of the attestation ${type}: it has ${KNOWN[type].join(", ")}`,
    );
  }
  return !flag(type, attributes, "disabled") && (!attributes.has("enabled") || flag(type, attributes, "enabled"));
}

function provenanceOptions(attributes: Attributes): ProvenanceOptions {
  // Without a mode all is told, as BuildKit does; clients ask for `min` where nobody chose.
  const mode = attributes.get("mode") || "max";
  if (mode !== "min" && mode !== "max" && mode !== "full") {
    throw new GantryError("invalid", `invalid mode ${JSON.stringify(mode)}: provenance has min and max`);
  }
  const version = attributes.get("version") || "v0.2";
  if (version !== "v0.2" && version !== "v1") {
    throw new GantryError("invalid", `invalid provenance SLSA version: ${version}: there are v0.2 and v1`);
  }
  return {
    mode: mode === "min" ? "min" : "max",
    version,
    builderId: attributes.get("builder-id") ?? "",
    reproducible: flag("provenance", attributes, "reproducible"),
    inlineOnly: flag("provenance", attributes, "inline-only"),
  };
}

function flag(type: string, attributes: Attributes, name: string): boolean {
  const value = attributes.get(name);
  if (value === undefined) return false;
  if (value === "" || /^(?:1|t|T|TRUE|true|True)$/.test(value)) return true;
  if (/^(?:0|f|F|FALSE|false|False)$/.test(value)) return false;
  throw new GantryError("invalid", `failed to parse ${name} flag ${JSON.stringify(value)} of the attestation ${type}`);
}
