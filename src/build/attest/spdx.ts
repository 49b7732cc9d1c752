import { createHash } from "node:crypto";
import { Licences } from "./licences.ts";
import { formatPurl } from "./purl.ts";
import type { Found, FoundPackage } from "./scan/found.ts";

export interface SpdxOptions {
  /** What was scanned. */
  readonly name: string;
  /** Unix milliseconds. */
  readonly created: number;
  /** What it is: an image's files, or what those are made of. */
  readonly purpose?: "CONTAINER" | "SOURCE";
}

const DATABASES: Readonly<Record<string, string>> = {
  apk: "apk's list of installed packages",
  cargo: "Cargo.lock or the program",
  composer: "composer's list of installed packages",
  deb: "dpkg's list of installed packages",
  gem: "the gem's specification",
  golang: "the program's build information",
  maven: "the Java archive",
  npm: "the npm package or lock file",
  pypi: "the Python package's metadata",
  rpm: "rpm's database",
};
const OF_DISTRIBUTIONS: ReadonlySet<string> = new Set(["apk", "deb", "rpm"]);

/** A bill of materials: an SPDX 2.3 document. The same packages at the same time are the same document. */
export function spdxOf({ distribution, notes, packages }: Found, options: SpdxOptions): object {
  const { created, name, purpose = "CONTAINER" } = options;
  const licences = new Licences();
  const rows = distinct(packages).map(({ one, paths, purl }) => packageRow(one, paths, purl, licences));
  const root = {
    SPDXID: "SPDXRef-DocumentRoot",
    name,
    downloadLocation: "NOASSERTION",
    filesAnalyzed: false,
    licenseConcluded: "NOASSERTION",
    licenseDeclared: "NOASSERTION",
    copyrightText: "NOASSERTION",
    supplier: "NOASSERTION",
    primaryPackagePurpose: purpose,
    ...(distribution !== undefined && { comment: `distribution: ${distribution.name}` }),
  };
  const time = new Date(created).toISOString().replace(/\.\d+Z$/, "Z");
  const extracted = licences.extracted;
  const identity = createHash("sha256")
    .update(JSON.stringify([name, time, rows, notes]))
    .digest("hex");
  return {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name,
    documentNamespace: `urn:gantry:sbom:${identity}`,
    creationInfo: {
      creators: ["Organization: Gantry", "Tool: gantry"],
      created: time,
    },
    ...(notes.length > 0 && { comment: `What could not be told: ${notes.join("; ")}` }),
    packages: [root, ...rows],
    ...(extracted.length > 0 && { hasExtractedLicensingInfos: extracted }),
    relationships: [
      relationship("SPDXRef-DOCUMENT", "DESCRIBES", root.SPDXID),
      ...rows.map(({ SPDXID }) => relationship(root.SPDXID, "CONTAINS", SPDXID)),
    ],
  };
}

/** What several files say is one package. */
function distinct(packages: readonly FoundPackage[]) {
  const known = new Map<string, { one: FoundPackage; readonly purl: string; readonly paths: Set<string> }>();
  for (const one of packages) {
    const purl = formatPurl(one);
    const before = known.get(purl);
    if (before === undefined) {
      known.set(purl, { one, purl, paths: new Set([one.path]) });
      continue;
    }
    before.paths.add(one.path);
    if (before.one.licence === undefined && one.licence !== undefined) before.one = one;
  }
  return [...known.values()].sort((a, b) => (a.purl < b.purl ? -1 : 1));
}

function packageRow(one: FoundPackage, paths: ReadonlySet<string>, purl: string, licences: Licences) {
  const { name, namespace, supplier, type, version } = one;
  const isPlain = OF_DISTRIBUTIONS.has(type) || !namespace;
  const full = isPlain ? name : `${namespace}${type === "maven" ? ":" : "/"}${name}`;
  const id = createHash("sha256").update(purl).digest("hex").slice(0, 16);
  const shown = full.replace(/[^A-Za-z0-9.-]+/g, "-").slice(0, 100);
  return {
    SPDXID: `SPDXRef-Package-${type}-${shown}-${id}`,
    name: full,
    versionInfo: version,
    supplier: supplierOf(supplier),
    downloadLocation: "NOASSERTION",
    filesAnalyzed: false,
    sourceInfo: `${DATABASES[type] ?? type} says so: ${[...paths].sort().slice(0, 20).join(", ")}${paths.size > 20 ? `, and ${paths.size - 20} more` : ""}`,
    licenseConcluded: "NOASSERTION",
    licenseDeclared: licences.expression(one.licence),
    copyrightText: "NOASSERTION",
    ...(!OF_DISTRIBUTIONS.has(type) && { primaryPackagePurpose: "LIBRARY" }),
    externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purl }],
  };
}

/** `Person: Name (address)`, or an organization. */
function supplierOf(text: string | undefined): string {
  const line = text?.replace(/\s+/g, " ").trim().slice(0, 200) ?? "";
  if (line === "") return "NOASSERTION";
  const [, name, address] = /^(.*?)\s*<([^<>]+)>$/.exec(line) ?? [];
  if (name === undefined) return `Organization: ${line.replace(/[()]/g, "")}`;
  return `Person: ${name.replace(/[()"]/g, "") || address} (${address})`;
}

function relationship(spdxElementId: string, relationshipType: string, relatedSpdxElement: string) {
  return { spdxElementId, relationshipType, relatedSpdxElement };
}
