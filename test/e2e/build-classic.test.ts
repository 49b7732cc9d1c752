import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { GenericContainer } from "testcontainers";
import { readTar } from "../../src/oci/tar/reader.ts";
import { tarOf } from "../archive.ts";
import { build, built, processesWith } from "../builds.ts";
import { finish } from "../command.ts";
import { NO_DOCKERD, TestDockerd } from "../dockerd.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

const Docker = createRequire(import.meta.url)("dockerode");
const PYTHON = "/usr/bin/python3";
const ID = /\b[0-9a-f]{12}\b/g;

/** A tree with what COPY and ADD have rules for. */
const FILES: Readonly<Record<string, string>> = {
  "a.txt": "a\n",
  "b.md": "b\n",
  "dir/f1": "1\n",
  "dir/.hidden": "h\n",
  "dir/sub/f2": "2\n",
  "dir/sub/deep/f3": "3\n",
  "x/y/z": "z\n",
};

const COPIES = `FROM busybox AS base
COPY a.txt /t1
COPY a.txt /t2/
COPY a.txt b.md /t3/
COPY dir /t4
COPY d*r /t5/
COPY *.txt x/*/z /t6/
COPY --chown=nobody:nogroup dir /t7
COPY --chown=1000 a.txt /t8/q/r
COPY --chown=33:44 dir /t8
ADD archive.bin /t9/
COPY filelink folderlink /t10/
COPY folderlink/sub /t11/
WORKDIR /w/o/r/k
COPY . ./ctx
COPY dir/sub /t4
COPY a.txt /bin/../newfile
FROM busybox
RUN mkdir /into && echo old > /into/f1 && ln -s /into /linked && ln -s /nowhere /into/sub2
COPY --from=base /t4 /into/
COPY --from=base /t1 /linked/
COPY --from=base /t7/f1 /etc/passwd /s3/
RUN rm -r /into/deep && chmod 711 /into
`;

function fill(context: string, dockerfile: string): string {
  for (const [path, text] of Object.entries({ ...FILES, Dockerfile: dockerfile })) {
    mkdirSync(dirname(join(context, path)), { recursive: true });
    writeFileSync(join(context, path), text);
  }
  mkdirSync(join(context, "dir/empty"));
  linkSync(join(context, "dir/f1"), join(context, "dir/hard"));
  symlinkSync("f1", join(context, "dir/relative"));
  symlinkSync("/etc/passwd", join(context, "dir/absolute"));
  symlinkSync("a.txt", join(context, "filelink"));
  symlinkSync("dir", join(context, "folderlink"));
  chmodSync(join(context, "dir/f1"), 0o600);
  chmodSync(join(context, "dir/sub/f2"), 0o4755);
  chmodSync(join(context, "dir/empty"), 0o1777);
  chownSync(join(context, "dir/sub/f2"), 12, 13);
  execFileSync("tar", [
    "-C",
    join(context, "dir"),
    "-czf",
    join(context, "archive.bin"),
    "f1",
    "sub",
    "relative",
    "hard",
  ]);
  for (const path of [...Object.keys(FILES), "dir/sub", "dir"])
    utimesSync(join(context, path), 1_600_000_000, 1_600_000_000);
  return context;
}

/** What an image's root filesystem shows, a line a file: all but its folders' times, and what the engine mounts. */
async function treeOf(docker: (...args: readonly string[]) => Promise<string>, image: string): Promise<string[]> {
  const container = await docker("create", image, "true");
  const archive = join(mkdtempSync("/tmp/gantry-tree-"), "tree.tar");
  try {
    await docker("export", "-o", archive, container);
    const lines: string[] = [];
    const { createReadStream } = await import("node:fs");
    for await (const { body, entry } of readTar(createReadStream(archive))) {
      const name = entry.name.replace(/\/$/, "");
      if (/^(dev|proc|sys|\.dockerenv)(\/|$)|^etc\/(hosts|hostname|resolv.conf|mtab)$|^\.?$/.test(name)) continue;
      let text = "";
      if (entry.size < 100) for await (const piece of body) text += piece.toString();
      const { gid, linkName, mode, mtime, size, type, uid } = entry;
      // What commands and folders were made at differs from one engine to the other.
      const time = mtime.seconds === 1_600_000_000 && type === "file" ? "then" : "";
      const permissions = (mode & 0o7777).toString(8);
      lines.push([name, type, permissions, `${uid}:${gid}`, size, linkName, time, text.trim()].join(" "));
    }
    return lines.sort();
  } finally {
    await docker("rm", container);
    execFileSync("rm", ["-rf", dirname(archive)]);
  }
}

