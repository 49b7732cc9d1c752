import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { FolderWatch } from "./watch.ts";

describe("a watched context", () => {
  let root: string;
  const { signal } = new AbortController();
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "gantry-watch-"));
    mkdirSync(join(root, "src"));
    writeFileSync(join(root, "Dockerfile"), "FROM x\n");
    writeFileSync(join(root, ".dockerignore"), "*.log\nDockerfile\n");
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const watched = () => new FolderWatch({ folders: [root], files: [join(root, "Dockerfile")] });
  const write = (name: string, text = "x"): void => writeFileSync(join(root, name), text);

  test("tells of what changed while nobody asked", async () => {
    using watch = watched();
    write("src/a");
    await new Promise((done) => setImmediate(done));
    assert.equal(await watch.change(signal), "src/a");
  });

  test("says nothing of what is ignored or made by builds, and the Dockerfile and .dockerignore always", async () => {
    using watch = watched();
    watch.leaveOut([join(root, "out")]);
    write("a.log");
    mkdirSync(join(root, "out"));
    write("out/x");
    write("Dockerfile", "FROM y\n");
    assert.equal(await watch.change(signal), "Dockerfile");
    write(".dockerignore", "");
    assert.equal(await watch.change(signal), ".dockerignore");
    write("a.log", "more");
    assert.equal(await watch.change(signal), "a.log");
  });

  test("sees a Dockerfile go, come back and change again", async () => {
    using watch = watched();
    rmSync(join(root, "Dockerfile"));
    assert.equal(await watch.change(signal), "Dockerfile");
    write("new", "FROM z\n");
    renameSync(join(root, "new"), join(root, "Dockerfile"));
    assert.equal(await watch.change(signal), "Dockerfile");
    write("Dockerfile", "FROM w\n");
    assert.equal(await watch.change(signal), "Dockerfile");
  });

  test("looks into folders that come, and come again", async () => {
    using watch = watched();
    mkdirSync(join(root, "deep"));
    assert.equal(await watch.change(signal), "deep");
    write("deep/a");
    assert.match(await watch.change(signal), /^deep/);
    rmSync(join(root, "deep"), { recursive: true });
    assert.match(await watch.change(signal), /^deep/);
    mkdirSync(join(root, "deep"));
    assert.match(await watch.change(signal), /^deep/);
    write("deep/b");
    assert.match(await watch.change(signal), /^deep/);
  });

  test("ends with its signal", async () => {
    using watch = watched();
    const controller = new AbortController();
    const change = watch.change(controller.signal);
    controller.abort(new Error("interrupted"));
    await assert.rejects(change, { message: "interrupted" });
  });
});
