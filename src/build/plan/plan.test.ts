import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { excerptOf } from "../../dockerfile/excerpt.ts";
import { DockerfileError } from "../../dockerfile/source.ts";
import type { ExecOperation, FilesOperation, Operation } from "../graph.ts";
import { plan } from "./plan.ts";
import { planInput, printed, type World } from "./plan-input.fixture.ts";

const lines = async (text: string, world: World = {}): Promise<string[]> => printed(await plan(planInput(text, world)));
const operations = async <K extends Operation["kind"]>(kind: K, text: string, world: World = {}) => {
  const { graph } = await plan(planInput(text, world));
  return graph.vertices.map(({ operation }) => operation).filter((row) => row.kind === kind) as Extract<
    Operation,
    { kind: K }
  >[];
};
const runs = (text: string, world: World = {}): Promise<ExecOperation[]> => operations("exec", text, world);
const files = (text: string, world: World = {}): Promise<FilesOperation[]> => operations("files", text, world);
const target = async (text: string, world: World = {}) => (await plan(planInput(text, world))).targets[0]!;
const history = async (text: string, world: World = {}): Promise<string[]> =>
  (await target(text, world)).history.map(({ createdBy }) => createdBy);
const warnings = async (text: string, world: World = {}): Promise<string[]> =>
  (await plan(planInput(text, world))).warnings.map(({ short }) => short);

async function failure(text: string, world: World = {}): Promise<{ message: string; line: number; file: string }> {
  try {
    await plan(planInput(text, world));
  } catch (error) {
    assert.ok(error instanceof DockerfileError, String(error));
    const { place, message } = error;
    assert.notEqual(excerptOf(place), "", "an error without its lines");
    return { message, line: place.range.start, file: place.source?.name ?? "" };
  }
  return assert.fail("it was planned");
}

describe("the graph", () => {
  test("holds what the target needs, in order and by BuildKit's names", async () => {
    const text = `
FROM alpine:3 AS base
RUN a
FROM base AS unused
RUN never
FROM base AS build
WORKDIR /src
COPY . .
RUN make
FROM scratch
COPY --from=build /out /
`;
    assert.deepEqual(await lines(text), [
      "0 image [base 1/2] FROM docker.io/library/alpine:3@…",
      "1 exec [base 2/2] RUN a < 0",
      "2 files [build 1/3] WORKDIR /src < 1",
      "3 local [internal] load build context",
      "4 files [build 2/3] COPY . . < 2 3",
      "5 exec [build 3/3] RUN make < 4",
      "6 files [stage-3 1/1] COPY --from=build /out / < 5",
    ]);
    assert.deepEqual(await lines("FROM alpine:3\nRUN a"), [
      "0 image [1/2] FROM docker.io/library/alpine:3@…",
      "1 exec [2/2] RUN a < 0",
    ]);
  });

  test("asks for each image once, and never for one that no stage needs", async () => {
    const input = planInput(
      "FROM nowhere AS a\nFROM alpine:3 AS b\nFROM alpine:3\nCOPY --from=b / /\nCOPY --from=alpine:3 / /",
    );
    await plan(input);
    assert.deepEqual(input.asked, ["docker.io/library/alpine:3 linux/amd64"]);
  });

  test("gives equal steps of two builds equal ids, and those of another context's patterns others", async () => {
    const ids = async (text: string, world: World = {}): Promise<string[]> =>
      (await plan(planInput(text, world))).graph.vertices.map(({ id }) => id);
    const one = await ids("FROM alpine:3\nRUN a\nRUN b");
    const other = await ids("# said differently\nFROM alpine:3 AS x\nRUN a\nRUN c");
    assert.deepEqual(one.slice(0, 2), other.slice(0, 2));
    assert.notEqual(one[2], other[2]);
    const plain = await ids("FROM alpine:3\nCOPY a /");
    assert.notDeepEqual(plain, await ids("FROM alpine:3\nCOPY a /", { ignore: ["b"] }));
    assert.notDeepEqual(plain, await ids("FROM alpine:3\nCOPY a /", { request: { noCache: true } }));
  });

  test("says which files of a context are needed, of all stages together", async () => {
    const text =
      "FROM alpine:3 AS a\nCOPY x/../y *.go /\nADD ./z /\nRUN --mount=type=bind,source=m/n,target=/m q\nFROM a\nCOPY --parents p/./q /";
    const [local] = await operations("local", text, { ignore: ["*.log"] });
    assert.deepEqual(local, {
      kind: "local",
      name: "context",
      exclude: ["*.log"],
      followPaths: ["*.go", "m/n", "p/q", "y", "z"],
    });
    const [all] = await operations("local", `${text}\nCOPY . /`);
    assert.equal(all?.followPaths, undefined);
  });

  test("is empty for an empty image", async () => {
    const { graph, targets } = await plan(planInput("FROM scratch"));
    assert.deepEqual(graph.vertices, []);
    assert.equal(targets[0]?.root, undefined);
    assert.deepEqual(targets[0]?.config.config, {
      WorkingDir: "/",
      Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    });
  });

  test("builds anew the stages that are named", async () => {
    const text = "FROM alpine:3 AS a\nRUN x\nFROM a AS b\nRUN y";
    const { graph } = await plan(planInput(text, { request: { noCacheFilter: ["B"] } }));
    assert.deepEqual(
      graph.vertices.map(({ ignoreCache }) => ignoreCache === true),
      [false, false, true],
    );
  });
});

