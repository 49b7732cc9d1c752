import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type { ProgressMessage } from "../api/image.ts";
import { gnuTar, importOf, openImages, streamOf } from "./image-store.fixture.ts";

const options = { changes: [], message: "", reference: "" };

test("an imported tar becomes the layer as it is, whatever compressed it", async (t) => {
  const fixture = openImages(t);
  const tar = gnuTar(t, { file: "x".repeat(1 << 20), other: "y" });
  const digest = `sha256:${createHash("sha256").update(tar).digest("hex")}`;
  for (const archive of [tar, gzipSync(tar), zstdCompressSync(tar)]) {
    const messages: ProgressMessage[] = [];
    const progress = { onProgress: (message: ProgressMessage) => messages.push(message) };
    const id = await fixture.images.import(streamOf(archive), { ...options, reference: "rootfs" }, progress);
    const image = fixture.images.inspect("rootfs:latest");
    assert.equal(image.Id, id);
    assert.deepEqual(messages.at(-1), { status: id });
    assert.deepEqual(image.RootFS.Layers, [digest]);
    assert.equal(image.Size, (1 << 20) + 1);
    assert.equal(fixture.content.size(digest), tar.length);
  }
});

test("changes, message and platform are in the image, and its history shows the message", async (t) => {
  const { images } = openImages(t);
  const changes = ['CMD ["sh"]', "ENV A=1", "EXPOSE 80", "LABEL l=1"];
  const tar = gnuTar(t, { file: "1" });
  await images.import(streamOf(tar), { changes, message: "by hand", reference: "x:1", platform: "linux/arm/v6" }, {});
  const image = images.inspect("x:1");
  assert.deepEqual(image.Config?.Cmd, ["sh"]);
  assert.deepEqual({ ...image.Config?.ExposedPorts }, { "80/tcp": {} });
  assert.deepEqual([image.Architecture, image.Variant, image.Os], ["arm", "v6", "linux"]);
  assert.equal(image.Comment, "by hand");
  const [row] = images.history("x:1");
  assert.equal(row?.Comment, "by hand");
  assert.deepEqual(row?.Tags, ["x:1"]);
  assert.equal(row?.Size, 1);
});

test("a refused import leaves nothing", async (t) => {
  const fixture = openImages(t);
  const tar = gnuTar(t, { file: "x".repeat(2 << 20) });
  const refusals: readonly (readonly [Uint8Array, object, RegExp])[] = [
    [tar, { changes: ["RUN x"] }, /^RUN is not a valid change command$/],
    [tar, { reference: `x@sha256:${"a".repeat(64)}` }, /^cannot import digest reference$/],
    [tar, { reference: "Bad" }, /must be lowercase$/],
    [tar, { platform: "windows/amd64" }, /^operating system is not supported$/],
    [tar.subarray(0, 1 << 20), {}, /unexpected EOF/],
    [Buffer.from("no tar".repeat(1000)), {}, /invalid tar header/],
  ];
  for (const [archive, extra, message] of refusals) {
    await assert.rejects(fixture.images.import(streamOf(archive), { ...options, ...extra }, {}), {
      message,
      kind: "invalid",
    });
    assert.deepEqual(await fixture.content.list(), []);
    assert.deepEqual(fixture.snapshots.list(), []);
  }
});

test("a source that fails or is aborted midway leaves nothing", async (t) => {
  const fixture = openImages(t);
  const tar = gnuTar(t, { file: "x".repeat(4 << 20) });
  const failing = Readable.from(
    (async function* () {
      yield tar.subarray(0, 3 << 20);
      throw new Error("the client left");
    })(),
  );
  await assert.rejects(fixture.images.import(failing, options, {}), /the client left/);
  const abort = new AbortController();
  const stuck = new Readable({ read() {} });
  stuck.push(tar.subarray(0, 3 << 20));
  const importing = fixture.images.import(stuck, options, { signal: abort.signal });
  setImmediate(() => abort.abort());
  await assert.rejects(importing, { kind: "cancelled" });
  assert.deepEqual(await fixture.content.list(), []);
  assert.deepEqual(fixture.snapshots.list(), []);
});

test("a name moves to the image that was imported last, and the other is left without one", async (t) => {
  const fixture = openImages(t);
  const one = await importOf(t, fixture, "1", "x:1");
  const two = await importOf(t, fixture, "2", "x:1");
  const rows = await fixture.images.list({});
  assert.deepEqual(
    new Map(rows.map(({ Id, RepoTags }) => [Id, RepoTags])),
    new Map([
      [one, []],
      [two, ["x:1"]],
    ]),
  );
});

test("images are listed by filters", async (t) => {
  const fixture = openImages(t);
  const { images } = fixture;
  const one = await importOf(t, fixture, "1", "app:1", "LABEL a=1");
  const two = await importOf(t, fixture, "2", "example.com/team/app:2", "LABEL a=2 b=1");
  const loose = await importOf(t, fixture, "2", "", "LABEL c=1");
  const ids = async (filters: Record<string, string[]>) => (await images.list({ filters })).map(({ Id }) => Id).sort();
  const table: readonly (readonly [Record<string, string[]>, string[]])[] = [
    [{}, [one, two, loose]],
    [{ dangling: ["true"] }, [loose]],
    [{ dangling: ["0"] }, [one, two]],
    [{ label: ["a"] }, [one, two]],
    [{ label: ["a=2", "b"] }, [two]],
    [{ before: [two] }, [one]],
    [{ since: ["app:1"] }, [two, loose]],
    [{ until: ["1h"] }, []],
    [{ reference: ["app"] }, [one]],
    [{ reference: ["app:*"] }, [one]],
    [{ reference: ["*/*/app", "nothing"] }, [two]],
    [{ reference: ["*.com/team/[a-b]pp:?"] }, [two]],
  ];
  for (const [filters, expected] of table)
    assert.deepEqual(await ids(filters), [...expected].sort(), JSON.stringify(filters));
  assert.deepEqual((await images.list({ sharedSize: true })).map(({ SharedSize }) => SharedSize).sort(), [0, 1, 1]);
  await assert.rejects(images.list({ filters: { reference: ["["] } }), /syntax error in pattern/);
  await assert.rejects(images.list({ filters: { nonsense: ["1"] } }), { message: "invalid filter 'nonsense'" });
  await assert.rejects(images.list({ filters: { before: ["none"] } }), { message: "No such image: none:latest" });
});

test("a tag is checked before it is given", async (t) => {
  const fixture = openImages(t);
  await importOf(t, fixture, "1", "x:1");
  assert.throws(() => fixture.images.tag("x:1", "y", "-"), /invalid tag format/);
  assert.throws(() => fixture.images.tag("x:1", `y@sha256:${"a".repeat(64)}`, ""), /digest reference/);
  assert.throws(() => fixture.images.tag("nothing", "y", "1"), /No such image: nothing:latest/);
  assert.throws(() => fixture.images.tag("x:1", "sha256", "1"), /ambiguous/);
});
