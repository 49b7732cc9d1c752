import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Buildx, Files, Offer } from "../../src/build/wire/buildx.fixture.ts";
import { buildxClient } from "../buildx-client.ts";
import { type Finished, findProgram, finish } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";

/** Docker's client up to 20.10 has one of BuildKit's inside; later ones need a plugin. */
const CLIENT = clientWithBuildkit();
const NO_CLIENT =
  CLIENT === undefined ? "there is no docker client of version 20.10, which has one of BuildKit's inside" : false;

function clientWithBuildkit(): string | undefined {
  for (const path of ["/usr/bin/docker", findProgram("docker")]) {
    if (path === undefined) continue;
    try {
      const version = execFileSync(path, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
      if (/ version (?:19\.03|20\.10)\./.test(version)) return path;
    } catch {
      // Not this one.
    }
  }
  return undefined;
}

let engine: TestEngine;
before(async () => {
  engine = await startEngine();
});
after(async () => {
  await engine?.[Symbol.asyncDispose]();
});

function client(offer: Offer): Buildx {
  return buildxClient(engine, offer);
}

/** A folder with a Dockerfile, as a client offers it. */
function offerOf(dockerfile: string, files: Files = {}, offer: Offer = {}): Offer {
  return { ...offer, folders: { dockerfile: { Dockerfile: dockerfile }, context: files } };
}

describe("a client that plays buildx", () => {
  test("builds an image of a folder, which docker runs", async () => {
    const dockerfile = 'FROM busybox\nCOPY a.txt /\nRUN cat a.txt > b.txt\nCMD ["cat", "b.txt"]\n';
    await using buildx = client(offerOf(dockerfile, { "a.txt": "hello\n" }));
    const { response, statuses } = await buildx.build({
      exporters: [
        { type: "moby", attributes: { name: "docker.io/library/bx1:latest", "prefer-image-digest": "true" } },
      ],
      options: { "image-resolve-mode": "local", "attest:provenance": "mode=min,inline-only=true" },
    });
    assert.match(response["containerimage.digest"]!, /^sha256:[0-9a-f]{64}$/);
    assert.equal(response["image.name"], "docker.io/library/bx1:latest");
    const names = new Set(statuses.flatMap(({ vertexes }) => vertexes.map(({ name }) => name)));
    for (const name of [
      "[internal] load build definition from Dockerfile",
      "[internal] load build context",
      "exporting to image",
    ]) {
      assert.ok(names.has(name), `${name} is not among ${[...names].join(", ")}`);
    }
    const run = await engine.gantry("run", "--rm", "bx1");
    assert.equal(run.stdout, "hello\n");
    const history = await buildx.history();
    assert.ok(history.some(({ record }) => record?.ExporterResponse["image.name"] === "docker.io/library/bx1:latest"));
  });

  test("is told the line at which a build failed", async () => {
    await using buildx = client(offerOf("FROM busybox\nRUN exit 3\n"));
    await assert.rejects(
      buildx.build(),
      (error: { message: string; details: { typeUrl: string; value: Buffer }[] }) => {
        assert.equal(error.message, 'process "/bin/sh -c exit 3" did not complete successfully: exit code: 3');
        const source = error.details.find(({ typeUrl }) => typeUrl.endsWith("/errdefs.Source+json"));
        assert.deepEqual(JSON.parse(Buffer.from(source!.value).toString()).ranges[0].start, { line: 2, character: 0 });
        return true;
      },
    );
  });

  test("gives a step its secret and its agent, and takes a folder", async () => {
    const dockerfile = [
      "FROM busybox AS made",
      "RUN --mount=type=secret,id=tok wc -c < /run/secrets/tok > /size",
      "RUN --mount=type=ssh test -S $SSH_AUTH_SOCK",
      "FROM scratch",
      "COPY --from=made /size /",
    ].join("\n");
    const offer = { secrets: { tok: "12345" }, agent: (bytes: Uint8Array) => bytes };
    await using buildx = client(offerOf(dockerfile, {}, offer));
    await buildx.build({ exporters: [{ type: "local", attributes: { dest: "anywhere" } }] });
    assert.deepEqual(Object.fromEntries(buildx.received.get("0")!), { size: "5\n" });
  });

  test("asks what a Dockerfile has", async () => {
    await using buildx = client(offerOf("ARG V=1\nFROM busybox AS one\nFROM one AS two\n"));
    const { answer } = await buildx.build({ options: { requestid: "frontend.targets" } });
    assert.match(Buffer.from(answer["result.txt"]!).toString(), /one[\s\S]*two/);
  });
});

test("a connection that asks for another protocol, or none, is refused", async () => {
  const { json, status } = await engine.request("POST", "/grpc");
  assert.deepEqual([status, json.message], [400, "no upgrade proto in request"]);
});

test("the engine tells clients to build by BuildKit's protocol", async () => {
  const { headers } = await engine.request("GET", "/_ping");
  assert.equal(headers["builder-version"], "2");
});

describe("docker 20.10 with BuildKit", { skip: NO_CLIENT }, () => {
  let folder: string;
  before(() => {
    folder = join(engine.root, "context");
    mkdirSync(join(folder, "sub"), { recursive: true });
    writeFileSync(join(folder, "a.txt"), "hello\n");
    writeFileSync(join(folder, "sub/b"), "b\n");
    writeFileSync(join(folder, "left-out"), "x\n");
    writeFileSync(join(folder, ".dockerignore"), "left-out\n");
    writeFileSync(join(folder, "Dockerfile"), "FROM busybox\nWORKDIR /app\nCOPY . .\nRUN ls -A > list\n");
  });

  function docker(args: readonly string[], input?: Buffer): Promise<Finished> {
    const env = {
      ...process.env,
      DOCKER_HOST: `unix://${engine.socket}`,
      DOCKER_BUILDKIT: "1",
      DOCKER_CONFIG: join(engine.root, "config"),
    };
    return finish(CLIENT!, args, { env, ...(input && { input }) });
  }

  test("builds a folder, and again from the cache", async () => {
    const built = await docker(["build", "--progress=plain", "-t", "bk1", folder]);
    assert.equal(built.code, 0, built.stderr);
    assert.match(built.stderr, /load build context[\s\S]*RUN ls -A > list[\s\S]*naming to docker\.io\/library\/bk1/);
    const list = await engine.gantry("run", "--rm", "bk1", "cat", "list");
    assert.equal(list.stdout, ".dockerignore\nDockerfile\na.txt\nlist\nsub\n");
    const again = await docker(["build", "--progress=plain", "-t", "bk1", folder]);
    assert.match(again.stderr, /RUN ls -A > list\n(?:#\d+ sha256:\w+\n)?#\d+ CACHED/);
    const quiet = await docker(["build", "-q", folder]);
    assert.match(quiet.stdout, /^sha256:[0-9a-f]{64}\n$/);
  });

  test("builds an archive of its standard input", async () => {
    const archive = execFileSync("tar", ["-C", folder, "-c", "."]);
    const built = await docker(["build", "--progress=plain", "-t", "bk2", "-"], archive);
    assert.equal(built.code, 0, built.stderr);
    assert.equal((await engine.gantry("run", "--rm", "bk2", "cat", "a.txt")).stdout, "hello\n");
  });

  test("writes a folder and an archive where it was asked to", async () => {
    const [out, archive] = [join(engine.root, "out"), join(engine.root, "out.tar")];
    writeFileSync(join(folder, "Few"), "FROM scratch\nCOPY a.txt sub /\n");
    const written = await docker(["build", "-f", join(folder, "Few"), "-o", out, folder]);
    assert.equal(written.code, 0, written.stderr);
    assert.deepEqual(readdirSync(out).sort(), ["a.txt", "b"]);
    assert.equal(readFileSync(join(out, "a.txt"), "utf8"), "hello\n");
    const packed = await docker(["build", "-f", join(folder, "Few"), "-o", `type=tar,dest=${archive}`, folder]);
    assert.equal(packed.code, 0, packed.stderr);
    assert.equal(execFileSync("tar", ["-xOf", archive, "a.txt"], { encoding: "utf8" }), "hello\n");
    rmSync(out, { recursive: true });
  });

  test("prints why a step failed", async () => {
    writeFileSync(join(folder, "Bad"), "FROM busybox\nRUN echo oops; exit 3\n");
    const failed = await docker(["build", "--progress=plain", "-f", join(folder, "Bad"), folder]);
    assert.notEqual(failed.code, 0);
    assert.match(failed.stderr, /oops[\s\S]*did not complete successfully: exit code: 3/);
  });
});
