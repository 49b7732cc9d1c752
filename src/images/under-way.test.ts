import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNormalized } from "../oci/reference.ts";
import { openMemory } from "../state/memory.ts";
import { type ImageRecord, ImageRecords, type UnderWay } from "./record.ts";

const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;
const layer = {
  blob: { mediaType: "m", digest: digest("b"), size: 1 },
  diffId: digest("d"),
  chainId: digest("d"),
  size: 5,
};
const image: ImageRecord = {
  id: digest("1"),
  config: { architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [digest("d")] } },
  configSize: 1,
  manifest: { mediaType: "m", digest: digest("e"), size: 1 },
  layers: [layer],
};
const underWay: UnderWay = { image, reference: "host:1/a@x", served: [digest("d")] };
const name = parseNormalized("host:1/a:latest");

test("an image under way has its name, keeps its blobs and chains, and vouches for no layer", () => {
  const store = openMemory();
  new ImageRecords(store).addUnderWay(underWay, [[name, image.id]]);
  const records = new ImageRecords(store);
  assert.equal(records.named(name)?.id, image.id);
  assert.ok(records.named(name)?.lastTagged !== undefined);
  assert.equal(records.whole(image.id), undefined);
  assert.deepEqual([...records.blobs()], [digest("1"), digest("e"), digest("b")]);
  assert.deepEqual([...records.chains()], [digest("d")]);
  assert.equal(records.hasLayer(digest("b"), digest("d")), false);
  assert.equal(store.collection("images").list().length, 0);
});

test("it is whole with the record of it, all at once, and keeps the names that it got meanwhile", () => {
  const store = openMemory();
  const records = new ImageRecords(store);
  const told: string[] = [];
  records.onWhole = (id) => told.push(id);
  records.addUnderWay(underWay, [[name, image.id]]);
  const other = parseNormalized("other:2");
  records.add([], [[other, image.id]]);
  assert.deepEqual(told, []);
  records.add([{ ...image, layers: [{ ...layer, size: 7 }] }]);
  assert.deepEqual(told, [image.id]);
  for (const seen of [records, new ImageRecords(store)]) {
    assert.equal(seen.underWay(image.id), undefined);
    assert.equal(seen.whole(image.id)?.layers[0]?.size, 7);
    assert.equal(seen.hasLayer(digest("b"), digest("d")), true);
    assert.deepEqual(seen.familiarNames(image.id).tags, ["other:2", "host:1/a:latest"]);
  }
  assert.throws(() => records.addUnderWay(underWay, []), { kind: "internal" });
});

test("one that is broken loses its names, and may be removed or become whole after all", () => {
  const store = openMemory();
  const records = new ImageRecords(store);
  records.addUnderWay(underWay, [[name, image.id]]);
  records.breakUnderWay(image.id, "another digest");
  for (const seen of [records, new ImageRecords(store)]) {
    assert.equal(seen.named(name), undefined);
    assert.equal(seen.underWay(image.id)?.broken, "another digest");
  }
  records.add([image], [[name, image.id]]);
  assert.equal(new ImageRecords(store).whole(image.id)?.id, image.id);
  records.remove(image.id);
  records.addUnderWay(underWay, [[name, image.id]]);
  records.remove(image.id);
  const later = new ImageRecords(store);
  assert.deepEqual([later.count(), later.allUnderWay(), later.named(name)], [0, [], undefined]);
});
