import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { imageArchive, sha256, tarOf } from "../archive.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

describe("images", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const file = (name: string, bytes: Uint8Array): string => {
    const path = join(engine.root, name);
    writeFileSync(path, bytes);
    return path;
  };

  test("import makes an image of an archive, plain or compressed, with changes", async () => {
    const tar = tarOf([
      { name: "etc/", type: "directory" },
      { name: "etc/word", body: "hello" },
    ]);
    for (const [index, bytes] of [tar, gzipSync(tar), zstdCompressSync(tar)].entries()) {
      const id = await engine.ok(
        "import",
        "-c",
        "ENV A=b",
        "-c",
        'CMD ["x","y z"]',
        "-m",
        "why",
        file("i.tar", bytes),
        `imported:${index}`,
      );
      assert.match(id, /^sha256:[0-9a-f]{64}$/);
      assert.equal(
        await engine.ok("inspect", "-f", "{{json .Config.Cmd}} {{json .Config.Env}}", `imported:${index}`),
        '["x","y z"] ["A=b"]',
      );
      assert.equal(
        await engine.ok("inspect", "-f", "{{index .RootFS.Layers 0}}", `imported:${index}`),
        `sha256:${sha256(tar)}`,
      );
      assert.match(await engine.ok("history", "--format", "{{.Comment}}", `imported:${index}`), /why/);
    }
    const fromInput = await engine.tool("docker", ["import", "-", "piped:1"], { input: tar });
    assert.equal(fromInput.code, 0, fromInput.stderr);
    await engine.ok("rmi", "imported:0", "imported:1", "imported:2", "piped:1");
  });

  test("load takes what docker save writes: lower layers first, whiteouts applied", async () => {
    const lower = tarOf([
      { name: "keep", body: "k" },
      { name: "gone", body: "g" },
      { name: "dir/", type: "directory" },
      { name: "dir/a", body: "a" },
    ]);
    const upper = tarOf([{ name: ".wh.gone" }, { name: "dir/.wh..wh..opq" }, { name: "dir/b", body: "b" }]);
    const said = await engine.ok("load", "-i", file("two.tar", imageArchive("two:layers", [lower, upper])));
    assert.match(said, /Loaded image: two:layers/);
    const seen = await engine.ok(
      "run",
      "--rm",
      "--volumes-from",
      await engine.ok("create", "two:layers", "x"),
      "busybox",
      "true",
    );
    assert.equal(seen, "");
    const merged = imageArchive("busy:layers", [await busyboxLayer(), lower, upper]);
    await engine.ok("load", "-i", file("busy.tar", merged));
    assert.equal(
      await engine.ok("run", "--rm", "busy:layers", "/bin/sh", "-c", "ls /keep /gone /dir 2>/dev/null; true"),
      "/keep\n\n/dir:\nb",
    );
    await engine.ok("rm", ...(await engine.ok("ps", "-aq")).split("\n"));
    await engine.ok("rmi", "two:layers", "busy:layers");
  });

  test("save and load bring the same image to where it was removed", async () => {
    const before = await engine.ok("inspect", "-f", "{{.Id}} {{json .RootFS.Layers}} {{json .Config.Cmd}}", "busybox");
    await engine.ok("tag", "busybox", "other:name");
    const path = join(engine.root, "saved.tar");
    await engine.ok("save", "-o", path, "busybox", "other:name");
    const again = join(engine.root, "again.tar");
    await engine.ok("save", "-o", again, "busybox", "other:name");
    const { stdout } = await engine.run("cmp", [path, again]);
    assert.equal(stdout, "", "two saves of the same differ");
    await engine.ok("rmi", "busybox", "other:name");
    assert.equal(await engine.ok("images", "-q"), "");
    await engine.ok("load", "-i", path);
    assert.equal(
      await engine.ok("inspect", "-f", "{{.Id}} {{json .RootFS.Layers}} {{json .Config.Cmd}}", "busybox"),
      before,
    );
    assert.equal(await engine.ok("run", "--rm", "other:name", "echo", "runs"), "runs");
    await engine.ok("rmi", "other:name");
  });

  test("rmi untags first, and refuses what is used or has several names", async () => {
    await engine.ok("tag", "busybox", "a:1");
    await engine.ok("tag", "busybox", "b:1");
    const id = (await engine.ok("inspect", "-f", "{{.Id}}", "a:1")).replace("sha256:", "").slice(0, 12);
    assert.equal(await engine.ok("rmi", "a:1"), "Untagged: a:1");
    assert.match(
      (await engine.docker("rmi", id)).stderr,
      /conflict: unable to delete .* \(must be forced\) - image is referenced in multiple repositories/,
    );
    await engine.ok("rmi", "b:1");
    await engine.ok("create", "--name", "user", "busybox");
    assert.match(
      (await engine.docker("rmi", "busybox")).stderr,
      /conflict: unable to (delete|remove repository reference) .*\(must (be forced|force)\)/,
    );
    await engine.ok("rm", "user");
    assert.match((await engine.docker("rmi", "nothing:here")).stderr, /No such image: nothing:here/);
  });

  test("list filters, truncates and prunes", async () => {
    const tar = (word: string): string => file("p.tar", tarOf([{ name: "word", body: word }]));
    await engine.ok("import", "-c", "LABEL l=1", tar("one"), "listed:1");
    await engine.ok("import", "-c", "LABEL l=2", tar("two"), "listed:2");
    const names = (...flags: string[]) => engine.ok("images", "--format", "{{.Repository}}:{{.Tag}}", ...flags);
    assert.equal(await names("--filter", "label=l=1"), "listed:1");
    assert.deepEqual((await names("--filter", "reference=listed:*")).split("\n").sort(), ["listed:1", "listed:2"]);
    assert.deepEqual((await names("listed")).split("\n").sort(), ["listed:1", "listed:2"]);
    assert.match(await engine.ok("images", "-q", "--no-trunc", "listed:1"), /^sha256:[0-9a-f]{64}$/);
    await engine.ok("import", tar("three"), "listed:1");
    assert.equal(await names("--filter", "dangling=true"), "<none>:<none>");
    assert.match(await engine.ok("image", "prune", "-f"), /deleted: sha256:[\s\S]*Total reclaimed space/);
    assert.equal(await names("--filter", "dangling=true"), "");
    await engine.ok("rmi", "listed:1", "listed:2");
  });

  test("a prune's filters choose among real images, and what is used stays", async () => {
    const tar = (word: string): string => file("q.tar", tarOf([{ name: "word", body: word }]));
    const make = (name: string, label: string) => engine.ok("import", "-c", `LABEL ${label}`, tar(name + label), name);
    const prune = async (filters: object) => {
      const path = `/images/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`;
      const { status, json } = await engine.request("POST", path);
      assert.equal(status, 200, json?.message);
      const rows = (json.ImagesDeleted ?? []) as { Untagged?: string; Deleted?: string }[];
      return { untagged: rows.flatMap(({ Untagged }) => Untagged ?? []).sort(), space: json.SpaceReclaimed as number };
    };
    const has = async () =>
      (await engine.ok("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "label=p"))
        .split("\n")
        .filter(Boolean)
        .sort();
    await make("p:old", "p=1");
    // Each takes the name of the one before.
    await make("p:old", "p=2");
    await make("p:old", "p=3");
    await make("p:used", "p=4");
    await make("p:free", "p=5");
    await engine.ok("create", "--name", "uses", "p:used", "true");
    assert.deepEqual(await has(), ["<none>:<none>", "<none>:<none>", "p:free", "p:old", "p:used"]);
    assert.deepEqual(await prune({ label: ["p=1"], until: ["1h"] }), { untagged: [], space: 0 });
    assert.deepEqual(await prune({ label: ["p=9"] }), { untagged: [], space: 0 });
    const { space } = await prune({ label: ["p=1"], until: [String(Date.now() / 1000 + 60)] });
    assert.equal(space, "p:oldp=1".length);
    assert.equal((await has()).filter((name) => name === "<none>:<none>").length, 1);
    assert.equal((await prune({ "label!": ["p"] })).space, 0);
    await prune({ dangling: ["true"] });
    assert.deepEqual(await has(), ["p:free", "p:old", "p:used"]);
    assert.deepEqual((await prune({ dangling: ["false"], "label!": ["p=3"], label: ["p"] })).untagged, ["p:free"]);
    assert.deepEqual((await prune({ dangling: ["0"], label: ["p"], until: ["-1m"] })).untagged, ["p:old"]);
    assert.deepEqual(await has(), ["p:used"]);
    await engine.ok("rm", "uses");
    await engine.ok("rmi", "p:used");
  });

  /** The test image's own layer, taken out of its archive by GNU tar. */
  async function busyboxLayer(): Promise<Buffer> {
    const path = join(engine.root, "busybox.tar");
    await engine.ok("save", "-o", path, "busybox");
    const manifest = JSON.parse((await engine.run("tar", ["-xOf", path, "manifest.json"])).stdout) as {
      Layers: string[];
    }[];
    return (await engine.run("tar", ["-xOf", path, manifest[0]?.Layers[0] ?? ""])).bytes;
  }
});
