import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { imageArchive, sha256, type TarEntry, tarOf } from "../archive.ts";
import { startEngine, type TestEngine } from "../engine.ts";

describe("hostile archives", () => {
  let engine: TestEngine;
  let victim: string;
  before(async () => {
    engine = await startEngine({ image: false });
    victim = join(engine.root, "victim");
    writeFileSync(victim, "untouched");
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const imported = (archive: Uint8Array) =>
    engine.request("POST", "/images/create?fromSrc=-&repo=hostile", archive, { "Content-Type": "application/x-tar" });
  const loaded = (archive: Uint8Array) =>
    engine.request("POST", "/images/load", archive, { "Content-Type": "application/x-tar" });

  /** Whatever the answer was, nothing outside was touched and nothing half-made can be seen. */
  async function nothingHappened(): Promise<void> {
    assert.equal(readFileSync(victim, "utf8"), "untouched");
    assert.ok(!existsSync(join(engine.root, "escaped")) && !existsSync("/escaped") && !existsSync("/tmp/escaped"));
    assert.deepEqual((await engine.request("GET", "/images/json?all=1")).json, []);
    const blobs = join(engine.dataRoot, "blobs/sha256");
    if (existsSync(blobs)) assert.deepEqual(readdirSync(blobs), []);
  }

  const refused: readonly [string, readonly TarEntry[]][] = [
    ["a name that climbs out", [{ name: "../../escaped", body: "x" }]],
    ["a name that climbs out later", [{ name: "a/../../escaped", body: "x" }]],
    ["a hard link to a file outside", [{ name: "link", type: "hardlink", link: "../../../victim" }]],
    [
      "a hard link through a symlink outside",
      [
        { name: "out", type: "symlink", link: "/tmp" },
        { name: "x", type: "hardlink", link: "out/../../etc/passwd" },
      ],
    ],
    ["a hard link to what isn't there", [{ name: "link", type: "hardlink", link: "missing" }]],
    ["an opaque marker that climbs out", [{ name: "../.wh..wh..opq" }]],
  ];
  for (const [name, entries] of refused) {
    test(`${name} is refused`, async () => {
      const answer = await imported(tarOf(entries));
      assert.ok(answer.status >= 400 || /"error"/.test(answer.text), answer.text);
      await nothingHappened();
    });
  }

  const contained: readonly [string, readonly TarEntry[], string][] = [
    ["an absolute name", [{ name: "/escaped", body: "in" }], "escaped"],
    [
      "a symlink outside and a file through it",
      [
        { name: "dir", type: "symlink", link: "/tmp" },
        { name: "tmp/", type: "directory" },
        { name: "dir/escaped", body: "in" },
      ],
      "escaped",
    ],
  ];
  for (const [name, entries] of contained) {
    test(`${name} stays inside the image's root or is refused`, async () => {
      const answer = await imported(tarOf(entries));
      assert.ok(!existsSync("/escaped") && !existsSync("/tmp/escaped"));
      if (answer.status < 400 && !/"error"/.test(answer.text)) {
        assert.equal((await engine.request("DELETE", "/images/hostile:latest")).status, 200);
      }
      await nothingHappened();
    });
  }

  const corrupt: readonly [string, () => Buffer][] = [
    ["noise", () => Buffer.alloc(4096, 0xa5)],
    ["an empty body", () => Buffer.alloc(0)],
    ["a truncated tar", () => tarOf([{ name: "a", body: "x".repeat(9000) }]).subarray(0, 4000)],
    ["a truncated gzip", () => gzipSync(tarOf([{ name: "a", body: "x".repeat(100000) }])).subarray(0, 100)],
    [
      "a header with a wrong checksum",
      () => {
        const bytes = tarOf([{ name: "a", body: "x" }]);
        bytes[0] = 0x62;
        return bytes;
      },
    ],
  ];
  for (const [name, archive] of corrupt) {
    test(`${name} can't be loaded`, async () => {
      const answer = await loaded(archive());
      assert.ok(answer.status >= 400 || /"error"/.test(answer.text), `${answer.status} ${answer.text}`);
      await nothingHappened();
    });
  }

  test("a layer that is not the one its image names is refused", async () => {
    const archive = imageArchive("liar:1", [tarOf([{ name: "a", body: "x" }])], [`sha256:${"0".repeat(64)}`]);
    const answer = await loaded(archive);
    assert.match(answer.text, /invalid diffID for layer 0|expected .*0000/);
    await nothingHappened();
  });

  test("fewer layers than the image names are refused", async () => {
    const layer = tarOf([{ name: "a", body: "x" }]);
    const answer = await loaded(
      imageArchive("liar:2", [layer], [`sha256:${"1".repeat(64)}`, `sha256:${"2".repeat(64)}`]),
    );
    assert.ok(answer.status >= 400 || /"error"/.test(answer.text), answer.text);
    await nothingHappened();
  });

  test("more layers than can be mounted are refused", async () => {
    const layer = tarOf([{ name: "a", body: "x" }]);
    const answer = await loaded(
      imageArchive(
        "high:1",
        [layer],
        Array.from({ length: 501 }, () => `sha256:${sha256(layer)}`),
      ),
    );
    assert.match(answer.text, /max depth exceeded/);
    await nothingHappened();
  });

  test("images and names without number are refused", async () => {
    for (const items of [
      Array.from({ length: 5000 }, () => ({ Config: "c", RepoTags: null, Layers: [] })),
      [{ Config: "c", RepoTags: Array.from({ length: 5000 }, (_, index) => `x:${index}`), Layers: [] }],
    ]) {
      const answer = await loaded(tarOf([{ name: "manifest.json", body: JSON.stringify(items) }]));
      assert.match(answer.text, /invalid manifest: more than 4096/);
      await nothingHappened();
    }
  });

  test("paths in a manifest that climb out of the archive read nothing outside", async () => {
    const answer = await loaded(
      tarOf([
        {
          name: "manifest.json",
          body: JSON.stringify([{ Config: "../../../../etc/passwd", RepoTags: ["x:1"], Layers: [] }]),
        },
      ]),
    );
    assert.ok(answer.status >= 400 || /"error"/.test(answer.text), answer.text);
    assert.ok(!answer.text.includes("root:"), "it shows a file of the host");
    await nothingHappened();
  });
});
