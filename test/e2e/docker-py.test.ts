import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startEngine, type TestEngine } from "../engine.ts";
import { freePort } from "../free-port.ts";

/** The distribution's: another Python that comes first on the PATH need not have its packages. */
const PYTHON = "/usr/bin/python3";
const RUN = fileURLToPath(new URL("docker-py/run.py", import.meta.url));

interface Row {
  readonly name: string;
  readonly error?: string;
  readonly skipped?: string;
}

function lacking(...modules: readonly string[]): string | false {
  const { error, status } = spawnSync(PYTHON, ["-c", `import ${modules.join(", ")}`]);
  if (error !== undefined) return `${PYTHON} is not there`;
  return status === 0 ? false : `${PYTHON} has no module ${modules.join(" or ")} (Debian: python3-docker)`;
}

describe("docker-py against the engine", { skip: lacking("docker", "websocket") }, () => {
  let engine: TestEngine;
  let tcp = "";
  before(async () => {
    tcp = `tcp://127.0.0.1:${await freePort()}`;
    engine = await startEngine({ args: ["-H", tcp] });
  });
  after(() => engine?.[Symbol.asyncDispose]());

  /** A module's tests, each as a test of its own; `words` choose by what the functions' names hold. */
  function module(name: string, transport: "unix" | "tcp", version: string, words: readonly string[] = []): void {
    test(`${name} over ${transport}, API ${version}`, async (t) => {
      const env = {
        CLIENT_API_VERSION: version,
        PYTHONDONTWRITEBYTECODE: "1",
        ...(transport === "tcp" && { DOCKER_HOST: tcp }),
      };
      const { stdout, stderr } = await engine.run(PYTHON, [RUN, name, ...words], { env, timeoutMs: 120_000 });
      const rows = stdout
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Row);
      assert.notEqual(rows.length, 0, stderr);
      for (const row of rows) {
        await t.test(row.name, { skip: row.skipped ?? false }, () => {
          if (row.error !== undefined) assert.fail(row.error);
        });
      }
    });
  }

  for (const name of ["containers", "streams", "images", "system"]) module(name, "unix", "auto");
  // The version that the library asks for when nobody says one.
  module("containers", "tcp", "1.41", ["test_run", "test_life", "test_wait", "test_stats", "test_options"]);
  // docker-py loses output that comes with the head of an answer, and TCP does not tell when the head was read.
  module("streams", "tcp", "1.41", ["test_logs", "test_follow", "test_close", "test_much"]);
  module("websockets", "tcp", "1.41");
});
