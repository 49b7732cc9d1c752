import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { GitRepository, GitServer, gitPrograms } from "../../src/build/sources/git-server.fixture.ts";
import type { Finished } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";

const skip = gitPrograms() === undefined && "git-http-backend is not installed";

const BAKE = `
variable "TAG" {
  default = "dev"
}
group "default" {
  targets = ["app", "tool"]
}
target "app" {
  tags = ["remote/app:\${TAG}"]
  contexts = { shared = "./shared" }
}
target "tool" {
  context = "tool"
  dockerfile = "tool.Dockerfile"
  tags = ["remote/tool:\${TAG}"]
}
target "of-here" {
  context = BAKE_CMD_CONTEXT
  dockerfile-inline = "FROM busybox\\nCOPY here /\\nCMD cat /here"
  tags = ["remote/here:1"]
}
`;

describe("bake of definitions that are elsewhere", { skip }, () => {
  let engine: TestEngine;
  let server: GitServer;
  let repositories: string;
  /** Where the command runs, and where it has its temporary files. */
  let here: string;
  let temporary: string;

  before(async () => {
    engine = await startEngine();
    repositories = mkdtempSync(join(engine.root, "repositories-"));
    here = mkdtempSync(join(engine.root, "here-"));
    temporary = mkdtempSync(join(engine.root, "temporary-"));
    writeFileSync(join(here, "here"), "here\n");
    server = await GitServer.start(repositories);
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
  });

  /** A repository of these files; a text that begins with "->" is where a link points to. */
  function repository(name: string, files: Readonly<Record<string, string>>): string {
    const folder = join(repositories, name);
    mkdirSync(folder);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      if (text.startsWith("->")) symlinkSync(text.slice(2), join(folder, path));
      else writeFileSync(join(folder, path), text);
    }
    new GitRepository(folder).commit("first");
    return `${server.url}/${name}/.git#main`;
  }

  const bake = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Finished> =>
    engine.tool("gantry", ["bake", ...args], { cwd: here, env: { TMPDIR: temporary, ...env } });

  async function baked(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<string> {
    const { code, stderr, stdout } = await bake(args, env);
    assert.equal(code, 0, stderr);
    assert.deepEqual(readdirSync(temporary), []);
    return stdout;
  }

  test("builds folders of the repository that relative paths mean", async () => {
    const url = repository("all", {
      "docker-bake.hcl": BAKE,
      Dockerfile: "FROM busybox\nCOPY --from=shared text /\nCMD cat /text\n",
      "shared/text": "shared\n",
      "tool/tool.Dockerfile": "FROM busybox\nCOPY text /\nCMD cat /text\n",
      "tool/text": "tool\n",
    });
    await baked([url], { TAG: "v1" });
    assert.equal(await engine.ok("run", "--rm", "remote/app:v1"), "shared");
    assert.equal(await engine.ok("run", "--rm", "remote/tool:v1"), "tool");
    const { target } = JSON.parse(await baked([url, "--print", "app", "tool"]));
    assert.equal(target.app.context, url);
    assert.deepEqual(target.tool.tags, ["remote/tool:dev"]);
    assert.match(await baked([url, "--list", "targets"]), /app/);
  });

  test("reads the files that are named, those of here over those from there", async () => {
    const url = repository("named", {
      "defs/one.hcl": 'target "default" {\n  context = "src"\n  tags = ["remote/named:1"]\n}\n',
      "defs/two.hcl": 'target "default" {\n  labels = { two = "yes" }\n}\n',
      "src/Dockerfile": "FROM busybox\nARG SAY\nENV SAY=$SAY\nCMD echo $SAY\n",
    });
    writeFileSync(join(here, "own.hcl"), 'target "default" {\n  args = { SAY = "own" }\n}\n');
    await baked(["-f", "defs/one.hcl", "-f", "defs/two.hcl", "-f", "cwd://own.hcl", url]);
    assert.equal(await engine.ok("run", "--rm", "remote/named:1"), "own");
    assert.equal(await engine.ok("inspect", "-f", "{{.Config.Labels.two}}", "remote/named:1"), "yes");
  });

  test("says what is missing, and reads no file of this machine by a link", async () => {
    writeFileSync(join(here, "secret.hcl"), 'target "default" {\n  tags = ["secret/leaked:1"]\n}\n');
    const none = await bake([repository("none", { "not-bake.hcl": "" })]);
    assert.equal(none.code, 1);
    assert.match(none.stderr, /couldn't find a bake definition in http/);
    const missing = await bake(["-f", "missing.hcl", `${server.url}/none/.git#main`]);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /missing\.hcl.*not found/);
    const links = repository("links", {
      "docker-bake.hcl": `->${join(here, "secret.hcl")}`,
      "a/b.hcl": `->${join(here, "secret.hcl")}`,
    });
    // What is in a folder that a pattern finds is copied as it is.
    const inFolder = repository("folder", { "docker-bake.hcl.d/docker-bake.hcl": `->${join(here, "secret.hcl")}` });
    const isFolder = repository("is-folder", { "docker-bake.hcl/a": "" });
    for (const args of [
      [links],
      ["-f", "a/b.hcl", links],
      [inFolder],
      [isFolder],
      ["-f", "docker-bake.hcl", isFolder],
    ]) {
      const { code, stderr, stdout } = await bake([...args, "--print"]);
      assert.equal(code, 1, stdout);
      assert.match(stderr, /not found|is no file of its repository|couldn't find a bake definition/);
      assert.doesNotMatch(stderr + stdout, /secret\/leaked/);
    }
    assert.deepEqual(readdirSync(temporary), []);
  });
});
