import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { after, before, beforeEach, describe, test } from "node:test";
import { tarOf } from "../archive.ts";
import { NO_HUB, StandInHub } from "../docker-hub.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { imageOf, indexOf, layerOf, type TestImage } from "../oci-image.ts";

const OTHER = { os: "linux", architecture: process.arch === "arm64" ? "amd64" : "arm64" };

describe("Docker Hub", { skip: NO_HUB }, () => {
  let folder: string;
  let hub: StandInHub;
  let engine: TestEngine;
  let alpine: TestImage;

  before(async () => {
    folder = mkdtempSync("/tmp/gantry-test-");
    hub = await StandInHub.start(folder);
    // A real program, so that what was pulled can run.
    const shell = layerOf(tarOf([{ name: "bin/sh", body: readFileSync("/bin/busybox"), mode: 0o755 }]));
    alpine = imageOf({ layers: [shell], process: { Cmd: ["/bin/sh", "-c", "echo from the hub"], Env: ["PATH=/bin"] } });
    hub.add("library/alpine:3.20", indexOf([alpine, imageOf({ platform: OTHER })]));
    hub.add("joe/own:latest", imageOf());
    engine = await startEngine({ wrap: hub.wrap, env: hub.env, image: false });
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await hub?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  beforeEach(async () => {
    hub.forget();
    hub.pullsLeft = 100;
  });

  /** What a command of ours that must succeed prints. */
  const ok = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await engine.gantry(...args);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  const asked = (): string[] => hub.requests.map(({ host, method, path }) => `${host} ${method} ${path.split("?")[0]}`);

  test("a machine that never saw an image runs it from there", async () => {
    const { code, stdout, stderr } = await engine.gantry("run", "--rm", "alpine:3.20");
    assert.equal(code, 0, stderr);
    assert.equal(stdout, "from the hub\n");
    assert.match(stderr, /^Unable to find image 'alpine:3\.20' locally\n3\.20: Pulling from library\/alpine\n/);
    assert.match(stderr, /Status: Downloaded newer image for alpine:3\.20\n$/);
    const names = JSON.parse(await ok("inspect", "-f", "{{json .RepoTags}}", "alpine:3.20"));
    assert.deepEqual(names, ["alpine:3.20"]);
    assert.equal(hub.pullsLeft, 98, "the index and the image's manifest are what counts of a pull");
    assert.deepEqual(
      hub.requests.filter(({ host, scheme }) => host === "blobs" && scheme !== ""),
      [],
      "no credentials go to where blobs lie",
    );
    assert.ok(hub.requests.some(({ host }) => host === "blobs"));
    const [token] = hub.requests.filter(({ host }) => host === "tokens");
    assert.match(token?.path ?? "", /scope=repository%3Alibrary%2Falpine%3Apull/);
    assert.match(token?.path ?? "", /service=registry\.docker\.io/);
    assert.equal(hub.requests.filter(({ host }) => host === "tokens").length, 1, asked().join("\n"));
  });

  test("looking whether an image is up to date counts as no pull", async () => {
    await ok("pull", "alpine:3.20");
    hub.forget();
    hub.pullsLeft = 0;
    assert.match(await ok("pull", "alpine:3.20"), /Image is up to date for alpine:3\.20/);
    assert.equal(hub.pullsLeft, 0);
  });

  test("an exhausted limit is told in the Hub's words, once", async () => {
    hub.pullsLeft = 0;
    hub.add("library/other:1", imageOf());
    const { code, stderr } = await engine.gantry("pull", "other:1");
    assert.equal(code, 1);
    assert.match(stderr, /toomanyrequests: You have reached your unauthenticated pull rate limit\. https:\/\//);
    assert.ok(hub.requests.filter(({ path }) => path.includes("/manifests/")).length <= 3, asked().join("\n"));
  });

  test("what isn't there, or isn't for everybody, is refused as Docker refuses it", async () => {
    for (const name of ["nosuch", "joe/own"]) {
      const { code, stderr } = await engine.gantry("pull", name);
      assert.equal(code, 1);
      const repository = name.replace("/", "\\/");
      assert.match(
        stderr,
        new RegExp(`pull access denied for ${repository}, repository does not exist or may require 'docker login'`),
      );
    }
    const { stderr } = await engine.gantry("pull", "alpine:nosuch");
    assert.match(stderr, /manifest for alpine:nosuch not found: manifest unknown/);
  });

  for (const tool of ["docker", "gantry"] as const) {
    test(`${tool} login, push and pull of what is one's own, and logout`, {
      skip: tool === "docker" && NO_DOCKER,
    }, async () => {
      const run = (...args: string[]) => (tool === "docker" ? engine.docker(...args) : engine.gantry(...args));
      const wrong = await run("login", "-u", "joe", "-p", "wrong");
      assert.equal(wrong.code, 1);
      assert.match(wrong.stderr, /unauthorized: incorrect username or password/);
      const right = await run("login", "-u", "joe", "-p", "secret");
      assert.match(right.stdout, /Login Succeeded/, right.stderr);
      await ok("pull", "alpine:3.20");
      await ok("tag", "alpine:3.20", `joe/${tool}:1`);
      hub.forget();
      const pushed = await run("push", `joe/${tool}:1`);
      assert.equal(pushed.code, 0, pushed.stderr);
      assert.match(pushed.stdout, new RegExp(`The push refers to repository \\[docker\\.io/joe/${tool}\\]`));
      assert.ok(hub.has(`joe/${tool}`, alpine.config.digest));
      assert.ok(hub.requests.some(({ host, scheme }) => host === "tokens" && scheme === "Basic"));
      assert.ok(!hub.requests.some(({ host, scheme }) => host !== "tokens" && scheme === "Basic"));
      const own = await run("pull", "joe/own");
      assert.equal(own.code, 0, own.stderr);
      await run("logout");
      assert.equal((await run("pull", "joe/own")).code, 1);
      await ok("rmi", `joe/${tool}:1`, "joe/own");
    });
  }

  test("a search is the Hub's", async () => {
    const rows = await ok("search", "alp", "--format", "{{.Name}} {{.StarCount}} {{.IsOfficial}}");
    assert.match(rows, /^alpine 11000 \S+$/);
    assert.ok(asked().includes("index GET /v1/search"), asked().join("\n"));
  });
});
