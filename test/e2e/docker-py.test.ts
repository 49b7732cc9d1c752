import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startEngine, type TestEngine } from "../engine.ts";
import { freePort } from "../free-port.ts";
import { imageOf, indexOf, layerOf, pushTo } from "../oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

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

  interface ModuleOptions {
    /** What the functions' names hold that are run; all of them without. */
    readonly words?: readonly string[];
    readonly skip?: string | false;
    readonly env?: () => Promise<Readonly<Record<string, string>>>;
  }

  /** A module's tests, each as a test of its own. */
  function module(name: string, transport: "unix" | "tcp", version: string, options: ModuleOptions = {}): void {
    const { words = [], skip = false } = options;
    test(`${name} over ${transport}, API ${version}`, { skip }, async (t) => {
      const env = {
        CLIENT_API_VERSION: version,
        PYTHONDONTWRITEBYTECODE: "1",
        ...(transport === "tcp" && { DOCKER_HOST: tcp }),
        ...(await options.env?.()),
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
  const basics = ["test_run", "test_life", "test_wait", "test_stats", "test_options"];
  module("containers", "tcp", "1.41", { words: basics });
  // docker-py loses output that comes with the head of an answer, and TCP does not tell when the head was read.
  module("streams", "tcp", "1.41", { words: ["test_logs", "test_follow", "test_close", "test_much"] });
  module("websockets", "tcp", "1.41");

  const registries: TestRegistry[] = [];
  after(async () => {
    for (const registry of registries) await registry[Symbol.asyncDispose]();
  });

  async function stocked(): Promise<Readonly<Record<string, string>>> {
    const plain = await startRegistry();
    registries.push(plain);
    const users = await startRegistry({ htpasswd: { joe: "secret" } });
    registries.push(users);
    const other = { os: "linux", architecture: process.arch === "arm64" ? "amd64" : "arm64" };
    let digest = "";
    for (const registry of registries) {
      await pushTo(registry, "py/app:2", imageOf({ layers: [layerOf([{ name: "two", body: "2\n" }])] }));
      digest = await pushTo(registry, "py/app:1", imageOf());
    }
    await pushTo(plain, "py/index:1", indexOf([imageOf(), imageOf({ platform: other })]));
    await pushTo(plain, "py/only-other:1", indexOf([imageOf({ platform: other })]));
    return {
      REGISTRY_PLAIN: plain.host,
      REGISTRY_USERS: users.host,
      APP_DIGEST: digest,
      OTHER_PLATFORM: `${other.os}/${other.architecture}`,
    };
  }

  module("registries", "unix", "auto", { skip: registryMissing(), env: stocked });
});
