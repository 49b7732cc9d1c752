import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { bindMount, isMountPoint, listMounts, MNT, unmount } from "../kernel/mount.ts";
import { claimRoots } from "./roots.ts";

test("the roots are one engine's, shared mounts, and as they were afterwards", (t) => {
  if (process.getuid?.() !== 0) return t.skip("mounting needs root");
  const folder = mkdtempSync(join(tmpdir(), "gantry-roots-"));
  const config = {
    dataRoot: join(folder, "data"),
    execRoot: join(folder, "exec"),
    pidfile: join(folder, "run", "pid"),
  };
  t.after(() => {
    for (const row of listMounts(folder).reverse()) unmount(row.target, MNT.DETACH);
    rmSync(folder, { recursive: true, force: true });
  });
  const roots = claimRoots(config);
  assert.equal(statSync(config.dataRoot).mode & 0o777, 0o710);
  assert.equal(readFileSync(config.pidfile, "utf8"), String(process.pid));
  for (const root of [config.dataRoot, config.execRoot]) {
    const row = listMounts(root).find(({ target }) => target === root);
    assert.match(row?.propagation.join(" ") ?? "", /shared:/);
  }
  const script = `import(${JSON.stringify(new URL("./roots.ts", import.meta.url).href)}).then((m) => m.claimRoots(${JSON.stringify(config)}))`;
  const second = spawnSync(process.execPath, ["-e", script], { encoding: "utf8" });
  assert.match(
    second.stderr,
    new RegExp(`cannot use the data root .*: another engine \\(pid ${process.pid}\\) is using it`),
  );
  assert.equal(readFileSync(config.pidfile, "utf8"), String(process.pid));

  roots.release({ unmount: false });
  assert.equal(isMountPoint(config.dataRoot), true, "containers that go on keep their mounts");
  assert.equal(existsSync(config.pidfile), false);
  claimRoots(config).release({ unmount: true });
  assert.equal(listMounts(folder).length, 0);
});

test("a folder that somebody mounted in the place of a root stays there", (t) => {
  if (process.getuid?.() !== 0) return t.skip("mounting needs root");
  const folder = mkdtempSync(join(tmpdir(), "gantry-roots-"));
  const elsewhere = join(folder, "elsewhere");
  const config = { dataRoot: join(folder, "data"), execRoot: join(folder, "exec"), pidfile: join(folder, "pid") };
  t.after(() => {
    for (const row of listMounts(folder).reverse()) unmount(row.target, MNT.DETACH);
    rmSync(folder, { recursive: true, force: true });
  });
  for (const path of [elsewhere, config.dataRoot]) mkdirSync(path);
  bindMount(elsewhere, config.dataRoot);
  for (let round = 0; round < 2; round++) {
    claimRoots(config).release({ unmount: true });
    assert.deepEqual(
      listMounts(folder).map(({ target }) => target),
      [config.dataRoot],
    );
  }
  assert.ok(existsSync(join(elsewhere, "gantryd.lock")));
});