describe("stages", () => {
  test("are named in any case, by number, and the last of a name counts", async () => {
    const text =
      "FROM alpine:3 AS A\nRUN first\nFROM alpine:3 AS a\nRUN second\nFROM scratch\nCOPY --from=A /x /\nCOPY --from=0 /y /";
    const names = (await lines(text)).filter((line) => line.includes("exec"));
    assert.deepEqual(names, ["1 exec [a 2/2] RUN second < 0", "3 exec [a 2/2] RUN first < 0"]);
    assert.equal((await lines(text, { request: { target: "A" } })).length, 2);
  });

  test("can't be read before they are there, nor in a circle", async () => {
    assert.deepEqual(
      await failure("FROM alpine:3 AS a\nCOPY --from=b / /\nFROM alpine:3 AS b\nFROM b\nCOPY --from=a / /"),
      {
        message: 'cannot copy from stage "b", it needs to be defined before current stage "a"',
        line: 2,
        file: "Dockerfile",
      },
    );
    const circle = await failure("FROM alpine:3 AS a\nCOPY --from=b / /\nFROM alpine:3 AS b\nCOPY --from=a / /");
    assert.equal(circle.message, "circular dependency detected on stage: a");
    const own = await failure("FROM alpine:3 AS a\nRUN --mount=type=bind,from=a,target=/x y");
    assert.equal(own.message, "circular dependency detected on stage: a");
    assert.equal((await failure("FROM alpine:3\nCOPY --from=7 / /")).message, "invalid stage index 7");
  });

  test("that don't exist are told, with the one that was meant", async () => {
    const world: World = { request: { target: "biuld" } };
    await assert.rejects(plan(planInput("FROM scratch AS build", world)), {
      kind: "invalid",
      message: 'target stage "biuld" could not be found (did you mean build?)',
    });
    assert.deepEqual(await failure("FROM alpine:3 AS build\nFROM scratch\nCOPY --from=biuld / /"), {
      message: "biuld: docker.io/library/biuld:latest: not found (did you mean build?)",
      line: 3,
      file: "Dockerfile",
    });
  });
});

describe("arguments and variables", () => {
  test("reach FROM by meta arguments and steps by ARG, the build's own first", async () => {
    const text = `
ARG V=2
ARG TAG=\${V}-x
ARG SET
FROM alpine:3
ARG V
ARG OWN=\${V}1
ARG NONE
RUN a
`;
    const [run] = await runs(text, { args: { V: "3", SET: "y" } });
    assert.deepEqual(run?.env, ["PATH=/bin", "V=3", "OWN=31"]);
    assert.equal((await history(text)).at(-1), "RUN |3 V=2 OWN=21 NONE= /bin/sh -c a # buildkit");
    assert.deepEqual((await history(text)).slice(1, 4), ["ARG V=2", "ARG OWN=21", "ARG NONE"]);
    assert.deepEqual(await lines("ARG V=3\nFROM alpine:$V"), ["0 image [1/1] FROM docker.io/library/alpine:3@…"]);
  });

  test("of the platforms are there for who declares them", async () => {
    const text = "FROM --platform=$BUILDPLATFORM alpine:3 AS b\nARG TARGETARCH TARGETVARIANT BUILDOS\nRUN x";
    const { graph } = await plan(
      planInput(text, { request: { platforms: [{ os: "linux", architecture: "arm", variant: "v7" }] } }),
    );
    const [, run] = graph.vertices;
    assert.deepEqual((run!.operation as ExecOperation).env.slice(1), [
      "TARGETARCH=arm",
      "TARGETVARIANT=v7",
      "BUILDOS=linux",
    ]);
    assert.deepEqual((run!.operation as ExecOperation).platform, { os: "linux", architecture: "amd64" });
  });

  test("ENV outlives its stage in the image, ARG only in the steps", async () => {
    const text = "FROM alpine:3 AS a\nARG X=1\nENV Y=$X\nFROM a\nRUN z";
    const [run] = await runs(text);
    assert.deepEqual(run?.env, ["PATH=/bin", "X=1", "Y=1"]);
    assert.deepEqual((await target(text)).config.config?.Env, ["PATH=/bin", "Y=1"]);
  });

  test("proxies are in the steps, but in no key and no history", async () => {
    const world: World = { args: { http_proxy: "http://p", NO_PROXY: "x" } };
    const [run] = await runs("FROM alpine:3\nRUN a", world);
    assert.deepEqual(run?.proxyEnv, ["NO_PROXY=x", "no_proxy=x", "HTTP_PROXY=http://p", "http_proxy=http://p"]);
    assert.deepEqual(run?.env, ["PATH=/bin"]);
    assert.equal((await history("FROM alpine:3\nRUN a", world)).at(-1), "RUN /bin/sh -c a # buildkit");
    assert.deepEqual(await warnings("FROM alpine:3\nRUN a", world), []);
  });

  test("that nobody declares are told of", async () => {
    assert.deepEqual(
      await warnings("FROM alpine:3\nARG A", { args: { A: "1", Z: "", B: "2", BUILDKIT_INLINE_CACHE: "1" } }),
      ["[Warning] One or more build-args [B Z] were not consumed"],
    );
  });

  test("that must be set stop the build at their line", async () => {
    assert.deepEqual(await failure('FROM alpine:3\nENV A="${B:?is missing}"'), {
      message: 'failed to process "\\"${B:?is missing}\\"": B: is missing',
      line: 2,
      file: "Dockerfile",
    });
  });

  test("grow to no more than a step could be given", async () => {
    const doubling = Array.from({ length: 40 }, () => "ENV A=$A$A$A$A$A$A$A$A").join("\n");
    const { message } = await failure(`FROM alpine:3\nENV A=xxxxxxxxxxxxxxxx\n${doubling}`);
    assert.match(message, /too long/);
  });
});

