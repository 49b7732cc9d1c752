import assert from "node:assert/strict";
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Finished, finish } from "../command.ts";

const SCRIPTS = fileURLToPath(new URL("../../scripts", import.meta.url));

function scratch(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), "gantry-install-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

function script(root: string, name: string, ...args: readonly string[]): Promise<Finished> {
  return finish("sh", [join(SCRIPTS, name), ...args], { env: { ...process.env, DESTDIR: root }, timeoutMs: 120_000 });
}

/** Files and links, without folders. */
function filesBelow(root: string): string[] {
  return globSync("**", { cwd: root, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .sort();
}

test("what is installed below another root runs without the checkout, and goes again", async (t) => {
  const root = scratch(t);
  for (const round of ["first", "over itself"]) {
    const installed = await script(root, "install-system.sh");
    assert.equal(installed.code, 0, `${round}: ${installed.stderr}`);
  }
  for (const name of ["gantry", "gantryd"]) {
    const { code, stdout } = await finish(join(root, "usr/bin", name), ["--version"], { env: process.env });
    assert.equal(code, 0);
    assert.match(stdout, /^Gantry version \d+\.\d+\.\d+/);
  }
  assert.equal(existsSync(join(root, "usr/lib/gantry/src")), false);
  assert.deepEqual(
    filesBelow(root).filter((path) => !path.startsWith("/usr/lib/gantry/")),
    ["/etc/systemd/system/gantry.service", "/usr/bin/gantry", "/usr/bin/gantryd"],
  );
  const unit = readFileSync(join(root, "etc/systemd/system/gantry.service"), "utf8");
  for (const line of ["Type=notify", "KillMode=process", "Delegate=yes", "ExecStart=/usr/bin/gantryd"])
    assert.match(unit, new RegExp(`^${line}$`, "m"));

  mkdirSync(join(root, "var/lib/gantry"), { recursive: true });
  writeFileSync(join(root, "var/lib/gantry/gantry.db"), "precious");
  mkdirSync(join(root, "usr/local/bin"), { recursive: true });
  symlinkSync("/some/checkout/bin/gantryd", join(root, "usr/local/bin/gantryd"));
  symlinkSync("/opt/other/gantry", join(root, "usr/local/bin/gantry"));
  assert.equal((await script(root, "uninstall-system.sh")).code, 0);
  assert.deepEqual(filesBelow(root), ["/usr/local/bin/gantry", "/usr/local/bin/gantryd", "/var/lib/gantry/gantry.db"]);
  assert.equal((await script(root, "uninstall-system.sh", "--purge")).code, 0);
  assert.deepEqual(filesBelow(root), ["/usr/local/bin/gantry"], "what is not Gantry's stays");
});

test("a program of something else is not replaced, and a wrong argument removes nothing", async (t) => {
  const root = scratch(t);
  mkdirSync(join(root, "usr/bin"), { recursive: true });
  writeFileSync(join(root, "usr/bin/gantry"), "another program");
  const refused = await script(root, "install-system.sh");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /usr\/bin\/gantry is a file of something else: remove it or its package first/);
  assert.deepEqual(filesBelow(root), ["/usr/bin/gantry"]);
  const wrong = await script(root, "uninstall-system.sh", "--all");
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /unknown argument --all/);
});
