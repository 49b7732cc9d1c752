import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { build, built } from "../builds.ts";
import { finish } from "../command.ts";
import { NO_DOCKERD, TestDockerd } from "../dockerd.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

/** A client that has BuildKit's protocol of its own: Debian's. */
const BUILDKIT_CLIENT = "/usr/bin/docker";

/** All that changes a config or a history, but for what BuildKit writes otherwise by now. */
const DOCKERFILE = `ARG V=latest
ARG EMPTY
FROM busybox:$V AS base
ARG X=\${EMPTY}x
ARG EMPTY=set
ENV A=1 B="two  words" C=three\\ w D='$A' E=\${X:-no}
ENV old style value $A
LABEL a=b "c d"="e \\"f\\"" g='h'
VOLUME /v1 /v2
VOLUME ["/v 3"]
USER 1000:1000
WORKDIR /w/x
WORKDIR ../y
COPY a d /dest/
ADD a /w2/
RUN echo "$A" hi
RUN ["echo", "x y"]
SHELL ["/bin/sh", "-ec"]
RUN true \\
  && true
CMD run me
ENTRYPOINT ["/e", "f g"]
STOPSIGNAL 9
MAINTAINER me <a@b>
ONBUILD COPY a /triggered
FROM base AS child
COPY --from=base /dest/a /
ENTRYPOINT foo
FROM scratch AS empty
COPY a /
CMD []
`;

