import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { GitRepository, GitServer, gitPrograms } from "../../src/build/sources/git-server.fixture.ts";
import { sha256Of } from "../../src/oci/digest.ts";
import { tarOf } from "../archive.ts";
import type { Finished } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { registryMissing, startRegistry } from "../registry.ts";

const options = { skip: NO_DOCKER, timeout: 60_000 };
const gitOptions = { ...options, skip: gitPrograms() === undefined ? "no git that serves repositories" : NO_DOCKER };
let engine: TestEngine;
let files: Server;
let base = "";
const served = new Map<string, string | Uint8Array>();

before(async () => {
  if (NO_DOCKER !== false) return;
  engine = await startEngine();
  files = createServer((request, response) => {
    const body = served.get(request.url ?? "");
    if (body === undefined) response.writeHead(404).end();
    else response.end(body);
  });
  await new Promise<void>((resolve) => files.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(files.address() as AddressInfo).port}`;
});
after(async () => {
  files?.closeAllConnections();
  files?.close();
  await engine?.[Symbol.asyncDispose]();
});

type Files = Readonly<Record<string, string | { readonly link: string }>>;

function folderOf(content: Files): string {
  const folder = mkdtempSync(join(engine.root, "context-"));
  for (const [path, body] of Object.entries(content)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    if (typeof body === "string") writeFileSync(join(folder, path), body);
    else symlinkSync(body.link, join(folder, path));
  }
  return folder;
}

/** By Docker's first protocol, and by BuildKit's. */
const CLIENTS = {
  docker: (args: readonly string[], input?: string | Uint8Array) =>
    engine.tool("docker", ["build", ...args], { env: { DOCKER_BUILDKIT: "0" }, ...(input !== undefined && { input }) }),
  gantry: (args: readonly string[], input?: string | Uint8Array) =>
    engine.tool("gantry", ["build", "--progress=plain", ...args], input === undefined ? {} : { input }),
} as const;

async function built(how: Promise<Finished>): Promise<string> {
  const { code, stdout, stderr } = await how;
  assert.equal(code, 0, `${stdout}${stderr}${engine.log.slice(-2000)}`);
  return stdout + stderr;
}

async function refused(how: Promise<Finished>, why: RegExp): Promise<void> {
  const { code, stdout, stderr } = await how;
  assert.notEqual(code, 0, stdout);
  assert.match(stdout + stderr, why);
}

function shown(image: string, ...command: readonly string[]): Promise<string> {
  return engine.ok("run", "--rm", image, ...command);
}

for (const [client, build] of Object.entries(CLIENTS)) {
  test(`${client}: a folder is built from, without what its ignore file names`, options, async () => {
    const folder = folderOf({
      "docker/Dockerfile": "FROM busybox\nCOPY . /c\n",
      ".dockerignore": "**/*.log\n!keep.log\n",
      "a.log": "a",
      "keep.log": "k",
      "deep/b.log": "b",
      "deep/c": "c",
    });
    await built(build(["-t", `ignored-${client}`, "-f", join(folder, "docker/Dockerfile"), folder]));
    const listed = await shown(`ignored-${client}`, "sh", "-c", "cd /c && find . -type f | sort");
    assert.deepEqual(listed.split("\n"), ["./.dockerignore", "./deep/c", "./docker/Dockerfile", "./keep.log"]);
  });

  test(`${client}: an archive or a Dockerfile on standard input is a context`, options, async () => {
    const dockerfile = "FROM busybox\nCOPY a /a\n";
    const tar = tarOf([
      { name: "Dockerfile", body: dockerfile },
      { name: "a", body: `from ${client}\n` },
    ]);
    for (const [form, bytes] of [["plain", tar] as const, ["gzip", gzipSync(tar)] as const]) {
      await built(build(["-t", `stdin-${client}`, "-"], bytes));
      assert.equal(await shown(`stdin-${client}`, "cat", "/a"), `from ${client}`, form);
    }
    await built(build(["-t", `alone-${client}`, "-"], "FROM busybox\nRUN echo alone > /x\n"));
    assert.equal(await shown(`alone-${client}`, "cat", "/x"), "alone");
    const folder = folderOf({ a: "of the folder\n" });
    await built(build(["-t", `mixed-${client}`, "-f", "-", folder], dockerfile));
    assert.equal(await shown(`mixed-${client}`, "cat", "/a"), "of the folder");
  });

  test(`${client}: a Dockerfile that is a link stays in its context`, options, async () => {
    writeFileSync(join(engine.root, "outside.Dockerfile"), "FROM busybox\nRUN echo escaped\n");
    for (const link of ["../outside.Dockerfile", join(engine.root, "outside.Dockerfile")]) {
      // A client would read its own files before the engine sees them: the archive is what an engine is sent.
      const tar = tarOf([{ name: "Dockerfile", type: "symlink", link }]);
      await refused(build(["-"], tar), /Dockerfile/);
    }
    const inside = tarOf([
      { name: "Dockerfile", type: "symlink", link: "real/it" },
      { name: "real/it", body: "FROM busybox\nRUN echo inside\n" },
    ]);
    await built(build(["-"], inside));
  });

  test(`${client}: an archive with names that lead out is refused`, options, async () => {
    const kept = () => readdirSync(join(engine.dataRoot, "build/sources/temporary")).sort();
    const before = kept();
    for (const entry of [
      { name: "../escaped", body: "x" },
      { name: "x", type: "hardlink", link: "../../../../../../etc/hostname" } as const,
    ]) {
      const tar = tarOf([{ name: "Dockerfile", body: "FROM busybox\n" }, entry]);
      await refused(build(["-"], tar), /escaped|hostname|outside/);
    }
    assert.deepEqual(kept(), before);
  });

  test(`${client}: a URL is a context, of an archive or of a Dockerfile`, options, async () => {
    served.set(
      "/context.tar.gz",
      gzipSync(
        tarOf([
          { name: "Dockerfile", body: "FROM busybox\nCOPY a /a\n" },
          { name: "a", body: "fetched\n" },
        ]),
      ),
    );
    served.set("/Dockerfile", "FROM busybox\nRUN echo text > /a\n");
    // Docker's own client would fetch it by itself: the engine is asked as others ask it.
    const fromUrl = async (url: string): Promise<Finished> => {
      if (client !== "docker") return build(["-t", `url-${client}`, url]);
      const { text } = await engine.request("POST", `/build?t=url-docker&remote=${encodeURIComponent(url)}`);
      return { code: text.includes("Successfully built") ? 0 : 1, stdout: text, stderr: "", bytes: Buffer.from(text) };
    };
    await built(fromUrl(`${base}/context.tar.gz`));
    assert.equal(await shown(`url-${client}`, "cat", "/a"), "fetched");
    await built(fromUrl(`${base}/Dockerfile`));
    assert.equal(await shown(`url-${client}`, "cat", "/a"), "text");
    await refused(fromUrl(`${base}/none`), /invalid response status 404/);
  });

  test(`${client}: a repository is a context, with branch and folder`, gitOptions, async () => {
    const folder = mkdtempSync(join(engine.root, "repositories-"));
    const repository = new GitRepository(join(folder, "app.git"));
    mkdirSync(join(repository.folder, "sub"));
    writeFileSync(join(repository.folder, "sub/Dockerfile"), "FROM busybox\nCOPY a /a\n");
    writeFileSync(join(repository.folder, "sub/a"), "committed\n");
    repository.commit("first");
    repository.run("branch", "side");
    writeFileSync(join(repository.folder, "sub/a"), "later\n");
    repository.commit("second");
    await using server = await GitServer.start(folder);
    const remote = `${server.url}/app.git#side:sub`;
    if (client === "docker") {
      const answer = await engine.request("POST", `/build?t=git-docker&remote=${encodeURIComponent(remote)}`);
      assert.match(answer.text, /Successfully built/, answer.text);
    } else await built(build(["-t", "git-gantry", remote]));
    assert.equal(await shown(`git-${client}`, "cat", "/a"), "committed");
  });

  test(`${client}: ADD takes files of URLs, held against their checksums`, options, async () => {
    served.set("/added", "added\n");
    const add = (flags: string) => `FROM busybox\nADD ${flags} ${base}/added /x/\n`;
    await built(build(["-t", `add-${client}`, "-"], add(`--checksum=${sha256Of("added\n")}`)));
    assert.equal(await shown(`add-${client}`, "stat", "-c", "%a %Y", "/x/added"), "600 0");
    await refused(build(["-"], add(`--checksum=${sha256Of("other")}`)), /digest mismatch/);
    served.set("/added", "changed\n");
    await built(build(["-t", `add-${client}`, "-"], add("--chmod=640")));
    assert.equal(await shown(`add-${client}`, "sh", "-c", "cat /x/added; stat -c %a /x/added"), "changed\n640");
  });
}