describe("steps", () => {
  test("run by the shell in effect, or by none", async () => {
    const text = 'FROM alpine:3\nRUN a  b\nSHELL ["bash", "-ec"]\nRUN c\nRUN ["d", "e"]\nUSER me\nWORKDIR /w\nRUN f';
    const steps = await runs(text);
    assert.deepEqual(
      steps.map(({ args }) => args),
      [
        ["/bin/sh", "-c", "a  b"],
        ["bash", "-ec", "c"],
        ["d", "e"],
        ["bash", "-ec", "f"],
      ],
    );
    assert.deepEqual([steps[3]?.user, steps[3]?.cwd], ["me", "/w"]);
  });

  test("read heredocs: as a script, as a program, or as the shell's own", async () => {
    const [script] = await runs("FROM alpine:3\nRUN <<-EOF\n\ta\n\tb\nEOF");
    assert.deepEqual(script?.args, ["/bin/sh", "-c", "a\nb\n"]);
    const [program] = await runs("FROM alpine:3\nRUN <<X\n#!/usr/bin/python\n1\nX");
    assert.deepEqual(program?.args, ["/bin/sh", "-c", "/dev/pipes/X"]);
    assert.deepEqual(program?.mounts, [
      { type: "bind", target: "/dev/pipes/", input: 1, source: "/", writable: false },
    ]);
    const [file] = await files("FROM alpine:3\nRUN <<X\n#!/usr/bin/python\n1\nX");
    assert.deepEqual(file?.actions, [
      { type: "mkfile", target: "/X", data: "#!/usr/bin/python\n1\n", mode: 0o755, owner: undefined },
    ]);
    const [own] = await runs("FROM alpine:3\nRUN cat <<A <<B > /x\n1\nA\n2\nB");
    assert.deepEqual(own?.args, ["/bin/sh", "-c", "cat <<A <<B > /x\n1\nA\n2\nB"]);
  });

  test("need the rights that they ask for before anything is built", async () => {
    const text = "FROM alpine:3 AS one\nRUN --network=host x\nFROM alpine:3 AS two\nRUN --security=insecure x\n";
    const of = (target: string, request: World["request"] = {}) => runs(text, { request: { target, ...request } });
    await assert.rejects(of("one"), { message: "network.host is not allowed", kind: "forbidden" });
    await assert.rejects(of("two"), { message: "security.insecure is not allowed", kind: "forbidden" });
    assert.equal((await of("one", { entitlements: ["network.host"] }))[0]?.network, "host");
    assert.equal((await plan(planInput(text, { request: { call: "check" } }))).answer?.code, 0);
  });

  test("need no device that isn't said to be required", async () => {
    assert.equal((await runs("FROM alpine:3\nRUN --device=vendor.com/class=x y")).length, 1);
    await assert.rejects(runs("FROM alpine:3\nRUN --device=name=a,required y"), {
      message: 'required device "a" is not registered',
    });
  });

  test("have mounts of all kinds", async () => {
    const text = `FROM alpine:3 AS s
FROM alpine:3
ARG ID=i
WORKDIR /w
RUN --mount=type=cache,id=\${ID},target=c,sharing=locked,from=s,source=/x,uid=1,mode=700 \\
    --mount=target=/ctx,source=sub --mount=type=bind,from=s,target=/s,rw \\
    --mount=type=tmpfs,target=/t,size=1m --mount=type=secret,id=a,required \\
    --mount=type=secret,id=b,env=B --mount=type=secret,id=c,env=C,target=/c \\
    --mount=type=ssh --mount=type=ssh,id=k,target=/k,mode=0666 --network=none --security=insecure x
`;
    const request = { entitlements: ["security.insecure"] };
    const [run] = await runs(text, { args: { BUILDKIT_CACHE_MOUNT_NS: "ns" }, request });
    assert.deepEqual(run?.mounts, [
      {
        type: "cache",
        target: "/w/c",
        id: "ns/i",
        sharing: "locked",
        readonly: false,
        input: 1,
        source: "/x",
        mode: 0o700,
        uid: 1,
        gid: 0,
      },
      { type: "bind", target: "/ctx", input: 2, source: "/sub", writable: false },
      { type: "bind", target: "/s", input: 1, source: "/", writable: true },
      { type: "tmpfs", target: "/t", size: 1 << 20 },
      { type: "secret", target: "/run/secrets/a", id: "a", required: true, mode: 0o400, uid: 0, gid: 0 },
      { type: "secret", target: "/c", id: "c", required: false, mode: 0o400, uid: 0, gid: 0 },
      { type: "ssh", target: "/run/buildkit/ssh_agent.0", id: "default", required: false, mode: 0o600, uid: 0, gid: 0 },
      { type: "ssh", target: "/k", id: "k", required: false, mode: 0o666, uid: 0, gid: 0 },
    ]);
    assert.deepEqual(run?.secretEnv, [
      { name: "B", id: "b", required: false },
      { name: "C", id: "c", required: false },
    ]);
    assert.deepEqual(
      [run?.network, run?.security, run?.env.at(-1)],
      ["none", "insecure", "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"],
    );
  });

  test("whose mounts make no sense are refused in BuildKit's words", async () => {
    const table: readonly (readonly [mount: string, message: string])[] = [
      ["type=bnd", 'unsupported mount type "bnd" (did you mean bind?)'],
      ["type=bind,tagret=/x", "unexpected key 'tagret' in 'tagret=/x' (did you mean target?)"],
      ["type=bind,target=/x,mode=1", 'mode not allowed for "bind" type mounts'],
      ["type=cache,target=/x,sharing=x", 'unsupported sharing value "x"'],
      ["type=bind,target=/x,sharing=shared", "invalid cache sharing set for bind mount"],
      ["type=secret", "invalid secret mount. one of source, target required"],
      ["type=secret,id=a,source=b", "both source and id can't be set"],
      ["type=secret,id=a,from=x", "secret mount should not have a from"],
      ["type=ssh,source=x", "ssh does not support source"],
      ["type=bind,target", "invalid field 'target' must be a key=value pair"],
      ["type=bind,required,target=/x", "unexpected key 'required' for mount type 'bind'"],
      ["type=tmpfs,target=/x,size=z", "invalid value for size: z"],
      ["type=cache,target=/x,uid=-1", "invalid value -1 for uid"],
      ["type=cache,target=/x,ro=maybe", "invalid value for ro: maybe"],
      ["type=bind,target=/a/..", 'invalid mount target "/"'],
      [
        "type=bind,from=late,target=/x",
        'cannot mount from stage "late" to "/x", stage needs to be defined before current command',
      ],
    ];
    for (const [mount, message] of table) {
      const text = `FROM alpine:3 AS first\nRUN --mount=${mount} x\nFROM alpine:3 AS late\n`;
      const { message: said, line } = await failure(text, { request: { target: "first" } });
      assert.deepEqual([said, line], [message, 2], mount);
    }
    const early = await failure("FROM alpine:3\nRUN --mount=from=$x,target=/y z");
    assert.equal(
      early.message,
      "dockerfile parse error on line 2: 'from' doesn't support variable expansion, define alias stage instead",
    );
    const quoted = await failure('FROM alpine:3\nRUN --mount=type=bind,tar\\"get=/y z');
    assert.match(
      quoted.message,
      /failed to parse csv mounts: parse error on line 1, column 14: bare " in non-quoted-field/,
    );
  });
});