describe("a Dockerfile", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(async () => {
    await engine[Symbol.asyncDispose]();
  });

  test("makes the config and the history that BuildKit makes", { skip: NO_DOCKERD || noClient() }, async () => {
    await using docker = await TestDockerd.start();
    const archive = join(engine.root, "busybox.tar");
    await engine.ok("save", "-o", archive, "busybox");
    const context = mkdtempSync(join(engine.root, "context-"));
    for (const [name, text] of Object.entries({ Dockerfile: DOCKERFILE, a: "a\n", d: "d\n" })) {
      writeFileSync(join(context, name), text);
    }
    const run = async (socket: string, buildkit: string, ...args: readonly string[]): Promise<string> => {
      const env = { ...process.env, DOCKER_HOST: `unix://${socket}`, DOCKER_BUILDKIT: buildkit };
      const { code, stderr, stdout } = await finish(BUILDKIT_CLIENT, args, { env });
      assert.equal(code, 0, stderr);
      return stdout.trim();
    };
    await run(docker.socket, "0", "load", "-i", archive);
    const made = async (socket: string, buildkit: string, target: string): Promise<unknown> => {
      const args = ["--network", "none", "--label", "l=m", "--target", target, "-t", `d:${target}`];
      await run(socket, buildkit, "build", ...args, context);
      const [image] = JSON.parse(await run(socket, "0", "image", "inspect", `d:${target}`)) as [
        { Config: Record<string, unknown>; Author: string },
      ];
      const history = await run(socket, "0", "history", "--no-trunc", "--format", "{{.CreatedBy}}", `d:${target}`);
      const { Image: _, Hostname: __, ...config } = image.Config;
      return { config, author: image.Author, history: history.split("\n") };
    };
    for (const target of ["base", "child", "empty"]) {
      const wanted = await made(docker.socket, "1", target);
      for (const buildkit of ["0", "1"]) assert.deepEqual(await made(engine.socket, buildkit, target), wanted, target);
    }
  });

  test("is read with heredocs, patterns, triggers and stages of another file", async () => {
    const files = {
      "team/Dockerfile":
        "ARG TAG=latest\nFROM busybox:$TAG AS base\nCOPY team/tool /tool\nONBUILD RUN echo triggered > /trigger\n",
      "team/tool": "tool\n",
    };
    const text = `# syntax=docker/dockerfile:1
INCLUDE context/team/Dockerfile AS team
FROM team-base
ARG FILE=a/b/c.tar.gz
RUN <<EOF
echo "\${FILE##*/} \${FILE%%.*}" > /shell
EOF
RUN <<PROGRAM
#!/bin/sh
echo "$0" > /program
PROGRAM
ENV NAME=\${FILE##*/} DASHED=\${FILE//\\//-}
COPY <<one <<-'two' /made/
$NAME \${DASHED}
one
	$NAME
two
`;
    const said = await built(engine, text, {
      files,
      args: ["-t", "features", "--build-arg", "FILE=a/b/c.tar.gz", "--build-arg", "NOBODYS=1"],
    });
    assert.match(said, /\[Warning\] One or more build-args \[NOBODYS\] were not consumed/);
    const shown = await engine.ok("run", "--rm", "features", "sh", "-c", "cat /tool /trigger /shell /program /made/*");
    assert.equal(shown, "tool\ntriggered\nc.tar.gz a/b/c\n/dev/pipes/PROGRAM\nc.tar.gz a-b-c.tar.gz\n$NAME");
  });

  test("that is wrong is refused with BuildKit's sentence", async () => {
    const table: readonly (readonly [text: string, message: RegExp])[] = [
      ["FROM busybox\nRNU x", /line 2: unknown instruction: RNU \(did you mean RUN\?\)/],
      ["FROM busybox\nCOPY --form=x a b", /line 2: unknown flag: --form \(did you mean from\?\)/],
      ["FROM busybox\nENV A=${B:?is missing}", /Syntax error - can't find = in "missing}"/],
      ["# syntax=some/frontend\nFROM busybox", /unsupported frontend some\/frontend/],
      [
        "FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b\nCOPY --from=a / /",
        /circular dependency detected on stage: a/,
      ],
    ];
    const context = mkdtempSync(join(engine.root, "context-"));
    writeFileSync(join(context, "Dockerfile"), "FROM busybox\nCOPY --form=x a b\n");
    const { code: ended, stderr: shown } = await engine.gantry("build", context);
    assert.notEqual(ended, 0);
    const lines = ["   1 |     FROM busybox", "   2 | >>> COPY --form=x a b", "     |          ^^^^^^", "   3 |     "];
    assert.equal(
      shown.includes(`Dockerfile:2\n${"-".repeat(20)}\n${lines.join("\n")}\n${"-".repeat(20)}\n`),
      true,
      shown,
    );
    for (const [text, message] of table) {
      const { code, stderr } = await build(engine, text);
      assert.notEqual(code, 0, text);
      assert.match(stderr, message);
    }
  });

  test("that fails in a step says what was missing, as BuildKit with its own client", async () => {
    const failed = async (line: string): Promise<string> => {
      const context = mkdtempSync(join(engine.root, "context-"));
      writeFileSync(join(context, "Dockerfile"), `FROM busybox\n${line}\n`);
      const { code, stderr } = await engine.gantry("build", "--progress=plain", context);
      assert.equal(code, 1, stderr);
      return stderr;
    };
    const start = await failed('RUN ["nosuch", "x"]');
    assert.match(
      start,
      / > \[2\/2\] RUN \["nosuch", "x"\]:\n[\d.]+ crun run failed: .*exec: "nosuch": executable file not found/,
    );
    assert.match(start, /process "nosuch x" did not complete successfully: exit code: 1\n$/);
    assert.match(
      await failed("RUN --mount=type=ssh,id=key,required true"),
      /failed to solve: unset ssh forward key key\n$/,
    );
    assert.match(
      await failed("RUN --security=insecure true"),
      / {3}2 \| >>> RUN --security=insecure true\n[\s\S]*security.insecure is not allowed\n$/,
    );
  });

  test("finds named contexts in any case, and is put into an archive whatever annotations come with it", async () => {
    const [context, other] = [mkdtempSync(join(engine.root, "context-")), mkdtempSync(join(engine.root, "other-"))];
    writeFileSync(join(other, "file"), "other\n");
    writeFileSync(join(context, "Dockerfile"), "FROM scratch\nCOPY --from=OTHER file /copied\n");
    const to = join(context, "out.tar");
    const flags = ["--build-context", `other=${other}`, "--annotation", "a=b", "--output", `type=tar,dest=${to}`];
    const { code, stderr } = await engine.gantry("build", ...flags, context);
    assert.equal(code, 0, stderr);
    assert.equal(execFileSync("tar", ["-xOf", to, "copied"], { encoding: "utf8" }), "other\n");
  });
});

function noClient(): string | false {
  return existsSync(BUILDKIT_CLIENT) ? false : `${BUILDKIT_CLIENT} is not installed`;
}
