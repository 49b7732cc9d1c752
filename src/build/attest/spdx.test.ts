import assert from "node:assert/strict";
import { test } from "node:test";
import { Licences } from "./licences.ts";
import { formatPurl, imagePurl } from "./purl.ts";
import type { FoundPackage } from "./scan/found.ts";
import { spdxOf } from "./spdx.ts";

interface Document {
  readonly documentNamespace: string;
  readonly packages: readonly Readonly<Record<string, string>>[];
  readonly hasExtractedLicensingInfos?: readonly { readonly licenseId: string }[];
  readonly relationships: readonly { readonly spdxElementId: string; readonly relatedSpdxElement: string }[];
}

const OPTIONS = { name: "example.com/app:1", created: 1_700_000_000_000 };
const base: FoundPackage = { type: "npm", name: "left", version: "1.0.0", path: "/a/package.json" };

function documentOf(packages: readonly FoundPackage[], notes: readonly string[] = []): Document {
  return JSON.parse(JSON.stringify(spdxOf({ distribution: undefined, packages, notes }, OPTIONS)));
}

test("a document keeps the rules of SPDX 2.3, whatever packages are called", () => {
  const packages: FoundPackage[] = [
    base,
    { ...base, name: 'a"b/../c d\u0000', licence: "Some licence, v1 / 2" },
    { ...base, name: "a b", licence: "Some licence, v1 - 2" },
    { ...base, type: "deb", name: "ü\ud800", supplier: "A (B) <a@example.com>", licence: "GPL-2+ AND (MIT OR x y)" },
  ];
  const document = documentOf(packages);
  const ids = document.packages.map(({ SPDXID }) => SPDXID!);
  assert.equal(new Set(ids).size, packages.length + 1);
  for (const id of ids) assert.match(id, /^SPDXRef-[A-Za-z0-9.-]+$/);
  const known = new Set([...ids, "SPDXRef-DOCUMENT"]);
  for (const { relatedSpdxElement, spdxElementId } of document.relationships) {
    assert.ok(known.has(relatedSpdxElement) && known.has(spdxElementId));
  }
  assert.match(document.documentNamespace, /^urn:[^#]+$/);
  const references = new Set(document.hasExtractedLicensingInfos?.map(({ licenseId }) => licenseId));
  for (const one of document.packages) {
    for (const name of ["name", "downloadLocation", "licenseDeclared", "copyrightText"]) assert.ok(one[name], name);
    assert.match(one.supplier!, /^(?:NOASSERTION|(?:Person|Organization): [^()]+(?: \([^()]*\))?)$/);
    for (const [reference] of one.licenseDeclared!.matchAll(/LicenseRef-[A-Za-z0-9.-]+/g)) {
      assert.ok(references.has(reference), reference);
    }
  }
  for (const id of references) assert.match(id, /^LicenseRef-[A-Za-z0-9.-]+$/);
});

test("the same packages are the same document, and what several files say is one package", () => {
  const twin = { ...base, path: "/b/package.json", licence: "MIT" };
  const one = documentOf([base, twin]);
  assert.deepEqual(documentOf([twin, base]), one);
  assert.equal(one.packages.length, 2);
  assert.match(one.packages[1]!.sourceInfo!, /: \/a\/package\.json, \/b\/package\.json$/);
  assert.equal(one.packages[1]!.licenseDeclared, "MIT");
  assert.notEqual(documentOf([base], ["x"]).documentNamespace, documentOf([base]).documentNamespace);
});

const LICENCES: readonly (readonly [string | undefined, string])[] = [
  [undefined, "NOASSERTION"],
  [" ", "NOASSERTION"],
  ["mit", "MIT"],
  ["Expat", "MIT"],
  ["GPL-2+", "GPL-2.0-or-later"],
  ["GPLv3", "GPL-3.0-only"],
  ["LGPL-2.1+", "LGPL-2.1-or-later"],
  ["(MIT OR Apache-2.0)", "(MIT OR Apache-2.0)"],
  ["MIT and isc or Zlib", "MIT AND ISC OR Zlib"],
  ["GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"],
  ["Apache License 2.0", "Apache-2.0"],
  ["MIT OR", "LicenseRef-MIT-OR"],
  ["((MIT)", "LicenseRef-MIT"],
  ["Own licence (2020)", "LicenseRef-Own-licence-2020"],
  ["***", "LicenseRef-unnamed"],
];

for (const [text, expression] of LICENCES) {
  test(`the licence ${JSON.stringify(text)} is told as ${expression}`, () => {
    assert.equal(new Licences().expression(text), expression);
  });
}

test("names of packages and images are written as package URLs are", () => {
  assert.equal(formatPurl({ type: "npm", namespace: "@a", name: "b c", version: "1+2" }), "pkg:npm/%40a/b%20c@1%2B2");
  const digest = `sha256:${"0".repeat(64)}`;
  const platform = { os: "linux", architecture: "arm64" };
  assert.equal(imagePurl("busybox", platform), "pkg:docker/busybox@latest?platform=linux%2Farm64");
  assert.equal(imagePurl(`example.com/a/b@${digest}`, undefined), `pkg:docker/example.com/a/b?digest=${digest}`);
});