test(
  "only what changed is sent again, and steps whose files did not change are taken from the cache",
  options,
  async () => {
    const folder = folderOf({ Dockerfile: "FROM busybox\nCOPY one /\nCOPY two /\n", one: "1", two: "2", unused: "3" });
    await built(CLIENTS.gantry(["-t", "sent", folder]));
    writeFileSync(join(folder, "two"), "two changed");
    writeFileSync(join(folder, "unused"), "changed as well");
    const output = await built(CLIENTS.gantry(["-t", "sent", folder]));
    assert.match(output, /transferring context: 11B/);
    assert.match(output, /COPY one \/\n(?:.*\n)*?#\d+ CACHED/);
    assert.equal(await shown("sent", "cat", "/two"), "two changed");
  },
);

test("named contexts are folders, images, URLs and repositories", gitOptions, async () => {
  const other = folderOf({ file: "of a folder\n", ".dockerignore": "left\n", left: "x" });
  const repositories = mkdtempSync(join(engine.root, "repositories-"));
  const repository = new GitRepository(join(repositories, "lib.git"));
  writeFileSync(join(repository.folder, "lib"), "of a repository\n");
  repository.commit("first");
  served.set("/named.tar", tarOf([{ name: "t", body: "of a URL\n" }]));
  await using server = await GitServer.start(repositories);
  const dockerfile = [
    "FROM base",
    "COPY --from=folder . /folder",
    "COPY --from=git lib /lib",
    "COPY --from=url t /t",
    "",
  ].join("\n");
  const contexts = {
    base: "docker-image://busybox",
    folder: other,
    git: `${server.url}/lib.git`,
    url: `${base}/named.tar`,
  };
  const named = Object.entries(contexts).flatMap(([name, value]) => ["--build-context", `${name}=${value}`]);
  await built(CLIENTS.gantry(["-t", "named", ...named, "-f", "-", folderOf({ x: "" })], dockerfile));
  const output = await shown("named", "sh", "-c", "cat /folder/file /lib /t; ls /folder");
  assert.deepEqual(output.split("\n"), ["of a folder", "of a repository", "of a URL", "file"]);
});

test("an OCI layout of the client's is a base image, which gets no name", options, async () => {
  await built(CLIENTS.docker(["-t", "lent", "-"], "FROM busybox\nRUN echo lent > /lent\n"));
  const folder = mkdtempSync(join(engine.root, "layout-"));
  await engine.ok("save", "-o", `${folder}.tar`, "lent");
  assert.equal((await engine.run("tar", ["-xf", `${folder}.tar`, "-C", folder])).code, 0);
  await engine.ok("rmi", "-f", "lent");
  await engine.ok("builder", "prune", "-af");
  const context = folderOf({ Dockerfile: "FROM base\nRUN cat /lent\n" });
  const args = ["-t", "of-layout", "--build-context", `base=oci-layout://${folder}`, context];
  assert.match(await built(CLIENTS.gantry(args)), /^#\d+ [\d.]+ lent$/m);
  assert.equal(await shown("of-layout", "cat", "/lent"), "lent");
  assert.equal((await engine.docker("image", "inspect", "lent")).code, 1);
  await engine.ok("rmi", "-f", "of-layout");
  await engine.ok("builder", "prune", "-af");
});

test("a base image comes from its registry; the first protocol names it, BuildKit's doesn't", {
  ...options,
  skip: registryMissing() || NO_DOCKER,
}, async () => {
  await using registry = await startRegistry();
  const name = `${registry.host}/team/base:1`;
  await built(CLIENTS.docker(["-t", name, "-"], "FROM busybox\nRUN echo base > /base\n"));
  await engine.ok("push", name);
  const forget = async () => {
    await engine.ok("rmi", "-f", name, `child-docker`, `child-gantry`).catch(() => {});
    await engine.ok("builder", "prune", "-af");
  };
  const dockerfile = `FROM ${name}\nRUN cat /base\n`;
  await forget();
  await built(CLIENTS.gantry(["-t", "child-gantry", "-"], dockerfile));
  assert.equal((await engine.docker("image", "inspect", name)).code, 1, "BuildKit gives what it pulls no name");
  assert.equal(await shown("child-gantry", "cat", "/base"), "base");
  // What was fetched is kept: layers are not asked for again.
  const blobs = () =>
    registry.requests.filter(({ method, path }) => method === "GET" && path.includes("/blobs/")).length;
  const before = blobs();
  await built(CLIENTS.gantry(["-t", "child-gantry", "-"], `${dockerfile}RUN true\n`));
  assert.ok(blobs() - before <= 1, "no more than the config is asked for again");
  await forget();
  await built(CLIENTS.docker(["-t", "child-docker", "-"], dockerfile));
  assert.equal((await engine.docker("image", "inspect", name)).code, 0);
  const later = registry.requests.length;
  await built(CLIENTS.docker(["-t", "child-docker", "-"], `${dockerfile}RUN echo again\n`));
  assert.equal(registry.requests.length, later, "what is here is not asked for without --pull");
  await built(CLIENTS.docker(["--pull", "-t", "child-docker", "-"], dockerfile));
  assert.ok(registry.requests.length > later);
  await refused(
    CLIENTS.docker(["-"], `FROM ${registry.host}/team/none:1\n`),
    /not found|manifest unknown|does not exist/,
  );
  await refused(
    CLIENTS.gantry(["-"], `FROM ${registry.host}/team/none:1\n`),
    /not found|manifest unknown|does not exist/,
  );
});

test("builds may be kept from private addresses", gitOptions, async () => {
  served.set("/inner", "secret of the inner network");
  const why = /builds may not reach its address/;
  await refused(CLIENTS.gantry(["--deny", "private", "-"], `FROM busybox\nADD ${base}/inner /\n`), why);
  await refused(CLIENTS.gantry(["--deny", "private", `${base}/context.tar.gz`]), why);
  await refused(CLIENTS.gantry(["--deny", "private", `${base}/x.git`]), why);
  await using strict = await startEngine({ args: ["--builder-deny-range", "127.0.0.0/8"] });
  const answer = await strict.request(
    "POST",
    "/build",
    tarOf([{ name: "Dockerfile", body: `FROM busybox\nADD ${base}/inner /\n` }]),
    { "Content-Type": "application/x-tar" },
  );
  assert.match(answer.text, why);
});

test("folders of clients are entries of the cache, and go with it", options, async () => {
  const folder = folderOf({ Dockerfile: "FROM scratch\nCOPY a /\n", a: "x".repeat(1000) });
  await built(CLIENTS.gantry([folder]));
  const rows = (await engine.request("GET", "/system/df?verbose=1&type=build-cache")).json.BuildCache as {
    readonly Type: string;
    readonly Size: number;
  }[];
  assert.ok(
    rows.some(({ Type, Size }) => Type === "source.local" && Size === 1000),
    JSON.stringify(rows),
  );
  await engine.ok("builder", "prune", "-af");
  assert.deepEqual(readdirSync(join(engine.dataRoot, "build/sources/contexts")), []);
  rmSync(folder, { recursive: true });
});
