import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { GitServer, gitPrograms } from "../../src/build/sources/git-server.fixture.ts";
import type { Finished } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { startFaultyRegistry } from "../faulty-registry.ts";
import { BUILDX, NO_BUILDX } from "../newer-clients.ts";
import { imageOf } from "../oci-image.ts";
import { Terminal } from "../terminal.ts";

const NO_GIT = gitPrograms() === undefined && "git-http-backend is not installed";

describe("docker buildx of a newer release, taking part in its builds", { skip: NO_BUILDX }, () => {
  let engine: TestEngine;
  let folder = "";

  before(async () => {
    engine = await startEngine();
    folder = join(engine.root, "context");
    mkdirSync(folder);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const env = () => ({
    ...process.env,
    ...{ DOCKER_HOST: `unix://${engine.socket}`, DOCKER_CONFIG: join(engine.root, "config"), HOME: engine.root },
    ...{ BUILDX_EXPERIMENTAL: "1", BUILDX_GIT_INFO: "false", TERM: "xterm" },
  });

  function buildx(...args: readonly string[]): Promise<Finished> {
    return engine.run(BUILDX!, args, { cwd: folder, env: { BUILDX_EXPERIMENTAL: "1", BUILDX_GIT_INFO: "false" } });
  }

  async function ok(...args: readonly string[]): Promise<string> {
    const { code, stderr, stdout } = await buildx(...args);
    assert.equal(code, 0, `buildx ${args.join(" ")}: ${stderr}${stdout}`);
    return stdout;
  }

  /** What is shown on a terminal; it is ended when it isn't looked at any more. */
  async function shown(args: readonly string[], act: (terminal: Terminal) => Promise<void>): Promise<void> {
    await using terminal = new Terminal(BUILDX!, args, env());
    await act(terminal);
  }

  describe("bakes what a repository says", { skip: NO_GIT }, () => {
    let server: GitServer;
    before(async () => {
      const repositories = join(engine.root, "repositories");
      const one = join(repositories, "one");
      const files = {
        "docker-bake.hcl": [
          'target "default" {\n  tags = ["remote/whole"]\n}',
          'target "part" {\n  context = "sub"\n  tags = ["remote/part"]\n}',
        ].join("\n"),
        "other.hcl": 'target "default" {\n  labels = { other = "yes" }\n}\n',
        Dockerfile: "FROM busybox\nCOPY x /x\nCMD cat /x\n",
        x: "whole\n",
        "sub/Dockerfile": "FROM busybox\nCOPY y /y\nCMD cat /y\n",
        "sub/y": "part\n",
      };
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(one, path)), { recursive: true });
        writeFileSync(join(one, path), text);
      }
      const git = (...args: readonly string[]) =>
        execFileSync("git", ["-C", one, "-c", "user.name=a", "-c", "user.email=a@b.example", ...args]);
      git("init", "-q", "-b", "main");
      git("add", ".");
      git("commit", "-q", "-m", "one");
      server = await GitServer.start(repositories);
    });
    after(() => server?.[Symbol.asyncDispose]());

    test("with the repository, or a folder of it, as the context", async () => {
      await ok("bake", `${server.url}/one/.git`);
      await ok("bake", `${server.url}/one/.git#main`, "part");
      assert.equal(await engine.ok("run", "--rm", "--network", "none", "remote/whole"), "whole");
      assert.equal(await engine.ok("run", "--rm", "--network", "none", "remote/part"), "part");
      // A client's own question is no build.
      const names = await ok("history", "ls", "--format", "{{.Name}}");
      assert.equal(names.trim().split("\n").length, 2, names);
    });

    test("with the files that are named, and says which is missing", async () => {
      const printed = await ok("bake", "-f", "docker-bake.hcl", "-f", "other.hcl", "--print", `${server.url}/one/.git`);
      assert.deepEqual(JSON.parse(printed).target.default.labels, { other: "yes" });
      const failed = await buildx("bake", "-f", "missing.hcl", "--print", `${server.url}/one/.git`);
      assert.notEqual(failed.code, 0);
      assert.match(failed.stderr, /missing\.hcl: no such file or directory/);
    });
  });

  test("has a shell in what was built, with the image's surroundings", async () => {
    writeFileSync(
      join(folder, "Dockerfile"),
      "FROM busybox\nENV GREETING=hello\nWORKDIR /here\nRUN --network=none echo built > file\n",
    );
    await shown(["debug", "--on", "always", "--invoke", "/bin/sh", "build", folder], async (terminal) => {
      await terminal.shows(/\/here # /);
      terminal.type("cat file; echo $GREETING-$((40+2))\r");
      await terminal.shows(/\nbuilt\r*\nhello-42\r*\n/);
      terminal.type("exit 3\r");
      await terminal.shows(/exit code: 3/);
    });
  });

  test("has a shell in a command that failed, as that left its files", async () => {
    writeFileSync(join(folder, "Bad"), "FROM busybox\nRUN --network=none echo left > /file; exit 5\n");
    const args = ["debug", "--invoke", "/bin/sh", "build", "-f", join(folder, "Bad"), folder];
    await shown(args, async (terminal) => {
      await terminal.shows(/# /);
      terminal.type("cat /file; echo $((40+2))\r");
      await terminal.shows(/\nleft\r*\n42\r*\n/);
      terminal.type("exit 3\r");
      await terminal.shows(/exit code: 3/);
    });
  });

  test("fetches the tokens of registries itself, so that the engine has no password", async () => {
    await using registry = await startFaultyRegistry({ auth: "bearer" });
    registry.add("locked:1", imageOf());
    const login = Buffer.from("joe:secret").toString("base64");
    mkdirSync(join(engine.root, "config"), { recursive: true });
    writeFileSync(
      join(engine.root, "config/config.json"),
      JSON.stringify({ auths: { [registry.host]: { auth: login } } }),
    );
    writeFileSync(join(folder, "Locked"), `FROM ${registry.host}/locked:1\nLABEL a=b\n`);
    await ok("build", "-f", join(folder, "Locked"), "-t", "unlocked", folder);
    await ok("build", "-f", join(folder, "Locked"), "-t", `${registry.host}/locked:2`, "--push", folder);
    const agentsOf = (wanted: string) =>
      new Set(registry.requests.flatMap(({ headers, step }) => (step === wanted ? [headers["user-agent"]] : [])));
    const [engines, fetchers] = [agentsOf("manifest"), agentsOf("token")];
    assert.ok(engines.size === 1 && fetchers.size > 0);
    assert.equal(fetchers.isDisjointFrom(engines), true, [...fetchers].join());
    assert.doesNotMatch(engine.log, /secret|am9lOnNlY3JldA/);
  });
});
