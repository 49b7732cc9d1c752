import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { endChild, type Finished } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { BUILDX, NO_BUILDX } from "../newer-clients.ts";

const DOCKERFILE = [
  "FROM busybox AS base",
  "ARG V=1",
  "WORKDIR /app",
  "COPY . .",
  "RUN --network=none ls -A > list && echo building $V",
  "FROM base AS final",
  'CMD ["cat", "list"]',
].join("\n");

describe("docker buildx of a newer release", { skip: NO_BUILDX }, () => {
  let engine: TestEngine;
  let folder = "";
  let out = "";

  before(async () => {
    engine = await startEngine();
    folder = join(engine.root, "context");
    out = join(engine.root, "out");
    mkdirSync(join(folder, "sub"), { recursive: true });
    mkdirSync(out);
    write("a.txt", "hello\n");
    write("sub/b", "b\n");
    write("Dockerfile", DOCKERFILE);
    write("Few", "FROM scratch\nCOPY a.txt sub /\n");
    write("Bad", "FROM busybox\nRUN --network=none echo oops; exit 3\n");
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);

  function buildx(...args: readonly string[]): Promise<Finished> {
    return engine.run(BUILDX!, args, { cwd: folder, env: { BUILDX_GIT_INFO: "false" } });
  }

  /** Its output; fails where the command does. */
  async function ok(...args: readonly string[]): Promise<string> {
    const { code, stderr, stdout } = await buildx(...args);
    assert.equal(code, 0, `buildx ${args.join(" ")}: ${stderr}${stdout}`);
    return stdout;
  }

  async function logged(...args: readonly string[]): Promise<string> {
    const { code, stderr, stdout } = await buildx(...args);
    assert.equal(code, 0, `buildx ${args.join(" ")}: ${stderr}${stdout}`);
    return stderr;
  }

  function bakeFile(targets: Readonly<Record<string, unknown>>): string {
    const path = join(engine.root, "bake.json");
    writeFileSync(path, JSON.stringify({ target: targets }));
    return path;
  }

  test("builds an image that runs, and tells of it in a metadata file", async () => {
    const metadata = join(engine.root, "metadata.json");
    const told = await logged("build", "--progress", "plain", "--metadata-file", metadata, "-t", "one", ".");
    assert.match(told, /\[base 4\/4\] RUN .*\n#\d+ [\d.]+ building 1\n/);
    assert.match((await engine.gantry("run", "--rm", "one")).stdout, /^Bad\nDockerfile\nFew\na\.txt\nlist\nsub\n$/);
    const read = JSON.parse(readFileSync(metadata, "utf8"));
    assert.equal(read["image.name"], "docker.io/library/one:latest");
    assert.match(read["containerimage.digest"], /^sha256:/);
    // Taken from the history, with as much as nobody objected to.
    const { invocation, materials, metadata: rest } = read["buildx.build.provenance"];
    assert.deepEqual([invocation.parameters.frontend, materials.length, rest], ["dockerfile.v0", 1, undefined]);
  });

  test("writes every kind of result", async () => {
    await ok("build", "-f", "Few", "-o", join(out, "folder"), ".");
    assert.deepEqual(readdirSync(join(out, "folder")).sort(), ["a.txt", "b"]);
    const tars = { tar: ["a.txt", "b"], oci: ["index.json", "oci-layout"], docker: ["manifest.json", "index.json"] };
    for (const [type, names] of Object.entries(tars)) {
      const path = join(out, `${type}.tar`);
      await ok("build", "-f", "Few", "-o", `type=${type},dest=${path}`, ".");
      const listed = execFileSync("tar", ["-tf", path], { encoding: "utf8" }).split("\n");
      for (const name of names) assert.ok(listed.includes(name), `${name} is not in ${type}: ${listed.join(" ")}`);
    }
    const layout = join(out, "layout");
    await ok("build", "-f", "Few", "-o", `type=oci,tar=false,dest=${layout}`, ".");
    write("Of", "FROM lent\nCOPY --from=lent /b /c\n");
    await ok("build", "-f", "Of", "--build-context", `lent=oci-layout://${layout}`, "-o", join(out, "of"), ".");
    assert.deepEqual(readdirSync(join(out, "of")).sort(), ["a.txt", "b", "c"]);
    const both = ["--platform", "linux/amd64,linux/arm64"];
    await ok("build", "-f", "Few", ...both, "-o", join(out, "both"), ".");
    assert.deepEqual(readdirSync(join(out, "both")).sort(), ["linux_amd64", "linux_arm64"]);
  });

  test("answers questions, of which the history knows nothing", async () => {
    assert.match(await ok("build", "--call", "targets", "."), /base[\s\S]*final \(default\)/);
    assert.match(await ok("build", "--call", "outline", "."), /V +1/);
    assert.match(await ok("build", "--check", "."), /Check complete, no warnings found/);
    const asked = JSON.parse(await ok("build", "--call", "subrequests.describe,format=json", "."));
    assert.ok(asked.some(({ name }: { name: string }) => name === "frontend.outline"));
    const listed = await ok("history", "ls", "--format", "{{json .}}");
    assert.equal(listed.split("\n").filter((line) => line.includes('"total_steps":0')).length, 0, listed);
  });

  test("has what the history keeps of a build: its options, provenance, logs and result", async () => {
    await ok("build", "-t", "kept", "--build-arg", "V=7", ".");
    const [{ ref }] = JSON.parse(`[${(await ok("history", "ls", "--format", "{{json .}}")).split("\n")[0]}]`);
    const id = String(ref).split("/").at(-1)!;
    const read = JSON.parse(await ok("history", "inspect", "--format", "json", id));
    assert.deepEqual(read.BuildArgs, [{ Name: "V", Value: "7" }]);
    assert.equal(read.Status, "completed");
    assert.match(read.Materials[0].URI, /^pkg:docker\/busybox@latest/);
    const types = read.Attachments.map(({ Type }: { Type: string }) => Type).sort();
    assert.deepEqual(types, ["application/vnd.oci.image.config.v1+json", "https://slsa.dev/provenance/v0.2"]);
    const provenance = JSON.parse(await ok("history", "inspect", "attachment", "--type", "provenance", id));
    assert.deepEqual(provenance.invocation.parameters.args, { "build-arg:V": "7" });
    assert.match(await logged("history", "logs", "--progress", "plain", id), /building 7\n/);
    const bundle = join(out, "kept.dockerbuild");
    await ok("history", "export", "-o", bundle, id);
    const blobs = execFileSync("tar", ["-tzf", bundle], { encoding: "utf8" }).match(/sha256\/[0-9a-f]{64}/g);
    // The manifest, the record, its logs and trace, provenance and the image's config.
    assert.equal(blobs?.length, 6);
    // The client has read it as a trace, and written it anew.
    const held = execFileSync("tar", ["-xzOf", bundle], { encoding: "latin1" });
    for (const name of ["build kept", "[base 2/4] WORKDIR /app", "exporting to image"]) {
      assert.ok(held.includes(`"Name": "${name}`), `${name} is no span`);
    }
    await ok("history", "rm", id);
    assert.notEqual((await buildx("history", "inspect", id)).code, 0);
  });

  test("is told of a failure with its lines, also afterwards, and finds it by its state", async () => {
    const failed = await buildx("build", "--progress", "plain", "-f", "Bad", ".");
    assert.equal(failed.code, 1);
    const excerpt = / 2 \| >>> RUN --network=none echo oops; exit 3/;
    assert.match(failed.stderr, excerpt);
    const listed = await ok("history", "ls", "--filter", "status=error", "--format", "{{.Name}}");
    assert.match(listed, /Bad$/m);
    const read = JSON.parse(await ok("history", "inspect", "--format", "json"));
    assert.deepEqual([read.Status, read.Error.Logs], ["failed", ["oops"]]);
    assert.match(Buffer.from(read.Error.Sources, "base64").toString(), excerpt);
    assert.equal(await ok("history", "ls", "--filter", "duration>1h", "--format", "{{.Name}}"), "");
  });

  test("inspects a build that is running", async () => {
    write("Slow", "FROM busybox\nRUN --network=none echo on; sleep 60\n");
    const env = { ...process.env, DOCKER_HOST: `unix://${engine.socket}`, DOCKER_CONFIG: join(engine.root, "config") };
    const running = spawn(BUILDX!, ["build", "-f", "Slow", "."], { cwd: folder, env, stdio: "ignore" });
    try {
      let seen = "";
      while (!seen.includes("Running")) seen = await ok("history", "ls", "--filter", "status=running");
      assert.match(await ok("history", "inspect"), /Duration:\s+[\d.]+s \(running\)/);
    } finally {
      await endChild(running, "SIGINT", 10_000);
    }
    assert.doesNotMatch(await ok("history", "ls", "--filter", "status=running"), /Running/);
    assert.equal(JSON.parse(await ok("history", "inspect", "--format", "json")).Status, "canceled");
  });

  test("bakes targets that are contexts of others, several deep, with secrets of their own", async () => {
    writeFileSync(join(engine.root, "secret"), "known to one\n");
    const file = bakeFile({
      one: {
        context: folder,
        "dockerfile-inline":
          "FROM busybox\nRUN --network=none --mount=type=secret,id=s cp /run/secrets/s /one\nENV BASE=1",
        secret: [`id=s,src=${engine.root}/secret`],
      },
      two: {
        contexts: { lower: "target:one" },
        "dockerfile-inline": 'FROM lower\nRUN --network=none cp /one /two; echo $BASE >> /two\nENTRYPOINT ["cat"]',
        tags: ["two"],
      },
      three: {
        contexts: { lower: "target:two" },
        "dockerfile-inline": 'FROM busybox\nCOPY --from=lower /two /three\nCMD ["cat", "/three"]',
        tags: ["three"],
      },
    });
    const metadata = join(engine.root, "baked.json");
    await ok("bake", "-f", file, "--allow", "fs.read=*", "--metadata-file", metadata, "two", "three");
    assert.equal((await engine.gantry("run", "--rm", "two", "/two")).stdout, "known to one\n1\n");
    assert.equal((await engine.gantry("run", "--rm", "three")).stdout, "known to one\n1\n");
    const history = await engine.gantry("history", "--no-trunc", "--format", "{{.CreatedBy}}", "two");
    assert.match(history.stdout, /ENTRYPOINT.*\n.*cp \/one \/two.*\nENV BASE=1\nRUN .*cp \/run\/secrets\/s \/one/);
    const { two } = JSON.parse(readFileSync(metadata, "utf8"));
    assert.match(two["buildx.build.provenance"].materials[0].uri, /^pkg:docker\/busybox@latest/);
    // Nothing is kept of targets that nobody wanted but as a context.
    const images = await engine.gantry("images", "--all", "--format", "{{.Repository}}");
    assert.deepEqual(images.stdout.trim().split("\n").sort(), ["busybox", "kept", "one", "three", "two"]);
  });

  test("bakes linked targets for several platforms, and tells why one below failed", async () => {
    const file = bakeFile({
      low: { context: folder, dockerfile: "Few", platforms: ["linux/amd64", "linux/arm64"] },
      high: {
        contexts: { low: "target:low" },
        "dockerfile-inline": "FROM low\nARG TARGETARCH\nCOPY --from=low /a.txt /for-$TARGETARCH",
        platforms: ["linux/amd64", "linux/arm64"],
        output: [join(out, "high")],
      },
      bad: { context: folder, dockerfile: "Bad" },
      on: { contexts: { bad: "target:bad" }, "dockerfile-inline": "FROM bad\nRUN --network=none true" },
    });
    const [, written] = [await ok("bake", "-f", file, "--allow", "fs=*", "high"), join(out, "high")];
    for (const name of ["amd64", "arm64"]) assert.ok(existsSync(join(written, `linux_${name}/for-${name}`)), name);
    const failed = await buildx("bake", "-f", file, "--allow", "fs.read=*", "on");
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /target \w+: failed to solve: process .*exit code: 3/);
  });

  test("looks after the cache", async () => {
    const rows = (await ok("du", "--verbose")).match(/^ID:/gm) ?? [];
    assert.ok(rows.length > 2);
    await ok("prune", "--force", "--all");
    assert.match(await ok("du"), /Reclaimable:\s+0B/);
  });

  test("knows the engine as its builder", async () => {
    assert.match(await ok("inspect"), /Driver:\s+docker\n[\s\S]*Platforms:\s+linux\/amd64/);
  });
});