describe("COPY and ADD", () => {
  const copy = async (line: string, world: World = {}) => {
    const [operation] = (await files(`FROM alpine:3\nWORKDIR /\nARG D=d\n${line}`, world)).slice(-1);
    return operation!;
  };
  const plain = {
    type: "copy",
    input: 1,
    wildcard: true,
    allowEmpty: true,
    followLinks: true,
    contentsOnly: true,
    createTarget: true,
    parents: false,
    exclude: [],
    unpack: "never",
    owner: undefined,
    mode: undefined,
  };

  test("clean their paths and keep what a slash at the end says", async () => {
    const table: readonly (readonly [line: string, source: string, target: string])[] = [
      ["COPY a b", "/a", "/b"],
      ["COPY ../../a $D/", "/a", "/d/"],
      ["COPY ./x/../y /../../z", "/y", "/z"],
      ["COPY a .", "/a", "/"],
      ['COPY ["a b", "/c d/."]', "/a b", "/c d/"],
      ["WORKDIR /w\nCOPY a .", "/a", "/w/"],
      ["WORKDIR /w\nCOPY a ..", "/a", "/"],
      ["WORKDIR /w\nCOPY a x", "/a", "/w/x"],
      ["COPY / /all", "/", "/all"],
    ];
    for (const [line, source, to] of table) {
      assert.deepEqual((await copy(line)).actions, [{ ...plain, sources: [source], target: to }], line);
    }
  });

  test("take owners, modes, parents, patterns and archives", async () => {
    const one = await copy("COPY --chown=1000:staff --chmod=u=rwX,go-w --exclude=*.o --exclude=b a /");
    assert.deepEqual(one.actions, [
      {
        ...plain,
        sources: ["/a"],
        target: "/",
        owner: { user: 1000, group: "staff" },
        mode: "u=rwX,go-w",
        exclude: ["*.o", "b"],
      },
    ]);
    const parents = await copy("COPY --parents --chmod=755 a/b ./x/./y/*.c /t/");
    assert.deepEqual(parents.actions, [
      { ...plain, sources: ["/a/b"], target: "/t/", parents: true, mode: 0o755 },
      { ...plain, sources: ["/x/./y/*.c"], target: "/t/", parents: true, mode: 0o755 },
    ]);
    assert.deepEqual((await copy("ADD a.tar /")).actions, [
      { ...plain, sources: ["/a.tar"], target: "/", unpack: "auto" },
    ]);
    assert.deepEqual((await copy("ADD --unpack=false a.tar /")).actions, [
      { ...plain, sources: ["/a.tar"], target: "/" },
    ]);
  });

  test("make files of heredocs, with variables unless they are quoted", async () => {
    const text = "FROM alpine:3\nENV A=1\nCOPY <<a <<-'b' /x/\n$A \"q\"\na\n\t$A\nb\n";
    const made = (await files(text)).flatMap(({ actions }) => actions).filter(({ type }) => type === "mkfile");
    assert.deepEqual(made, [
      { type: "mkfile", target: "/a", data: '1 "q"\n', mode: 0o644, owner: undefined },
      { type: "mkfile", target: "/b", data: "$A\n", mode: 0o644, owner: undefined },
    ]);
    assert.equal((await history(text)).at(-1), "COPY <<a <<b /x/ # buildkit");
  });

  test("fetch from the web and from git", async () => {
    const digest = `sha256:${"a".repeat(64)}`;
    const [http] = await operations(
      "http",
      `FROM alpine:3\nADD --checksum=${digest} https://127.0.0.1/d/a%20b.tgz?x /`,
    );
    assert.deepEqual(http, {
      kind: "http",
      url: "https://127.0.0.1/d/a%20b.tgz?x",
      filename: "a b.tgz",
      checksum: digest,
    });
    assert.deepEqual((await copy("ADD https://127.0.0.1/ /x")).actions[0], {
      ...plain,
      sources: ["/__unnamed__"],
      target: "/x",
      wildcard: false,
      allowEmpty: false,
      followLinks: false,
      contentsOnly: false,
    });
    const [git] = await operations("git", "FROM alpine:3\nADD --keep-git-dir=true https://127.0.0.1/r.git#v1:sub /x");
    assert.deepEqual(git, {
      kind: "git",
      remote: "https://127.0.0.1/r.git",
      ref: "v1",
      subdir: "sub",
      keepGitDir: true,
    });
  });

  test("laid on by a link stand on nothing", async () => {
    assert.deepEqual((await lines("FROM alpine:3\nCOPY --link a /")).slice(1), [
      "1 local [internal] load build context",
      "2 files [2/2] COPY --link a / < 1",
      "3 merge [2/2] LINK COPY --link a / < 0 2",
    ]);
    const [alone] = await files("FROM scratch\nCOPY --link a /");
    assert.equal(alone?.root, -1);
  });

  test("that make no sense are refused at their line", async () => {
    const table: readonly (readonly [line: string, message: string])[] = [
      ["COPY https://127.0.0.1/a /", "source can't be a URL for COPY"],
      ["COPY https://127.0.0.1/a.git /", "source can't be a git ref for COPY"],
      ["ADD --checksum=sha256:1 a /", "checksum requires HTTP(S) or Git sources"],
      [
        "ADD --checksum=sha256:1 https://127.0.0.1/a https://127.0.0.1/b /",
        "checksum can't be specified for multiple sources",
      ],
      ["ADD --checksum=sha256:1 https://127.0.0.1/a /", "invalid checksum digest length"],
      [
        "ADD --checksum=xyz https://127.0.0.1/a.git /",
        'invalid checksum "xyz" for Git source, expected hex commit hash',
      ],
      ["ADD https://127.0.0.1/a.git?what=1 /", 'unexpected query "what"'],
      ["COPY --chmod=99 a /", "invalid chmod parameter: '99'. it should be octal string and between 0 and 07777"],
      ["COPY --chmod=10000 a /", "invalid chmod parameter: '10000'. it should be octal string and between 0 and 07777"],
      ["COPY --chmod=zz a /", "invalid chmod parameter: 'zz'. it is no mode of chmod(1)"],
      [
        "COPY --from=$X a /",
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
      ],
    ];
    for (const [line, message] of table) {
      assert.deepEqual(await failure(`FROM alpine:3\n${line}`), { message, line: 2, file: "Dockerfile" }, line);
    }
  });
});