describe("the classic build protocol", { skip: NO_DOCKER, timeout: 120_000 }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const post = (query: string, context: Uint8Array, headers: Readonly<Record<string, string>> = {}) =>
    engine.request("POST", `/v1.41/build?${query}`, context, { "Content-Type": "application/x-tar", ...headers });
  const contextOf = (dockerfile: string, name = "Dockerfile") => tarOf([{ name, body: dockerfile }]);
  const linesOf = (text: string) =>
    text
      .trimEnd()
      .split("\r\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const streamOf = (text: string) =>
    linesOf(text)
      .map(({ stream = "" }) => stream)
      .join("")
      .replace(ID, "ID");

  test("a stock client builds, tags, runs what it built, and finds all of it in the cache then", async () => {
    const dockerfile = `FROM busybox AS one
ARG WHAT=none
ENV A=b
RUN echo "hi $WHAT" && \\
    echo oh >&2
COPY f /f
FROM busybox
COPY --from=one /f /g
LABEL a=b
CMD ["cat", "/g"]
`;
    const options = { files: { f: "built\n" }, args: ["-t", "first", "-t", "second:2", "--build-arg", "WHAT=there"] };
    const output = await built(engine, dockerfile, options);
    const id = /Successfully built ([0-9a-f]{12})\n/.exec(output)?.[1] ?? "";
    const text = output.slice(output.indexOf("Step 1")).replace(ID, "ID");
    assert.equal(
      text.replace(/hi there\n|\u001b\[91moh\n\u001b\[0m/g, ""),
      `Step 1/9 : FROM busybox AS one
 ---> ID
Step 2/9 : ARG WHAT=none
 ---> ID
Step 3/9 : ENV A=b
 ---> ID
Step 4/9 : RUN echo "hi $WHAT" &&     echo oh >&2
 ---> Running in ID
Removing intermediate container ID
 ---> ID
Step 5/9 : COPY f /f
 ---> ID
Step 6/9 : FROM busybox
 ---> ID
Step 7/9 : COPY --from=one /f /g
 ---> ID
Step 8/9 : LABEL a=b
 ---> ID
Step 9/9 : CMD ["cat", "/g"]
 ---> ID
Successfully built ID
Successfully tagged first:latest
Successfully tagged second:2
`,
    );
    assert.ok(text.includes("hi there\n") && text.includes("\u001b[91moh\n\u001b[0m"));
    assert.equal(await engine.ok("run", "--rm", "second:2"), "built");
    assert.ok((await engine.ok("inspect", "--format", "{{.Id}}", "first")).includes(id));
    const again = await built(engine, dockerfile, options);
    assert.equal(again.split(" ---> Using cache\n").length - 1, 5);
    assert.ok(again.includes(`Successfully built ${id}\n`));
    const quiet = await built(engine, dockerfile, { ...options, args: [...options.args, "-q"] });
    assert.match(quiet, new RegExp(`^sha256:${id}[0-9a-f]{52}\n$`));
  });

  test("a command that fails is told with its output and its exit code, quietly too", async () => {
    const dockerfile = "FROM busybox\nRUN echo before; exit 3\nRUN echo never\n";
    const message = "The command '/bin/sh -c echo before; exit 3' returned a non-zero code: 3";
    for (const query of ["rm=1", "forcerm=1", "q=1"]) {
      const { status, text } = await post(query, contextOf(dockerfile));
      assert.equal(status, 200);
      assert.deepEqual(linesOf(text).at(-1), { errorDetail: { code: 3, message }, error: message });
      const removed = query === "forcerm=1" ? "Removing intermediate container ID\n" : "";
      assert.ok(streamOf(text).endsWith(` ---> Running in ID\nbefore\n${removed}`), text);
    }
    const { code, stderr } = await build(engine, dockerfile);
    assert.equal(code, 3);
    assert.ok(stderr.includes(message), stderr);
  });

  test("what is wrong with the request or the Dockerfile is the answer's status, in Docker's words", async () => {
    const ok = contextOf("FROM busybox\nCOPY none /\n");
    const refusals: readonly (readonly [string, Uint8Array, RegExp])[] = [
      ["", contextOf("FROM busybox\n\nFOO x\n"), /^dockerfile parse error line 3: unknown instruction: FOO/],
      ["", contextOf(""), /^the Dockerfile \(Dockerfile\) cannot be empty$/],
      ["dockerfile=none", ok, /^Cannot locate specified Dockerfile: none$/],
      ["dockerfile=../../etc/passwd", ok, /^Forbidden path outside the build context: \.\.\/\.\.\/etc\/passwd/],
      ["target=zz", ok, /^failed to reach build target zz in Dockerfile$/],
      ["t=BAD", ok, /^invalid reference format: repository name .*must be lowercase$/],
      [`t=a@sha256:${"0".repeat(64)}`, ok, /^build tag cannot contain a digest$/],
      ["buildargs=%7B", ok, /^error reading build args: /],
      ["buildargs=[]", ok, /^error reading build args: json: cannot unmarshal array/],
      ["labels=x", ok, /^error reading labels: invalid character 'x' looking for beginning of value$/],
      ["ulimits=x", ok, /^error reading ulimit settings: invalid character 'x'/],
      ["cachefrom=7", ok, /^error reading cache-from: /],
      ["version=7", ok, /^invalid version "7"$/],
      ["isolation=hyperv", ok, /^Unsupported isolation: "hyperv"$/],
      ["securityopt=x", ok, /^The daemon on this platform does not support setting security options on build$/],
      ["remote=foo", ok, /^remoteURL \(foo\) could not be recognized as URL$/],
      ["platform=a/b/c/d", ok, /"a\/b\/c\/d"/],
      ["extrahosts=x", ok, /^bad format for add-host: "x"$/],
      ["extrahosts=x:y", ok, /^invalid IP address in add-host: "y"$/],
      ["memory=much", ok, /^strconv\.Atoi: parsing "much": invalid syntax$/],
      ["outputs=%5B%7B%22Type%22%3A%22tar%22%7D%5D", ok, /version=2/],
    ];
    for (const [query, context, message] of refusals) {
      const { json, status, text } = await post(query, context);
      assert.equal(status, 400, `${query}: ${text}`);
      assert.match(json.message, message);
    }
    const { status, text } = await post("", ok);
    assert.equal(status, 200);
    const why =
      "COPY failed: file not found in build context or excluded by .dockerignore: stat none: file does not exist";
    assert.equal(linesOf(text).at(-1)?.error, why);
    for (const header of ["%", Buffer.from('{"a":7}').toString("base64")]) {
      assert.equal((await post("", ok, { "X-Registry-Config": header })).status, 400);
    }
  });

  test("every parameter arrives where it counts", async () => {
    const dockerfile = `FROM busybox AS wanted
ARG GIVEN
RUN echo "$GIVEN $(ulimit -n) $(df -k /dev/shm | awk 'END { print $2 }') $(cat /etc/hosts | grep -c 192.0.2.9)"; cat /sys/fs/cgroup/memory.max 2>/dev/null || true
FROM busybox
RUN exit 1
`;
    const query = new URLSearchParams({
      dockerfile: "sub/Other",
      t: "params",
      target: "wanted",
      buildargs: JSON.stringify({ GIVEN: "value", NOTHING: null }),
      labels: JSON.stringify({ "a.b": "c d" }),
      ulimits: JSON.stringify([{ Name: "nofile", Soft: 55, Hard: 66 }]),
      extrahosts: "far:192.0.2.9",
      shmsize: String(4 << 20),
      memory: String(64 << 20),
      memswap: String(64 << 20),
      networkmode: "none",
      nocache: "1",
      pull: "0",
      platform: process.arch === "arm64" ? "linux/arm64" : "linux/amd64",
    });
    const { text } = await post(query.toString(), contextOf(dockerfile, "sub/Other"));
    const output = streamOf(text);
    assert.match(output, /value 55 4096 1\n/, text);
    assert.match(output, /67108864\n|Removing/);
    const [image] = JSON.parse(await engine.ok("inspect", "params"));
    assert.equal(image.Config.Labels["a.b"], "c d");
  });

  test("what comes of a context is root's, whoever has it in the archive", async () => {
    const dockerfile = "FROM busybox\nCOPY . /c\nCOPY --link f /d/\nRUN stat -c '%u:%g %a' /c/f /d/f\n";
    const owner = { uid: 1000, gid: 100, mode: 0o640 };
    const context = tarOf([
      { name: "Dockerfile", body: dockerfile },
      { name: "f", body: "x", ...owner },
    ]);
    assert.ok(streamOf((await post("", context)).text).includes("\n0:0 640\n0:0 640\n"));
  });

  test("stages side by side are told one after the other", async () => {
    const dockerfile = `FROM busybox AS slow
RUN sleep 1; echo slow > /s; echo from slow
FROM busybox AS quick
RUN echo quick > /q; echo from quick
FROM busybox
COPY --from=slow /s /
COPY --from=quick /q /
`;
    const output = streamOf((await post("nocache=1", contextOf(dockerfile))).text);
    const order = ["Step 2/7", "from slow\n", "Step 4/7", "from quick\n", "Step 6/7"].map((word) =>
      output.lastIndexOf(word),
    );
    assert.deepEqual(
      order,
      order.toSorted((one, other) => one - other),
      output,
    );
    assert.ok(order.every((at) => at >= 0));
  });

  test("a client that leaves ends the build and what runs for it", async () => {
    const dockerfile = 'FROM busybox\nRUN ["sleep", "98765"]\n';
    const call = request({ socketPath: engine.socket, method: "POST", path: "/build", agent: false });
    call.setHeader("Content-Type", "application/x-tar");
    call.on("error", () => {});
    call.end(contextOf(dockerfile));
    const [response] = (await once(call, "response")) as [Readable];
    response.on("error", () => {});
    response.resume();
    while (processesWith("sleep", "98765").length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    call.destroy();
    while (processesWith("sleep", "98765").length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  });

  test("much output reaches a slow client whole", async () => {
    const dockerfile = "FROM busybox\nRUN yes 0123456789012345678901234567890123456789 | head -n 400000\n";
    const call = request({ socketPath: engine.socket, method: "POST", path: "/build?nocache=1", agent: false });
    call.setHeader("Content-Type", "application/x-tar");
    call.end(contextOf(dockerfile));
    const [response] = (await once(call, "response")) as [Readable];
    let text = "";
    let pauses = 0;
    for await (const piece of response) {
      text += piece;
      if (pauses++ < 20) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(streamOf(text).split("\n0123456789012345678901234567890123456789").length - 1, 399_999 + 1);
  });

  test("dockerode, docker-py and testcontainers build as they do with Docker", async (t) => {
    const docker = new Docker({ socketPath: engine.socket });
    const stream = await docker.buildImage(Buffer.from(contextOf("FROM busybox\nRUN echo from dockerode\n")) as never, {
      t: "by-dockerode",
    });
    const rows = await new Promise<Record<string, string>[]>((resolve, reject) => {
      docker.modem.followProgress(stream, (error: Error | null, all: Record<string, string>[]) =>
        error === null ? resolve(all) : reject(error),
      );
    });
    assert.ok(rows.some((row) => row.stream === "from dockerode\n"));
    assert.ok(rows.some((row) => row.aux !== undefined));
    const script = `import docker, io, sys
client = docker.DockerClient(base_url=sys.argv[1])
image, logs = client.images.build(fileobj=io.BytesIO(b"FROM busybox\\nRUN echo from python\\n"), tag="by-python", rm=True)
assert image.tags == ["by-python:latest"], image.tags
assert any(row.get("stream") == "from python\\n" for row in logs)
try:
    client.images.build(fileobj=io.BytesIO(b"FROM busybox\\nRUN exit 7\\n"))
except docker.errors.BuildError as error:
    assert error.msg == "The command '/bin/sh -c exit 7' returned a non-zero code: 7", error.msg
else:
    raise AssertionError("it was built")
`;
    const python = await finish(PYTHON, ["-c", script, `unix://${engine.socket}`]);
    if (/No module named|ENOENT/.test(python.stderr)) t.diagnostic("docker-py is not installed");
    else assert.equal(python.code, 0, python.stderr);
    const own = process.env;
    process.env = {
      ...own,
      DOCKER_HOST: `unix://${engine.socket}`,
      DOCKER_CONFIG: join(engine.root, "config"),
      HOME: engine.root,
      TESTCONTAINERS_HOST_OVERRIDE: "127.0.0.1",
      TESTCONTAINERS_RYUK_DISABLED: "true",
    };
    try {
      const context = mkdtempSync(join(engine.root, "context-"));
      writeFileSync(join(context, "Dockerfile"), "FROM busybox\nARG A\nRUN echo $A > /a\nCMD sleep 100\n");
      const made = await GenericContainer.fromDockerfile(context)
        .withBuildArgs({ A: "given" })
        .build("by-testcontainers");
      await using container = await made.withStartupTimeout(30_000).start();
      assert.equal((await container.exec(["cat", "/a"])).output, "given\n");
    } finally {
      process.env = own;
    }
  });

  test("COPY, ADD and WORKDIR make the trees that Docker's builder makes", { skip: NO_DOCKERD }, async () => {
    await using docker = await TestDockerd.start();
    const archive = join(engine.root, "busybox.tar");
    await engine.ok("save", "-o", archive, "busybox");
    const theirs = async (...args: readonly string[]) => {
      const env = { ...process.env, DOCKER_HOST: `unix://${docker.socket}`, DOCKER_BUILDKIT: "0" };
      const { code, stderr, stdout } = await finish("docker", args, { env });
      assert.equal(code, 0, stderr);
      return stdout.trim();
    };
    const ours = async (...args: readonly string[]) => {
      const { code, stderr, stdout } = await engine.run("docker", args, { env: { DOCKER_BUILDKIT: "0" } });
      assert.equal(code, 0, stderr);
      return stdout.trim();
    };
    await theirs("load", "-i", archive);
    const context = fill(mkdtempSync(join(engine.root, "context-")), COPIES);
    for (const target of ["base", ""]) {
      const name = `trees:${target === "" ? "last" : target}`;
      for (const docker of [ours, theirs])
        await docker("build", "--network", "none", "--target", target, "-t", name, context);
      const [own, wanted] = [await treeOf(ours, name), await treeOf(theirs, name)];
      assert.ok(wanted.length > 30);
      assert.deepEqual(own, wanted);
    }
  });
});
