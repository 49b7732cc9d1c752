import assert from "node:assert/strict";
import { test } from "node:test";
import { importOf, openImages } from "./image-store.fixture.ts";

const short = (id: string): string => id.slice(7, 19);
const plain = { force: false, prune: true };
const forced = { force: true, prune: true };

test("a name is taken away alone while the image has others, and with the last the image goes", async (t) => {
  const fixture = openImages(t);
  const { images, content, snapshots } = fixture;
  const id = await importOf(t, fixture, "one", "a:1");
  images.tag("a:1", "b", "2");
  assert.deepEqual(images.inspect(id).RepoTags, ["a:1", "b:2"]);
  assert.deepEqual(await images.remove("a:1", plain), [{ Untagged: "a:1" }]);
  const [layer] = images.inspect(id).RootFS.Layers ?? [];
  assert.deepEqual(await images.remove("b:2", plain), [{ Untagged: "b:2" }, { Deleted: id }, { Deleted: layer }]);
  assert.deepEqual(await content.list(), []);
  assert.deepEqual(snapshots.list(), []);
  assert.deepEqual(fixture.events(), [`import ${id}`, "tag b:2", `untag ${id}`, `untag ${id}`, `delete ${id}`]);
});

test("by id, an image of one name goes and one of several repositories is a conflict until forced", async (t) => {
  const fixture = openImages(t);
  const { images } = fixture;
  const id = await importOf(t, fixture, "one", "a:1");
  images.tag(id, "b", "");
  await assert.rejects(images.remove(short(id), plain), {
    kind: "conflict",
    message: `conflict: unable to delete ${short(id)} (must be forced) - image is referenced in multiple repositories`,
  });
  const rows = await images.remove(short(id), forced);
  assert.deepEqual(rows.slice(0, 3), [{ Untagged: "a:1" }, { Untagged: "b:latest" }, { Deleted: id }]);
});

test("what a running container uses stays, and what a stopped one uses goes only by force", async (t) => {
  const fixture = openImages(t);
  const { images, uses } = fixture;
  const id = await importOf(t, fixture, "one", "a:1");
  const containerId = "c".repeat(64);
  uses.set(id, [{ containerId, running: true }]);
  await assert.rejects(images.remove(id, forced), {
    message: `conflict: unable to delete ${short(id)} (cannot be forced) - image is being used by running container cccccccccccc`,
  });
  await assert.rejects(images.remove("a:1", plain), {
    message: `conflict: unable to remove repository reference "a:1" (must force) - container cccccccccccc is using its referenced image ${short(id)}`,
  });
  uses.set(id, [{ containerId, running: false }]);
  await assert.rejects(images.remove(id, plain), {
    message: `conflict: unable to delete ${short(id)} (must be forced) - image is being used by stopped container cccccccccccc`,
  });
  images.tag(id, "b", "1");
  assert.deepEqual(await images.remove("b:1", plain), [{ Untagged: "b:1" }]);
  assert.equal((await images.remove("a:1", forced)).length, 3);
});

test("a layer that another image or a container stands on stays", async (t) => {
  const fixture = openImages(t);
  const { images, snapshots } = fixture;
  const one = await importOf(t, fixture, "same", "one:1", "CMD a");
  const two = await importOf(t, fixture, "same", "two:1", "CMD b");
  assert.notEqual(one, two);
  assert.deepEqual(await images.remove("one:1", plain), [{ Untagged: "one:1" }, { Deleted: one }]);
  const chainId = images.resolve("two:1").chainId ?? "";
  await snapshots.prepare("container", chainId);
  assert.deepEqual(await images.remove("two:1", plain), [{ Untagged: "two:1" }, { Deleted: two }]);
  assert.equal(snapshots.has(chainId), true);
  await snapshots.remove("container");
  await images.collectSnapshots();
  assert.deepEqual(snapshots.list(), []);
});

test("a missing image is named as Docker names it", async (t) => {
  const fixture = openImages(t);
  const { images } = fixture;
  const id = await importOf(t, fixture, "one", "a:1");
  const table: readonly (readonly [string, string])[] = [
    ["x", "No such image: x:latest"],
    ["docker.io/library/x:2", "No such image: x:2"],
    ["host:5000/a/b", "No such image: host:5000/a/b:latest"],
    [`sha256:${"0".repeat(64)}`, `No such image: sha256:${"0".repeat(64)}`],
  ];
  for (const [name, message] of table) {
    assert.throws(() => images.inspect(name), { kind: "not-found", message }, name);
  }
  for (const text of [id, id.slice(7), id.slice(7, 10), id.slice(0, 12)]) assert.equal(images.resolve(text).id, id);
  assert.throws(() => images.resolve("A"), { kind: "invalid" });
});

test("a prefix of two ids finds neither", async (t) => {
  const fixture = openImages(t);
  const first = new Map<string, string>();
  for (let index = 0; first.size < 17; index++) {
    const id = await importOf(t, fixture, "same", "", `LABEL n=${index}`);
    const other = first.get(id[7] ?? "");
    first.set(id[7] ?? "", id);
    if (other === undefined) continue;
    const prefix = id[7] ?? "";
    assert.throws(() => fixture.images.resolve(prefix), {
      kind: "not-found",
      message: `No such image: ${prefix}:latest`,
    });
    return;
  }
  assert.fail("seventeen ids begin with different digits");
});

test("prune takes what has no tag, and with dangling=false all that nobody uses", async (t) => {
  const fixture = openImages(t);
  const { images, uses } = fixture;
  const loose = await importOf(t, fixture, "loose", "", "LABEL keep=no");
  const kept = await importOf(t, fixture, "kept", "", "LABEL keep=yes");
  const used = await importOf(t, fixture, "used", "used:1");
  const free = await importOf(t, fixture, "free", "free:1");
  uses.set(used, [{ containerId: "c".repeat(64), running: false }]);
  assert.deepEqual((await images.prune({ until: ["24h"] })).deleted, []);
  const first = await images.prune({ "label!": ["keep=yes"] });
  assert.deepEqual(first.deleted[0], { Deleted: loose });
  assert.equal(first.spaceReclaimed, "loose".length);
  const second = await images.prune({ dangling: ["false"], label: ["keep"] });
  assert.deepEqual(second.deleted[0], { Deleted: kept });
  const third = await images.prune({ dangling: ["false"] });
  assert.deepEqual(third.deleted.slice(0, 2), [{ Untagged: "free:1" }, { Deleted: free }]);
  assert.deepEqual(
    (await images.list({})).map(({ Id }) => Id),
    [used],
  );
  assert.equal(fixture.events().at(-1), "prune");
  await assert.rejects(images.prune({ dangling: ["maybe"] }), { message: "invalid filter 'dangling=[maybe]'" });
  await assert.rejects(images.prune({ colour: ["red"] }), { message: "invalid filter 'colour'" });
});