describe("the image", () => {
  test("has the base's config, changed as the instructions say, and a history in BuildKit's words", async () => {
    const images: World["images"] = {
      "docker.io/library/b:latest": {
        Env: ["A=0"],
        Cmd: ["old"],
        User: "u",
        WorkingDir: "/base",
        Labels: { l: "1" },
        Shell: ["ash", "-c"],
        Healthcheck: { Test: ["NONE"] },
        layers: 2,
      },
    };
    const text = `FROM b
MAINTAINER me
ENV A=1 B="two words"
LABEL a=b "c d"=e
EXPOSE 80 53/udp
VOLUME /v /w
STOPSIGNAL SIGINT
HEALTHCHECK --interval=90s --retries=2 CMD curl x
WORKDIR sub
COPY --chown=1 a b /d/
ENTRYPOINT e
ONBUILD RUN later
SHELL ["bash"]
`;
    const { config, history: rows, base } = await target(text, { images, request: { labels: new Map([["z", "9"]]) } });
    assert.deepEqual(JSON.parse(JSON.stringify(config)), {
      os: "linux",
      architecture: "amd64",
      author: "me",
      rootfs: { type: "layers", diff_ids: [] },
      config: {
        Env: ["A=1", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "B=two words"],
        Entrypoint: ["ash", "-c", "e"],
        User: "u",
        WorkingDir: "/base/sub",
        Labels: { l: "1", a: "b", "c d": "e", z: "9" },
        Shell: ["bash"],
        Healthcheck: { Test: ["CMD-SHELL", "curl x"], Interval: 90e9, Retries: 2 },
        ExposedPorts: { "53/udp": {}, "80/tcp": {} },
        Volumes: { "/v": {}, "/w": {} },
        StopSignal: "SIGINT",
        OnBuild: ["RUN later"],
      },
    });
    assert.deepEqual(
      rows.map(({ createdBy, vertex }) => `${vertex === undefined ? "-" : "+"} ${createdBy}`),
      [
        "- base",
        "- base",
        "- MAINTAINER me",
        "- ENV A=1 B=two words",
        "- LABEL a=b c d=e",
        "- EXPOSE [53/udp 80/tcp]",
        "- VOLUME [/v /w]",
        "- STOPSIGNAL SIGINT",
        "- HEALTHCHECK {Test:[CMD-SHELL curl x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}",
        "+ WORKDIR /base/sub",
        "+ COPY --chown=1 a b /d/ # buildkit",
        '- ENTRYPOINT ["ash" "-c" "e"]',
        "- SHELL [bash]",
      ],
    );
    assert.equal(base?.reference.startsWith("docker.io/library/b:latest@sha256:"), true);
  });

  test("a base's triggers are carried out once, before the stage's own instructions", async () => {
    const images: World["images"] = {
      "docker.io/library/ob:1": { OnBuild: ["ARG X=1", "COPY --from=alpine:3 /a /b", "RUN echo $X"] },
    };
    const text = "FROM ob:1 AS first\nRUN own\nONBUILD RUN later <<E\n1\nE\nFROM first";
    assert.deepEqual(
      (await lines(text, { images, request: { target: "first" } })).map((line) => line.replace(/ < .*/, "")),
      [
        "0 image [first 1/5] FROM docker.io/library/ob:1@…",
        "1 image FROM docker.io/library/alpine:3@…",
        "2 files [first 2/5] ONBUILD COPY --from=alpine:3 /a /b",
        "3 exec [first 3/5] ONBUILD RUN echo 1",
        "4 exec [first 4/5] RUN own",
      ],
    );
    const { config } = await target(text, { images });
    assert.equal(config.config?.OnBuild, undefined);
    const steps = await runs(text, { images });
    assert.deepEqual(steps.at(-1)?.args, ["/bin/sh", "-c", "later <<E\n1\nE"]);
    const bad: World["images"] = { "docker.io/library/ob:1": { OnBuild: ["RUN a\nRUN b"] } };
    assert.equal(
      (await failure("FROM ob:1", { images: bad })).message,
      "onbuild trigger should be a single expression",
    );
  });

  test("is made for each platform that is asked for, what runs on the builder's once", async () => {
    const text = "FROM --platform=$BUILDPLATFORM alpine:3 AS b\nRUN x\nFROM alpine:3\nCOPY --from=b / /";
    const platforms = [
      { os: "linux", architecture: "amd64" },
      { os: "linux", architecture: "arm64" },
    ];
    const { graph, targets } = await plan(planInput(text, { request: { platforms } }));
    assert.deepEqual(
      targets.map(({ config }) => config.architecture),
      ["amd64", "arm64"],
    );
    assert.equal(graph.vertices.filter(({ operation }) => operation.kind === "exec").length, 1);
    assert.equal(graph.vertices.filter(({ operation }) => operation.kind === "image").length, 2);
  });

  test("of another platform stays what it is unless one is asked for", async () => {
    const images: World["images"] = { "docker.io/library/arm:1": { platform: "linux/arm64" } };
    assert.equal((await target("FROM arm:1", { images })).config.architecture, "arm64");
    const request = { platforms: [{ os: "linux", architecture: "amd64" }] };
    assert.equal((await target("FROM arm:1", { images, request })).config.architecture, "amd64");
    assert.match(
      (await warnings("FROM arm:1", { images })).join(),
      /InvalidBaseImagePlatform: Base image arm:1 was pulled with platform "linux\/arm64", expected "linux\/amd64"/,
    );
  });
});

