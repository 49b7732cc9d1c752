import assert from "node:assert/strict";
import { test } from "node:test";
import { type AttestOptions, readAttestOptions } from "./options.ts";

function read(type: "provenance" | "sbom", attributes: Readonly<Record<string, string>>): AttestOptions {
  return readAttestOptions({ attestations: new Map([[type, new Map(Object.entries(attributes))]]) });
}

test("nothing is attested of a build that asks for nothing, or that takes it back", () => {
  assert.deepEqual(readAttestOptions({ attestations: new Map() }), {});
  assert.deepEqual(read("provenance", { disabled: "true" }), {});
  assert.deepEqual(read("sbom", { false: "" }), {});
  assert.deepEqual(read("sbom", { enabled: "false" }), {});
  assert.deepEqual(read("sbom", { type: "sbom", enabled: "true" }), { sbom: { inlineOnly: false } });
  assert.deepEqual(read("sbom", { disabled: "false" }), { sbom: { inlineOnly: false } });
});

test("provenance tells all unless it is asked for less", () => {
  const plain = { mode: "max", version: "v0.2", builderId: "", reproducible: false, inlineOnly: false };
  assert.deepEqual(read("provenance", {}).provenance, plain);
  assert.deepEqual(read("provenance", { true: "" }).provenance, plain);
  assert.deepEqual(read("provenance", { type: "provenance" }).provenance, plain);
  assert.deepEqual(
    read("provenance", { mode: "min", version: "v1", "builder-id": "x", reproducible: "1", "inline-only": "" })
      .provenance,
    { mode: "min", version: "v1", builderId: "x", reproducible: true, inlineOnly: true },
  );
});

const REFUSED: readonly (readonly ["provenance" | "sbom", Readonly<Record<string, string>>, RegExp])[] = [
  ["provenance", { mode: "all" }, /^invalid mode "all": provenance has min and max$/],
  ["provenance", { version: "v2" }, /^invalid provenance SLSA version: v2/],
  ["provenance", { reproducible: "maybe" }, /^failed to parse reproducible flag "maybe"/],
  ["provenance", { colour: "red" }, /^unknown attribute "colour" of the attestation provenance/],
  ["sbom", { generator: "x" }, /^cannot make an SBOM with the generator "x": the engine scans by itself/],
];

for (const [type, attributes, message] of REFUSED) {
  test(`${type} is refused with ${JSON.stringify(attributes)}`, () => {
    assert.throws(() => read(type, attributes), { message });
  });
}
