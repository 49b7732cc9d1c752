import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { PACKET, type Packet, type Stat } from "./packet.ts";
import { PacketSchema, StatSchema } from "./testdata/fsutil_pb.ts";

const STAT: Stat = {
  path: "src/größe/☃.ts",
  mode: 0x8000_01ed,
  uid: 4_294_967_295,
  gid: 1000,
  size: 2 ** 40 + 7,
  modTime: 1_700_000_000_123_456_789n,
  linkname: "../x",
  devmajor: 8,
  devminor: 1,
  xattrs: new Map([["user.x", new Uint8Array([0, 255])]]),
};

test("a packet is what the generated code makes of it, both ways", () => {
  const ours = Buffer.from(PACKET.encode({ type: "stat", stat: STAT }));
  const theirs = fromBinary(PacketSchema, ours);
  assert.equal(theirs.type, 0);
  assert.equal(theirs.stat!.path, STAT.path);
  assert.equal(theirs.stat!.mode, STAT.mode);
  assert.equal(theirs.stat!.size, BigInt(STAT.size));
  assert.equal(theirs.stat!.modTime, STAT.modTime);
  assert.deepEqual([...theirs.stat!.xattrs["user.x"]!], [0, 255]);
  assert.deepEqual(PACKET.decode(Buffer.from(toBinary(PacketSchema, theirs))), { type: "stat", stat: STAT });
});

test("any numbers and bytes survive, and so do names that are no UTF-8", () => {
  const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
  const stat = fc.record(
    {
      path: fc.string({ unit: "binary" }).filter((path) => path.isWellFormed()),
      mode: uint32,
      uid: uint32,
      gid: uint32,
      size: fc.maxSafeNat(),
      modTime: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      linkname: fc.string(),
      devmajor: uint32,
      devminor: uint32,
      xattrs: fc.array(fc.tuple(fc.string(), fc.uint8Array())).map((pairs) => new Map(pairs)),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(stat, (value) => {
      const bytes = Buffer.from(PACKET.encode({ type: "stat", stat: value }));
      assert.deepEqual(PACKET.decode(bytes), { type: "stat", stat: value });
      const generated = create(PacketSchema, {
        stat: create(StatSchema, {
          ...value,
          size: BigInt(value.size),
          devmajor: BigInt(value.devmajor),
          devminor: BigInt(value.devminor),
          xattrs: {},
        }),
      });
      const decoded = PACKET.decode(Buffer.from(toBinary(PacketSchema, generated)));
      assert.deepEqual(decoded, { type: "stat", stat: { ...value, xattrs: new Map() } });
    }),
  );
  const odd = { ...STAT, path: "a\udcff", linkname: "" };
  assert.deepEqual(PACKET.decode(Buffer.from(PACKET.encode({ type: "stat", stat: odd }))), { type: "stat", stat: odd });
});

test("the other kinds of packets survive", () => {
  const packets: readonly Packet[] = [
    { type: "stat", stat: undefined },
    { type: "request", id: 0 },
    { type: "request", id: 4_000_000_000 },
    { type: "data", id: 7, bytes: new Uint8Array([1, 2, 3]) },
    { type: "data", id: 7, bytes: new Uint8Array() },
    { type: "end" },
    { type: "error", message: "ключ" },
  ];
  for (const packet of packets) {
    const back = PACKET.decode(Buffer.from(PACKET.encode(packet)));
    assert.deepEqual(back.type === "data" ? { ...back, bytes: new Uint8Array(back.bytes) } : back, packet);
  }
});

test("bytes that are no packet are refused, whatever they are", () => {
  for (const hex of ["08", "0805", "120a", "12020a05", "0affffffffffffffffffff01", "22ff", "1fff"]) {
    assert.throws(() => PACKET.decode(Buffer.from(hex, "hex")), Error, hex);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        PACKET.decode(Buffer.from(bytes));
      } catch (error) {
        assert.ok(
          error instanceof Error && !(error instanceof RangeError) && !(error instanceof TypeError),
          String(error),
        );
      }
    }),
  );
});

test("a size that is negative is no number", () => {
  const stat = create(StatSchema, { path: "x", size: -1n });
  const packet = PACKET.decode(Buffer.from(toBinary(PacketSchema, create(PacketSchema, { stat }))));
  assert.ok(packet.type === "stat" && Number.isNaN(packet.stat!.size));
});