describe("named contexts", () => {
  test("stand for images, stages, and what COPY and mounts read", async () => {
    const contexts = {
      alpine: "docker-image://alpine:3",
      src: "local:abc",
      repo: "https://127.0.0.1/r.git#b",
      lay: "oci-layout://s@sha256:1",
    };
    assert.deepEqual(
      await lines("FROM alpine:latest\nCOPY --from=src a /\nCOPY --from=repo b /\nRUN --mount=from=lay,target=/l x", {
        contexts,
      }),
      [
        "0 image [stage-0 1/4] FROM docker.io/library/alpine:3@…",
        "1 local [context src] load from client",
        "2 files [stage-0 2/4] COPY --from=src a / < 0 1",
        "3 git [internal] load git source https://127.0.0.1/r.git#b",
        "4 files [stage-0 3/4] COPY --from=repo b / < 2 3",
        "5 layout FROM oci-layout://s@…",
        "6 exec [stage-0 4/4] RUN --mount=from=lay,target=/l x < 4 5",
      ],
    );
    assert.deepEqual(
      await lines("FROM alpine:9 AS dev\nRUN never\nFROM dev\nRUN x", { contexts: { dev: "docker-image://alpine:3" } }),
      ["0 image [dev 1/1] FROM docker.io/library/alpine:3@…", "1 exec [stage-1 1/1] RUN x < 0"],
    );
    assert.deepEqual(
      (await failure("FROM x", { contexts: { x: "what://ever" } })).message,
      'unsupported context source "what://ever" for "x"',
    );
  });

  test("bring the stages of another Dockerfile", async () => {
    const shared = "ARG V=3\nFROM alpine:$V AS base\nCOPY tool /\nFROM base AS full\nCOPY --from=0 /x /y\n";
    const text = "INCLUDE shared/docker/Dockerfile AS s\nFROM s-full\nCOPY app /\nRUN make";
    const world: World = { contexts: { shared: "local:shared" }, files: { "shared/docker/Dockerfile": shared } };
    assert.deepEqual(await lines(text, world), [
      "0 image [s-base 1/2] FROM docker.io/library/alpine:3@…",
      "1 local [context shared] load from client",
      "2 files [s-base 2/2] COPY tool / < 0 1",
      "3 files [s-full 1/1] COPY --from=0 /x /y < 2",
      "4 local [internal] load build context",
      "5 files [stage-0 1/2] COPY app / < 3 4",
      "6 exec [stage-0 2/2] RUN make < 5",
    ]);
    const broken = { ...world, files: { "shared/docker/Dockerfile": "FROM alpine:3\nRUM x" } };
    assert.deepEqual(await failure(text, broken), {
      message: "dockerfile parse error on line 2: unknown instruction: RUM (did you mean RUN?)",
      line: 2,
      file: "shared/docker/Dockerfile",
    });
    const circle = { files: { "context/b": "INCLUDE context/b\nFROM scratch" } };
    assert.equal(
      (await failure("INCLUDE context/b\nFROM scratch", circle)).message,
      "INCLUDE goes in a circle: Dockerfile → b → b",
    );
    const twice = { files: { "context/b": "FROM scratch AS x" } };
    assert.equal(
      (await failure("INCLUDE context/b\nFROM scratch AS x", twice)).message,
      'INCLUDE brings a stage "x" that is there already',
    );
    assert.equal(
      (await failure("FROM scratch\nINCLUDE context/b", twice)).message,
      "INCLUDE has to stand before the first FROM",
    );
    const many = { files: { "context/b": "FROM scratch\n".repeat(600), "context/c": "FROM scratch\n".repeat(600) } };
    assert.deepEqual(await failure("INCLUDE context/b AS b\nINCLUDE context/c AS c\nFROM scratch", many), {
      message: "a build can have at most 1000 stages",
      line: 401,
      file: "c",
    });
    assert.deepEqual(await failure("INCLUDE none\nFROM scratch"), {
      message: "no Dockerfile in none",
      line: 1,
      file: "Dockerfile",
    });
  });
});

