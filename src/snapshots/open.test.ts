import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { isKind } from "../base/errors.ts";
import { openSnapshotter } from "./open.ts";
import { layerOf } from "./snapshotter.suite.ts";

describe("opening the snapshots of a root", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "gantry-open-"));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it("takes overlay2 where it works, vfs where not or where asked, and refuses others", () => {
    assert.equal(openSnapshotter({ root }).driver, "overlay2");
    assert.equal(openSnapshotter({ root, driver: "vfs" }).driver, "vfs");
    assert.throws(
      () => openSnapshotter({ root, driver: "zfs" }),
      (error) => isKind(error, "unsupported"),
    );
    const bare = { root: join(root, "ramfs") };
    mkdirSync(bare.root);
    execFileSync("mount", ["-t", "ramfs", "ramfs", bare.root]);
    try {
      assert.equal(openSnapshotter(bare).driver, "vfs");
      assert.throws(
        () => openSnapshotter({ ...bare, driver: "overlay2" }),
        (error) => isKind(error, "unsupported"),
      );
    } finally {
      execFileSync("umount", [bare.root]);
    }
    assert.deepEqual(readdirSync(root).sort(), ["overlay2", "ramfs", "vfs"]);
  });

  for (const [point, left] of [
    ["snapshots.prepare.furnished", ["base"]],
    ["snapshots.apply.extracted", ["base", "key"]],
    ["snapshots.commit.synced", ["base", "key"]],
    ["snapshots.commit.renamed", ["base", "key", "top"]],
    ["snapshots.discard.renamed", ["base", "key", "top"]],
  ] as const)
    it(`settles everything after a death at ${point}`, async () => {
      await openSnapshotter({ root }).apply("base", undefined, layerOf(["a"]));
      const here = (file: string): string => JSON.stringify(join(import.meta.dirname, file));
      const code = `import { openSnapshotter } from ${here("open.ts")};
        import { layerOf } from ${here("snapshotter.suite.ts")};
        const snapshots = openSnapshotter({ root: ${JSON.stringify(root)} });
        await snapshots.prepare("key", "base");
        await snapshots.apply("top", "base", layerOf(["b"]));
        await snapshots.prepare("other", "base");
        await snapshots.remove("other");`;
      const env = { ...process.env, GANTRY_FAILPOINTS: `${point}=kill`, NODE_TEST_CONTEXT: "" };
      const { signal, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
        env,
        encoding: "utf8",
      });
      assert.equal(signal, "SIGKILL", stderr);
      const snapshots = openSnapshotter({ root });
      await snapshots.recover(new Set(["key"]));
      assert.deepEqual(
        snapshots
          .list()
          .map(({ id }) => id)
          .sort(),
        left,
      );
      assert.equal(readdirSync(join(root, "overlay2/l")).length, left.length);
      assert.deepEqual(readdirSync(join(root, "overlay2/trash")), []);
      await snapshots.prepare("after", "base");
    });

  it("says so when the disk is full, and leaves nothing", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", root]);
    try {
      for (const driver of ["overlay2", "vfs"]) {
        const snapshots = openSnapshotter({ root, driver });
        const layer = layerOf([{ name: "large", text: "x".repeat(3_000_000) }]);
        await assert.rejects(snapshots.apply("full", undefined, layer), /no space left on device/);
        assert.deepEqual(
          [snapshots.list(), readdirSync(join(root, driver, "l")), readdirSync(join(root, driver, "trash"))],
          [[], [], []],
        );
        await snapshots.apply("fits", undefined, layerOf(["small"]));
      }
    } finally {
      execFileSync("umount", [root]);
    }
  });

  it("removes folders nested deeper than any path", async () => {
    const snapshots = openSnapshotter({ root });
    await snapshots.prepare("deep", undefined);
    const fs = join(root, "overlay2/l", readdirSync(join(root, "overlay2/l"))[0]!, "fs");
    // A shell steps down one by one, as a process in a container can.
    const name = "d".repeat(200);
    const sh = `n=0; while [ $n -lt 100 ]; do mkdir ${name}; cd -P ${name}; n=$((n+1)); done; : > file`;
    execFileSync("sh", ["-ec", sh], { cwd: fs });
    await snapshots.remove("deep");
    assert.deepEqual(readdirSync(join(root, "overlay2/trash")), []);
  });

  it("mounts more layers than a page of options holds", async () => {
    const snapshots = openSnapshotter({ root });
    let parent: string | undefined;
    for (let at = 0; at < 130; at++) {
      const name = `layer-${at}`;
      await snapshots.prepare(`key-${at}`, parent);
      parent = name;
      if (at < 3 || at > 127) await snapshots.extract(`key-${at}`, layerOf([`file-${at}`]));
      await snapshots.commit(name, `key-${at}`);
    }
    const target = join(root, "target");
    mkdirSync(target);
    await snapshots.prepare("top", parent);
    await snapshots.mount("top", target);
    try {
      assert.equal(readdirSync(target).filter((name) => name.startsWith("file-")).length, 5);
    } finally {
      await snapshots.unmount(target);
    }
  });
});
