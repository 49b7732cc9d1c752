import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { isKind } from "../../base/errors.ts";
import { modeChange } from "./mode.ts";

const MODES = [
  ...[
    "0",
    "644",
    "0755",
    "4755",
    "07777",
    "u+x",
    "g-w",
    "o=",
    "a=r",
    "u=rwx,go=rx",
    "go-rwx",
    "+x",
    "u+s",
    "g+s",
    "+t",
  ],
  ...["a+X", "u+rwX,go-w", "u=g", "go=u", "o+u-x", "ug=rw,o=r", "a-x+X", "=rw", "u-s,g-s", "-t"],
];

it("changes modes as chmod(1) does", () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-mode-"));
  try {
    const [file, dir] = [join(folder, "file"), join(folder, "dir")];
    writeFileSync(file, "");
    mkdirSync(dir);
    for (const mode of MODES)
      for (const before of [0o600, 0o644, 0o755, 0o6711, 0o1777, 0]) {
        for (const [path, isFolder] of [
          [file, false],
          [dir, true],
        ] as const) {
          chmodSync(path, before);
          execFileSync("sh", ["-c", 'umask 0; chmod -- "$0" "$1"', mode, path]);
          // Of a folder an octal mode keeps what it hands down there, not here.
          if (isFolder && /^\d/.test(mode)) continue;
          const told = modeChange(mode)(before, isFolder).toString(8);
          assert.equal(told, (statSync(path).mode & 0o7777).toString(8), `${mode} ${before.toString(8)} ${isFolder}`);
        }
      }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it("refuses what is no mode in one sentence", () => {
  for (const mode of ["", "8", "10000", "77777", "u", "u+q", "u+x,", "rwx", "u++z", "x+u"])
    assert.throws(
      () => modeChange(mode),
      (error) => isKind(error, "invalid"),
      mode,
    );
});