test("whatever can be read is planned or refused with a place", async () => {
  const line = fc.constantFrom(
    ...`ARG A=1|ARG B=\${A:-$C}|FROM alpine:3|FROM alpine:3 AS a|FROM a AS b|FROM A|FROM scratch AS c|FROM --platform=$TARGETPLATFORM alpine:3
FROM --platform=x/y/z alpine:3|FROM $A|FROM $NONE|RUN x|RUN ["x"]|RUN []|RUN|RUN <<E\nx\nE|RUN <<E cat\n#!x\nE|RUN --mount=type=cache,target=/ x
RUN --mount=from=a,target=x,source=../.. y|RUN --mount=type=secret,env=,id=x y|RUN --mount=type=ssh,target=.. y|RUN --mount=type=bind,from=0 y
COPY a b|COPY --from=a / /|COPY --from=0 x ../../y|COPY --from=9 a b|COPY --from=alpine:3 \\x [a|COPY --parents a/./b ./|COPY <<E /\nx\nE
COPY --link --chown=:1 a /|COPY --chown=99999999999 a /|ADD https://127.0.0.1/%zz /|ADD https://127.0.0.1:99999/ /|ADD git@h:r.git#-x /|ADD http://[ /
ENV A=$A$A|ENV a b|ENV \${A}=x|LABEL __proto__=x|EXPOSE $A 0-9/UDP|EXPOSE 99999|VOLUME $A|VOLUME []|USER $NONE|WORKDIR $NONE|WORKDIR ..|WORKDIR /
STOPSIGNAL x|STOPSIGNAL 9|SHELL ["s"]|CMD|CMD x|ENTRYPOINT []|HEALTHCHECK NONE|HEALTHCHECK CMD x|ONBUILD RUN x|ONBUILD COPY --from=a x y|MAINTAINER`
      .split(/[|\n]/)
      .map((row) => row.replaceAll("\\n", "\n")),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 12 }), async (rows) => {
      for (const call of ["build", "outline", "check"] as const) {
        try {
          await plan(planInput(["FROM alpine:3", ...rows].join("\n"), { request: { call } }));
        } catch (error) {
          assert.ok(error instanceof DockerfileError, `${rows.join("\n")}: ${(error as Error).stack}`);
        }
      }
    }),
    { numRuns: 1000 },
  );
});

