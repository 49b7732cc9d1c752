import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { tarOf } from "../archive.ts";
import { build, built } from "../builds.ts";
import { GANTRY, startEngine, type TestEngine } from "../engine.ts";

const options = { timeout: 60_000 };
const LONG = "n".repeat(256);
const DEEP = Array.from({ length: 25 }, () => "d".repeat(200)).join("/");

let engine: TestEngine;
before(async () => {
  engine = await startEngine();
});
after(() => engine?.[Symbol.asyncDispose]());

describe("what can't be built is refused in a sentence, without the kernel's or the engine's own names", () => {
  const loop = "FROM busybox\nRUN ln -s loop /loop\n";
  const file = "FROM busybox\nRUN echo x > /f\n";
  const rows: readonly (readonly [title: string, dockerfile: string, says: RegExp])[] = [
    ["a link to itself is copied", "FROM busybox\nCOPY loop /x\n", /lstat \/loop: too many links$/m],
    ["something behind a link to itself", "FROM busybox\nCOPY loop/x /x\n", /lstat \/loop\/x: too many links$/m],
    ["a pattern behind one", "FROM busybox\nCOPY loop/* /x\n", /too many links$/m],
    ["a link to itself of a stage", `${loop}FROM busybox\nCOPY --from=0 /loop /x\n`, /lstat \/loop: too many links$/m],
    ["a target that leads to itself", `${loop}COPY file /loop\n`, /lstat \/loop: too many links$/m],
    ["a heredoc's", `${loop}COPY <<EOF /loop\nx\nEOF\n`, /lstat \/loop: too many links$/m],
    ["a working folder that leads to itself", `${loop}WORKDIR /loop/x\n`, /\/loop\S*: too many links$/m],
    ["a mount that leads to itself", `${loop}RUN --mount=type=tmpfs,target=/loop true\n`, /too many links$/m],
    ["a mount's source that does", "FROM busybox\nRUN --mount=source=loop,target=/m true\n", /too many links$/m],
    ["an archive in a folder that does", `${loop}ADD file /loop/\n`, /too many links$/m],
    ["a target below a file", `${file}COPY file /f/x\n`, /mkdir \/f: not a directory$/m],
    [
      "a mount below a file",
      `${file}RUN --mount=type=tmpfs,target=/f/x true\n`,
      /cannot mount \/f\/x: not a directory/,
    ],
    [
      "a file mounted on a folder",
      "FROM busybox\nRUN --mount=source=file,target=/etc true\n",
      /\/etc: it is a directory/,
    ],
    [
      "a folder mounted on a file",
      `${file}RUN --mount=source=sub,target=/f true\n`,
      /cannot mount \/f: it is no directory/,
    ],
    ["a source with too long a name", `FROM busybox\nCOPY ${LONG} /x\n`, /n: file name too long$/m],
    ["a target with one", `FROM busybox\nCOPY file /${LONG}/x\n`, /n: file name too long$/m],
    ["a working folder with one", `FROM busybox\nWORKDIR /${LONG}\n`, /n: file name too long$/m],
    ["a mount with one", `FROM busybox\nRUN --mount=type=tmpfs,target=/${LONG} true\n`, /file name too long$/m],
    ["a target that is too deep", `FROM busybox\nCOPY file /${DEEP}/x\n`, /d: file name too long$/m],
    ["a name with NUL", 'FROM busybox\nCOPY ["fi\\u0000le", "/x"]\n', /a name contains NUL$/m],
    [
      "a server that nobody serves",
      "FROM scratch\nADD http://127.0.0.1:1/x /x\n",
      /127.0.0.1:1\/x: connection refused$/m,
    ],
  ];
  for (const [title, dockerfile, says] of rows) {
    test(title, options, async () => {
      const { code, stderr } = await build(engine, dockerfile, {
        program: GANTRY,
        files: { file: "x", "sub/one": "1" },
        links: { loop: "loop" },
        args: ["--progress=plain"],
      });
      assert.equal(code, 1);
      const told = stderr.slice(stderr.lastIndexOf("\nERROR: "));
      assert.match(told, says);
      assert.doesNotMatch(told.replace(/^\nERROR:/, ""), /\bE[A-Z]{3,}\b|openat|statx/);
      assert.ok(!told.includes(engine.root), told);
    });
  }
});

test(
  "a step can't change its hosts and servers of names, and its host's name is the image's own",
  options,
  async () => {
    const written = await build(engine, "FROM busybox\nRUN echo x >> /etc/hosts || echo y >> /etc/resolv.conf\n", {
      program: GANTRY,
      args: ["--progress=plain"],
    });
    assert.equal(written.code, 1);
    assert.match(written.stderr, /can't create \/etc\/hosts: Read-only file system/);
    assert.match(written.stderr, /can't create \/etc\/resolv\.conf: Read-only file system/);
    const text = `FROM busybox
RUN hostname; ls /etc; echo mine > /etc/hostname
RUN grep mine /etc/hostname && grep buildkitsandbox /etc/hosts
`;
    await built(engine, text, { program: GANTRY, args: ["-t", "named"] });
    const { stdout } = await engine.gantry("run", "--rm", "--hostname=", "named", "sh", "-c", "ls /etc");
    assert.match(stdout, /hostname/);
  },
);

test("an image that is removed under a build leaves nothing when the build has ended", options, async () => {
  await using own = await startEngine();
  const body = tarOf([{ name: "Dockerfile", body: "FROM busybox\nRUN echo be\\gun; sleep 100\n" }]);
  const headers = { "Content-Type": "application/x-tar" };
  const call = request({ socketPath: own.socket, method: "POST", path: "/build", headers, agent: false });
  call.on("error", () => {});
  call.end(body);
  const [answer] = (await once(call, "response")) as [IncomingMessage];
  answer.on("error", () => {});
  let told = "";
  answer.on("data", (piece: Buffer) => {
    told += piece.toString();
  });
  await until(() => told.includes("begun"));
  assert.equal((await own.request("DELETE", "/images/busybox?force=1")).status, 200);
  call.destroy();
  const snapshots = join(own.dataRoot, "snapshots/overlay2/l");
  assert.notDeepEqual(readdirSync(snapshots), []);
  await until(async () => {
    await own.request("POST", "/build/prune?all=1");
    return readdirSync(snapshots).length === 0;
  });
});

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 8000; !(await holds()); await pause(20))
    assert.ok(Date.now() < deadline, "in time");
}
