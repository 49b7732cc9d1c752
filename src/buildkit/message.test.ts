import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type DescField, type DescFile, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { create, decode, encode, type Schema } from "./message.ts";

/** Messages as the library that made the generated code's descriptions sees them, by their names. */
const THEIRS = new Map<string, DescMessage>();
const OURS = new Map<string, Schema<unknown>>();
for (const name of readdirSync(join(import.meta.dirname, "testdata")).filter((each) => each.endsWith("_pb.ts"))) {
  const theirs = (await import(join(import.meta.dirname, "testdata", name))) as Record<string, unknown>;
  const ours = (await import(join(import.meta.dirname, "generated", name.replace("_pb", "")))) as Record<
    string,
    unknown
  >;
  const file = theirs[`file_${name.slice(0, -"_pb.ts".length)}`] as DescFile;
  for (const message of file.messages) {
    THEIRS.set(message.typeName, message);
    OURS.set(message.typeName, ours[`${message.name}Schema`] as Schema<unknown>);
  }
}

const SCALARS: Readonly<Record<number, fc.Arbitrary<unknown>>> = {
  3: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  5: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  8: fc.boolean(),
  9: fc.string({ unit: "grapheme" }),
  12: fc.uint8Array({ maxLength: 20 }),
  13: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
};

function anyOf(message: DescMessage, depth: number): fc.Arbitrary<Record<string, unknown>> {
  const plain = message.fields.filter(({ oneof }) => oneof === undefined);
  const members = plain.map((field) => [field.localName, anyField(field, depth)] as const);
  const choices = message.oneofs.map(({ fields, localName }) => {
    const cases = fields.map((field) => fc.record({ case: fc.constant(field.localName), value: anyOne(field, depth) }));
    return [localName, depth > 2 ? fc.constant({ case: undefined }) : fc.oneof(...cases)] as const;
  });
  return fc.record(Object.fromEntries([...members, ...choices]), { requiredKeys: [] });
}

function anyField(field: DescField, depth: number): fc.Arbitrary<unknown> {
  const one = anyOne(field, depth);
  const maxLength = depth > 1 ? 0 : 3;
  if (field.fieldKind === "list") return fc.array(one, { maxLength });
  if (field.fieldKind !== "map") return one;
  const key = field.mapKey === 9 ? fc.string() : fc.bigInt({ min: -99n, max: 99n }).map(String);
  return fc.dictionary(key, one, { maxKeys: maxLength });
}

function anyOne(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.message === undefined) return SCALARS[field.scalar!]!;
  return depth > 2 ? fc.constant({}) : anyOf(field.message, depth + 1);
}

describe("a message is on the wire what protobuf's own library makes of it", () => {
  for (const [name, theirs] of THEIRS) {
    test(name, () => {
      const ours = OURS.get(name)!;
      fc.assert(
        fc.property(anyOf(theirs, 0), (init) => {
          const message = create(ours, init as never);
          const bytes = encode(ours, message);
          assert.deepEqual(decode(ours, bytes), decode(ours, toBinary(theirs, fromBinary(theirs, bytes))));
          assert.deepEqual(decode(ours, bytes), message);
        }),
        { numRuns: 30 },
      );
    });
  }
});

test("any bytes are a message or refused, in time that their number bounds", () => {
  const ours = OURS.get("moby.buildkit.v1.SolveRequest")!;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decode(ours, bytes);
      } catch (error) {
        assert.ok(error instanceof Error);
      }
    }),
    { numRuns: 2000 },
  );
});

test("what is newer than the schema is passed over, and a name of every object is a map's key like another", () => {
  const ours = OURS.get("moby.buildkit.v1.Exporter") as Schema<{ Type: string; Attrs: Record<string, string> }>;
  const bytes = encode(
    ours,
    create(ours, { Type: "image", Attrs: JSON.parse('{"__proto__": "x"}') as Record<string, string> }),
  );
  const more = Buffer.concat([bytes, Buffer.from([0xfa, 0x01, 0x02, 0x68, 0x69])]);
  const read = decode(ours, more);
  assert.deepEqual([read.Type, Object.entries(read.Attrs)], ["image", [["__proto__", "x"]]]);
});

test("a message of more fields than are wanted is refused, wherever they are", () => {
  const ours = OURS.get("moby.buildkit.v1.SolveRequest") as Schema<{ Entitlements: string[] }>;
  const bytes = encode(ours, create(ours, { Entitlements: ["a", "b", "c"] }));
  assert.deepEqual(decode(ours, bytes, 3).Entitlements, ["a", "b", "c"]);
  assert.throws(() => decode(ours, bytes, 2), { message: "a message has more than 2 fields" });
});
