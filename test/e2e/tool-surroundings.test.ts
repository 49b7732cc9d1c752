import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { finish } from "../command.ts";
import { GANTRY } from "../engine.ts";

describe("in a folder that somebody else filled, the gantry command", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync("/tmp/gantry-test-");
    const foreign = {
      ".env": "GANTRY_HOST=unix:///foreign/env.sock\nDOCKER_CONFIG=/foreign\n",
      ".env.local": "GANTRY_HOST=unix:///foreign/local.sock\n",
      ".env.production": "GANTRY_HOST=unix:///foreign/production.sock\n",
      "bunfig.toml": 'preload = ["./foreign.ts"]\n[run]\nshell = "./foreign.ts"\n',
      "foreign.ts": 'console.error("code of the folder ran");\n',
      "tsconfig.json": '{ "compilerOptions": { "paths": { "*": ["./foreign.ts"] } } }\n',
      "package.json": '{ "imports": { "#x": "./foreign.ts" }, "type": "commonjs" }\n',
    };
    for (const [name, text] of Object.entries(foreign)) writeFileSync(join(folder, name), text);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const command of [["ps"], ["pull", "127.0.0.1:1/x"], ["build", "."], ["--version"]]) {
    test(`${command.join(" ")} runs nothing of it and takes no settings from it`, async () => {
      const env = { ...process.env, GANTRY_HOST: undefined, DOCKER_HOST: "unix:///own/engine.sock" };
      const { stdout, stderr } = await finish(GANTRY, command, { cwd: folder, env });
      assert.doesNotMatch(stdout + stderr, /foreign|code of the folder/);
      assert.match(stdout + stderr, /unix:\/\/\/own\/engine\.sock|Gantry version/);
    });
  }
});
