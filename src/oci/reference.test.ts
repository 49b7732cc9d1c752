import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  familiarName,
  familiarString,
  formatReference,
  parseNormalized,
  setDefaultDomain,
  tagNameOnly,
  withTag,
} from "./reference.ts";

interface Row {
  readonly in: string;
  readonly err: string;
  readonly [part: string]: string | undefined;
}

const rows = readFileSync(new URL("./testdata/reference.jsonl", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Row);

/** The program that wrote the table was linked without any hash, so to it no digest algorithm was supported. */
const NO_ALGORITHM: readonly string[] = [];

test("every row of the original's truth table is answered as the original does", () => {
  // What the original would pull is left out: of a tag and a digest both are kept here.
  for (const { dockerRef: _, ...row } of rows) assert.deepEqual(answer(row.in), row, JSON.stringify(row.in));
  assert.equal(rows.length > 1500, true);
});

test("digests are read with sha256 supported", () => {
  const hex = "a".repeat(64);
  const both = parseNormalized(`localhost:5000/a/b:1@sha256:${hex}`);
  assert.deepEqual(both, { domain: "localhost:5000", path: "a/b", tag: "1", digest: `sha256:${hex}` });
  assert.equal(familiarString(both), `localhost:5000/a/b:1@sha256:${hex}`);
  assert.equal(tagNameOnly(parseNormalized(`busybox@sha256:${hex}`)).tag, undefined);
  const valid = rows.filter(
    (row) => /@sha256:[0-9a-f]{64}$/.test(row.in) && row.err === "unsupported digest algorithm",
  );
  assert.equal(valid.length > 100, true);
  for (const row of valid) assert.match(parseNormalized(row.in).digest ?? "", /^sha256:/);
});

test("digests of a wrong length, of capital letters or of an unknown algorithm are refused", () => {
  assert.throws(
    () => parseNormalized(`busybox@sha256:${"a".repeat(40)}`),
    /^GantryError: invalid checksum digest length$/,
  );
  assert.throws(() => parseNormalized(`busybox@sha256:${"A".repeat(64)}`), /invalid checksum digest format/);
  assert.throws(() => parseNormalized(`busybox@md5:${"a".repeat(32)}`), /unsupported digest algorithm/);
});

test("names without a registry mean the configured one, and are shown without it as far as they read the same again", (t) => {
  t.after(() => setDefaultDomain("docker.io"));
  setDefaultDomain("registry.example:5000");
  const cases: [string, string, string][] = [
    ["app", "registry.example:5000/app", "app"],
    ["team/app:1", "registry.example:5000/team/app:1", "team/app:1"],
    ["registry.example:5000/app", "registry.example:5000/app", "app"],
    ["registry.example:5000/library/app", "registry.example:5000/library/app", "library/app"],
    ["registry.example:5000/a.b/app", "registry.example:5000/a.b/app", "registry.example:5000/a.b/app"],
    [
      "registry.example:5000/localhost/app",
      "registry.example:5000/localhost/app",
      "registry.example:5000/localhost/app",
    ],
    ["docker.io/busybox", "docker.io/library/busybox", "docker.io/library/busybox"],
    ["index.docker.io/team/app", "docker.io/team/app", "docker.io/team/app"],
    ["quay.io/app", "quay.io/app", "quay.io/app"],
  ];
  for (const [text, whole, familiar] of cases) {
    const named = parseNormalized(text);
    assert.equal(formatReference(named), whole);
    assert.equal(familiarString(named), familiar);
    assert.equal(formatReference(parseNormalized(familiar)), whole);
  }
});

test("a tag that is none is refused, and a name too long to be right is refused at once", () => {
  const name = parseNormalized("busybox");
  assert.equal(familiarString(withTag(name, "1.36")), "busybox:1.36");
  assert.throws(() => withTag(name, "-x"), /invalid tag format/);
  assert.throws(() => parseNormalized(`${"a-".repeat(1_000_000)}`), /invalid reference format/);
});

function answer(text: string): Row {
  try {
    const named = parseNormalized(text, NO_ALGORITHM);
    return {
      in: text,
      err: "",
      domain: named.domain,
      path: named.path,
      ...(named.tag !== undefined && { tag: named.tag }),
      familiar: familiarString(named),
      string: formatReference(named),
      tagNameOnly: formatReference(tagNameOnly(named)),
    };
  } catch (error) {
    return { in: text, err: (error as Error).message };
  }
}

test("familiar names drop the default domain and only one component of library", () => {
  assert.equal(familiarName(parseNormalized("docker.io/library/foo/bar")), "library/foo/bar");
  assert.equal(familiarName(parseNormalized("index.docker.io/foo")), "foo");
});