test("every published Dockerfile is planned, or refused for what its arguments or texts lack", async () => {
  const table = new URL("../../dockerfile/testdata/dockerfiles.jsonl", import.meta.url);
  const rows = readFileSync(table, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { name: string; text: string; parseErr: string; instrErr?: string })
    .filter((row) => row.parseErr === "" && row.instrErr === "");
  const refused: string[] = [];
  for (const { name, text } of rows) {
    try {
      const { graph, targets } = await plan(planInput(text, { anyImage: true }));
      const known = new Set<string>();
      for (const { id, inputs } of graph.vertices) {
        assert.equal(
          inputs.every((input) => known.has(input)),
          true,
          name,
        );
        known.add(id);
      }
      assert.equal(
        targets.every(({ root }) => root === undefined || known.has(root)),
        true,
        name,
      );
    } catch (error) {
      assert.ok(error instanceof DockerfileError, `${name}: ${error}`);
      refused.push(name);
    }
  }
  assert.deepEqual(refused, [
    // Quotes that don't end.
    "bkdf/frontend/dockerfile/parser/testfiles/env/Dockerfile",
    "bkdf/frontend/dockerfile/parser/testfiles/escapes/Dockerfile",
    // `--mount=…,z` is podman's.
    "podman/test/e2e/build/cache/Dockerfilecacheread",
    "podman/test/e2e/build/cache/Dockerfilecachewrite",
    // FROM an argument that has to be given.
    "testcontainers-node/packages/testcontainers/fixtures/docker/dockerfile-parser/buildargs.Dockerfile",
  ]);
  assert.equal(rows.length > 200, true);
});

describe("a Dockerfile that asks for another frontend", () => {
  test("is refused, and one that asks for the usual one is not", async () => {
    for (const own of [
      "docker/dockerfile:1",
      "docker/dockerfile-upstream:master-labs",
      "127.0.0.1:5000/docker/dockerfile:1.7",
    ]) {
      assert.deepEqual(await lines(`# syntax=${own}\nFROM scratch`), [], own);
    }
    assert.deepEqual(await failure("#!/usr/bin/env x\n# syntax=r2d4/mocker\nFROM scratch"), {
      message: "unsupported frontend r2d4/mocker: Gantry reads Dockerfiles itself and runs no other frontend",
      line: 2,
      file: "Dockerfile",
    });
    await assert.rejects(plan(planInput("FROM scratch", { args: { BUILDKIT_SYNTAX: "x/y" } })), { kind: "invalid" });
  });
});
