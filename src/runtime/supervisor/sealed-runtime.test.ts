import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { SealedRuntimes } from "./sealed-runtime.ts";

const folder = mkdtempSync(join(tmpdir(), "gantry-sealed-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const crun = join(folder, "crun");
copyFileSync("/bin/true", crun);

test("a runtime is copied once, runs from its copy, and the copy takes no change", () => {
  const sealed = new SealedRuntimes();
  const path = sealed.pathOf(crun);
  assert.match(path, /^\/proc\/self\/fd\/\d+$/);
  assert.equal(sealed.pathOf(crun), path);
  const outside = path.replace("self", String(process.pid));
  execFileSync(outside, []);
  assert.throws(() => writeFileSync(outside, "x", { flag: "r+" }), { code: "EPERM" });
});

test("a runtime that was upgraded is copied anew", () => {
  const sealed = new SealedRuntimes();
  const before = sealed.pathOf(crun);
  assert.equal(sealed.pathOf(crun), before);
  rmSync(crun);
  copyFileSync("/bin/false", crun);
  utimesSync(crun, 1, 1);
  const now = sealed.pathOf(crun).replace("self", String(process.pid));
  assert.throws(() => execFileSync(now, []), { status: 1 });
});

test("what is no known runtime, or isn't there, is started as it is", () => {
  const sealed = new SealedRuntimes();
  assert.equal(sealed.pathOf("/bin/true"), "/bin/true");
  assert.equal(sealed.pathOf(join(folder, "no", "crun")), join(folder, "no", "crun"));
});
