import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { GantryError } from "../../base/errors.ts";
import { DockerfileError } from "../../dockerfile/source.ts";
import { socketPair } from "../../grpc/pair.fixture.ts";
import { GrpcError, STATUS } from "../../grpc/status.ts";
import { BuildWire } from "../build-wire.ts";
import type { Builder, BuildOptions, BuildRequest, BuildResult } from "../builder.ts";
import type { Vertex } from "../graph.ts";
import type { FileStat } from "../session.ts";
import { sessionHello } from "../session-hello.ts";
import { StepError } from "../step-error.ts";
import { type Asked, Buildx, type Offer } from "./buildx.fixture.ts";
import { Sessions } from "./sessions.ts";

type Act = (request: BuildRequest, options: BuildOptions) => Promise<Partial<BuildResult> | undefined>;

const SOURCE = "FROM busybox\nRUN false\n";
const signal = new AbortController().signal;

/** A client and the engine's side of it, with a builder that does what the test says. */
function clientOf(act: Act, offer: Offer = {}): Buildx {
  const builder = {
    build: async (request: BuildRequest, options: BuildOptions) => ({
      metadata: new Map(),
      imageId: undefined,
      warnings: 0,
      ...(await act(request, options)),
    }),
    gcRules: () => [],
    history: { get: () => undefined, list: () => [], watch: () => ({ [Symbol.dispose]: () => {} }) },
  } as unknown as Builder;
  const wire = new BuildWire({
    builder,
    engineId: "engine",
    engineVersion: "1.2.3",
    hostGateways: () => ["172.17.0.1"],
    log: { debug: () => {} } as never,
  });
  return new Buildx(async (path, headers) => {
    const { accepted, dialled } = await socketPair();
    if (path === "/grpc") wire.serve(accepted);
    else {
      const hello = sessionHello(
        headers["x-docker-expose-session-uuid"]!,
        headers["x-docker-expose-session-sharedkey"]!,
        headers["x-docker-expose-session-grpc-method"]!,
      );
      wire.openSession(hello, accepted);
    }
    return dialled;
  }, offer);
}

/** What the builder is asked for. */
async function requestOf(asked: Asked): Promise<BuildRequest> {
  let request: BuildRequest | undefined;
  await using client = clientOf(async (one) => {
    request = one;
    return undefined;
  });
  await client.build(asked);
  return request!;
}

async function failureOf(act: Act, asked: Asked = {}): Promise<GrpcError> {
  await using client = clientOf(act);
  try {
    await client.build(asked);
  } catch (error) {
    assert.ok(error instanceof GrpcError);
    return error;
  }
  throw new Error("the build has not failed");
}

function detailsOf(error: GrpcError): Record<string, unknown> {
  return Object.fromEntries(
    error.details.map(({ typeUrl, value }) => [typeUrl.replace(/.*\//, ""), JSON.parse(Buffer.from(value).toString())]),
  );
}

describe("a build as buildx asks for it", () => {
  test("is told, and ends with what the exporter says", async () => {
    await using client = clientOf(async (_request, { onEvent }) => {
      await onEvent({
        type: "vertex",
        vertex: { digest: "sha256:1", inputs: ["sha256:0"], name: "RUN x", cached: false, started: 1000.5 },
      });
      await onEvent({
        type: "log",
        log: { vertex: "sha256:1", stream: 2, data: Buffer.from("line\n"), timestamp: 2000 },
      });
      await onEvent({
        type: "status",
        status: { vertex: "sha256:1", id: "extracting", name: "", current: 5, total: 10, timestamp: 1 },
      });
      await onEvent({
        type: "warning",
        warning: {
          vertex: "sha256:1",
          level: 1,
          short: "odd",
          detail: ["why"],
          url: "https://x",
          source: { file: "Dockerfile", start: 2, end: 2 },
          text: SOURCE,
        },
      });
      return { metadata: new Map([["containerimage.digest", "sha256:d"]]) };
    });
    const [worker] = await client.workers();
    assert.equal(worker!.ID, "engine");
    assert.equal(worker!.platforms[0]!.OS, "linux");
    assert.equal(worker!.Labels["org.mobyproject.buildkit.worker.moby.host-gateway-ip"], "172.17.0.1");
    const { response, statuses } = await client.build();
    assert.deepEqual(response, { "containerimage.digest": "sha256:d" });
    const [vertex] = statuses.flatMap(({ vertexes }) => vertexes);
    const [log] = statuses.flatMap(({ logs }) => logs);
    const [status] = statuses.flatMap((one) => one.statuses);
    const [warning] = statuses.flatMap(({ warnings }) => warnings);
    assert.equal(vertex!.name, "RUN x");
    assert.equal(vertex!.started!.seconds, 1n);
    assert.equal(Buffer.from(log!.msg).toString(), "line\n");
    assert.equal(status!.total, 10n);
    assert.equal(Buffer.from(warning!.info!.data).toString(), SOURCE);
    assert.equal(warning!.ranges[0]!.start!.line, 2);
  });

  test("fails with the step's text and its lines", async () => {
    const vertex = { id: "sha256:7", source: { file: "Dockerfile", start: 2, end: 2 } } as Vertex;
    const error = await failureOf(async (_request, { onPlan }) => {
      onPlan?.({ text: SOURCE, file: "Dockerfile", graph: { vertices: [] } });
      throw new StepError(vertex, new GantryError("invalid", "process did not complete"));
    });
    assert.equal(error.code, STATUS.unknown);
    assert.equal(error.message, "process did not complete");
    assert.deepEqual(detailsOf(error), {
      "errdefs.Vertex+json": { digest: "sha256:7" },
      "errdefs.Source+json": {
        info: { filename: "Dockerfile", data: Buffer.from(SOURCE).toString("base64"), language: "Dockerfile" },
        ranges: [{ start: { line: 2, character: 0 }, end: { line: 2, character: 0 } }],
      },
    });
  });

  test("fails with the lines around what failed, at their numbers, where the Dockerfile is long", async () => {
    const lines = Array.from({ length: 4000 }, (_, index) => `RUN echo ${index + 1} ${"x".repeat(index % 900)}`);
    const vertex = { id: "sha256:7", source: { file: "Dockerfile", start: 3000, end: 3000 } } as Vertex;
    const error = await failureOf(async (_request, { onPlan }) => {
      onPlan?.({ text: lines.join("\n"), file: "Dockerfile", graph: { vertices: [] } });
      throw new StepError(vertex, new GantryError("invalid", "process did not complete"));
    });
    const { info } = detailsOf(error)["errdefs.Source+json"] as { info: { data: string } };
    const told = Buffer.from(info.data, "base64").toString().split("\n");
    for (const number of [2995, 3000, 3005]) assert.equal(told[number - 1], lines[number - 1]!.slice(0, 500));
    assert.equal(told[100], "");
  });

  test("fails with the line of a Dockerfile that can't be read", async () => {
    const place = { source: { name: "Other", text: "RUNN x\n" }, range: { start: 1, end: 1 } };
    const error = await failureOf(async () => {
      throw new DockerfileError("unknown instruction: RUNN", place);
    });
    assert.equal(error.message, "unknown instruction: RUNN");
    assert.deepEqual(Object.keys(detailsOf(error)), ["errdefs.Source+json"]);
  });

  test("is cancelled when its client gives up", async () => {
    const started = Promise.withResolvers<void>();
    const cancelled = Promise.withResolvers<void>();
    const controller = new AbortController();
    await using client = clientOf(async (_request, options) => {
      options.signal.addEventListener("abort", () => cancelled.resolve(), { once: true });
      started.resolve();
      await cancelled.promise;
      throw new GantryError("cancelled", "context canceled");
    });
    const building = assert.rejects(client.build({ signal: controller.signal }), { code: STATUS.cancelled });
    await started.promise;
    controller.abort();
    await Promise.all([building, cancelled.promise]);
  });

  test("answers a question with what the client prints", async () => {
    await using client = clientOf(async ({ call, outputs }) => {
      assert.deepEqual([call, outputs], ["outline", []]);
      return { answer: { text: "text", json: "{}", code: 0 } };
    });
    const { answer, response } = await client.build({ options: { requestid: "frontend.outline" } });
    assert.equal(Buffer.from(answer["result.txt"]!).toString(), "text");
    assert.equal(Buffer.from(answer["result.json"]!).toString(), "{}");
    assert.deepEqual(response, {});
    const described = await client.build({ options: { requestid: "frontend.subrequests.describe" } });
    assert.match(Buffer.from(described.answer["result.txt"]!).toString(), /^NAME.*\nfrontend\.outline/);
  });

  test("holds up who prints much when its client doesn't read, and loses nothing", async () => {
    const line = Buffer.alloc(64 << 10, "x");
    await using client = clientOf(async (_request, { onEvent }) => {
      for (let count = 0; count < 400; count++) {
        await onEvent({ type: "log", log: { vertex: "sha256:1", stream: 1, data: line, timestamp: 1 } });
      }
      return undefined;
    });
    const { statuses } = await client.build();
    const bytes = statuses.flatMap(({ logs }) => logs).reduce((sum, { msg }) => sum + msg.length, 0);
    // What was told before the client asked for it is kept up to a megabyte.
    assert.ok(bytes >= 400 * line.length - (2 << 20), `${bytes} bytes came`);
  });
});

describe("the options of the frontend", () => {
  test("become a request in the builder's terms", async () => {
    const request = await requestOf({
      options: {
        filename: "docker/Dockerfile",
        target: "last",
        platform: "linux/amd64,linux/arm64/v8,linux/amd64",
        "build-arg:A": "1",
        "build-arg:SOURCE_DATE_EPOCH": "17",
        "label:l": "v",
        "context:other": "docker-image://alpine",
        "no-cache": "one,two",
        "image-resolve-mode": "pull",
        "add-hosts": "One=10.0.0.1,two=::1,gate=host-gateway",
        "shm-size": "1024",
        ulimit: "nofile=10:20,core=-1",
        "cgroup-parent": "/x",
        "force-network-mode": "host",
        hostname: "box",
        memory: "4096",
        memswap: "-1",
        cpusetcpus: "0-1,3",
        "attest:provenance": "mode=max,inline-only=true",
        "attest:sbom": "",
        "cache-from": "a/b,c",
        "cache-imports": '[{"Type":"local","Attrs":{"src":"/x"}},{"Type":"registry","Attrs":{"ref":"c"}}]',
        "gantry:explain": "true",
      },
      exporters: [
        { type: "moby", attributes: { name: "x", "prefer-image-digest": "true" } },
        { type: "tar", attributes: { dest: "/home/x.tar" } },
      ],
      entitlements: ["network.host"],
    });
    assert.deepEqual(request.context, { type: "session", name: "context" });
    assert.deepEqual(request.dockerfileSource, { type: "session", name: "dockerfile" });
    assert.deepEqual(request.dockerfile, { path: "docker/Dockerfile" });
    assert.deepEqual(
      request.platforms.map(({ architecture }) => architecture),
      ["amd64", "arm64"],
    );
    assert.deepEqual(Object.fromEntries(request.buildArgs), {
      A: "1",
      SOURCE_DATE_EPOCH: "17",
      BUILDKIT_SANDBOX_HOSTNAME: "box",
    });
    assert.equal(request.sourceDateEpoch, 17);
    assert.deepEqual([request.noCache, request.noCacheFilter], [false, ["one", "two"]]);
    assert.deepEqual([request.pull, request.network, request.target], [true, "host", "last"]);
    assert.deepEqual(request.extraHosts, [
      { name: "one", address: "10.0.0.1" },
      { name: "two", address: "::1" },
      { name: "gate", address: "host-gateway" },
    ]);
    assert.deepEqual(request.limits, {
      memory: 4096,
      memorySwap: -1,
      cpuShares: 0,
      cpuPeriod: 0,
      cpuQuota: 0,
      cpusetCpus: "0-1,3",
      cpusetMems: "",
      shmSize: 1024,
      cgroupParent: "/x",
      ulimits: [
        { name: "nofile", soft: 10, hard: 20 },
        { name: "core", soft: -1, hard: -1 },
      ],
    });
    assert.deepEqual(
      [...request.attestations.get("provenance")!],
      [
        ["mode", "max"],
        ["inline-only", "true"],
      ],
    );
    assert.equal(request.attestations.get("sbom")!.size, 0);
    assert.deepEqual(
      request.outputs.map(({ attributes, type }) => [type, Object.fromEntries(attributes)]),
      [
        ["image", { name: "x" }],
        ["tar", {}],
      ],
    );
    assert.deepEqual(
      request.cacheFrom.map(({ attributes, type }) => [type, Object.fromEntries(attributes)]),
      [
        ["local", { src: "/x" }],
        ["registry", { ref: "c" }],
        ["registry", { ref: "a/b" }],
      ],
    );
    assert.deepEqual([request.explain, request.origin], [true, "gantry"]);
  });

  test("say where files come from", async () => {
    const git = await requestOf({ options: { context: "https://host/x.git#main", contextsubdir: "sub" } });
    assert.deepEqual(git.context, { type: "git", url: "https://host/x.git#main:sub" });
    assert.equal(git.dockerfileSource, undefined);
    const http = await requestOf({ options: { context: "https://host/x.tar", dockerfilekey: "mine" } });
    assert.deepEqual(http.context, { type: "http", url: "https://host/x.tar" });
    assert.deepEqual(http.dockerfileSource, { type: "session", name: "mine" });
    const upload = await requestOf({ options: { context: "http://buildkit-session/abc" } });
    assert.equal(upload.context.type, "archive");
  });

  const REFUSED: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
    [{ platform: "a/b/c/d" }, /failed to parse target platform a\/b\/c\/d/],
    [{ platform: "linux/amd64,linux/arm64", "multi-platform": "false" }, /conflicting config/],
    [{ "multi-platform": "x" }, /invalid boolean value for multi-platform: x/],
    [{ "image-resolve-mode": "x" }, /^invalid image-resolve-mode: x$/],
    [{ "force-network-mode": "x" }, /^invalid netmode x$/],
    [{ "add-hosts": "x" }, /invalid key-value pair x/],
    [{ "add-hosts": "x=y" }, /failed to parse IP y/],
    [{ "shm-size": "x" }, /failed to parse shm size/],
    [{ ulimit: "nofile=9:1" }, /soft limit must be less than or equal to hard limit: 9 > 1/],
    [{ memory: "0" }, /invalid memory value: 0: must be > 0/],
    [{ cpusetcpus: "a" }, /invalid cpusetcpus value: a/],
    [{ "attest:x": "" }, /unknown attestation type "x"/],
    [{ "cache-imports": "{" }, /failed to unmarshal cache-imports/],
    [{ "build-arg:SOURCE_DATE_EPOCH": "soon" }, /invalid SOURCE_DATE_EPOCH: soon/],
    [{ "frontend.caps": "moby.buildkit.frontend.subrequests+forward,x.y" }, /unsupported frontend capability x\.y/],
    [{ requestid: "frontend.x" }, /unsupported request frontend\.x/],
    [{ "context:a": "target:b" }, /targets of a bake file are its client.s to build/],
    [{ contextsubdir: "x" }, /contextsubdir=x is not supported/],
  ];
  for (const [options, text] of REFUSED) {
    test(`are refused: ${JSON.stringify(options)}`, async () => {
      const error = await failureOf(async () => assert.fail("it was built"), { options });
      assert.match(error.message, text);
    });
  }

  test("that name what nobody here does are refused by name", async () => {
    const never = async () => assert.fail("it was built");
    assert.match((await failureOf(never, { entitlements: ["device"] })).message, /unknown entitlement device/);
    assert.match((await failureOf(never, { exporters: [{ type: "x" }] })).message, /exporter "x" could not be found/);
  });
});

describe("a session", () => {
  const OFFER: Offer = {
    folders: { context: { "a.txt": "hello", d: undefined, "d/b": "" } },
    secrets: { tok: "s3cret" },
    credentials: { username: "me", password: "pw" },
    agent: (asked) => Buffer.from(`heard ${Buffer.from(asked).toString()}`),
    upload: Buffer.from("tar"),
  };

  /** What the builder does with the session of a build. */
  async function withSession(act: (request: BuildRequest) => Promise<void>, asked: Asked = {}, offer = OFFER) {
    await using client = clientOf(async (request) => {
      await act(request);
      return undefined;
    }, offer);
    await client.build(asked);
    return client;
  }

  test("brings folders, secrets, credentials, agents and archives", async () => {
    await withSession(
      async ({ context, credentialsOf, session }) => {
        assert.equal(session!.sharedKey, "key");
        const told: string[] = [];
        const request = { name: "context", include: ["größe"], exclude: ["x, y"], followPaths: [] };
        let text = "";
        await session!.sync(
          request,
          {
            file: ({ mode, path }: FileStat) => {
              told.push(path);
              return mode === 0o644;
            },
            contents: async (_stat, bytes) => {
              for await (const piece of bytes) text += Buffer.from(piece).toString();
            },
            end: async () => {},
          },
          signal,
        );
        assert.deepEqual([told, text], [["a.txt", "d", "d/b"], "hello"]);
        assert.equal(Buffer.from((await session!.secret("tok", signal))!).toString(), "s3cret");
        assert.equal(await session!.secret("other", signal), undefined);
        const { password, username } = await credentialsOf("docker.io");
        assert.deepEqual([username, password], ["me", "pw"]);
        await session!.checkAgent("default", signal);
        await assert.rejects(session!.checkAgent("other", signal), { kind: "not-found" });
        const agent = await session!.agent("default", signal);
        agent.write("hi");
        const [answer] = await Array.fromAsync(agent.take(1) as AsyncIterable<Buffer>);
        assert.equal(answer!.toString(), "heard hi");
        agent.destroy();
        assert.ok(context.type === "archive");
        assert.equal(Buffer.concat(await Array.fromAsync(context.bytes)).toString(), "tar");
      },
      { options: { context: "http://buildkit-session/x" } },
    );
  });

  test("fetches tokens where it offers to, and shows its password only where no token is wanted", async () => {
    const asked: unknown[] = [];
    const tokens = (wish: { Host: string; Realm: string; Service: string; Scopes: string[] }) => {
      asked.push([wish.Host, wish.Realm, wish.Service, wish.Scopes]);
      return "a-token";
    };
    const wish = { realm: "https://auth.example/token", service: "s", scopes: ["repository:a/b:pull"] };
    await using client = clientOf(
      async ({ credentialsOf }) => {
        const { password, tokens: service, username } = await credentialsOf("docker.io");
        assert.deepEqual([username, password], ["", ""]);
        assert.deepEqual(await service!.fetch(wish, undefined), { value: "a-token", lifeSeconds: 300 });
        assert.equal((await service!.password(undefined)).password, "pw");
        return undefined;
      },
      { credentials: { username: "me", password: "pw" }, tokens },
    );
    await client.build();
    assert.deepEqual(asked, [["registry-1.docker.io", wish.realm, wish.service, wish.scopes]]);
    await using other = clientOf(
      async ({ credentialsOf }) => {
        const { password, tokens: service } = await credentialsOf("r.example");
        assert.deepEqual([password, service], ["pw", undefined]);
        return undefined;
      },
      { credentials: { username: "me", password: "pw" }, tokens: undefined },
    );
    await other.build();
  });

  test("shares its tokens with other sessions of whoever has its key, and with nobody else", async () => {
    const tokenKeys = generateKeyPairSync("ed25519");
    const credentials = { username: "me", password: "pw" };
    const idOf = async (offer: Offer): Promise<string> => {
      let id = "";
      await using client = clientOf(
        async ({ credentialsOf }) => {
          id = (await credentialsOf("r.example")).tokens!.id;
          return undefined;
        },
        { credentials, tokens: () => "token", ...offer },
      );
      await client.build();
      return id;
    };
    const own = await idOf({ tokenKeys });
    assert.equal(await idOf({ tokenKeys }), own);
    const others = [
      await idOf({}),
      await idOf({ tokenKeys, canSign: false }),
      await idOf({ tokenKeys, canSign: false }),
    ];
    assert.equal(new Set([own, ...others]).size, 4);
  });

  test("of a client that serves nothing has no secrets, no agents and nobody's credentials", async () => {
    await withSession(
      async ({ credentialsOf, session }) => {
        assert.equal(await session!.secret("x", signal), undefined);
        await assert.rejects(session!.checkAgent("default", signal), { kind: "not-found" });
        assert.equal((await credentialsOf("r.example")).username, "");
        const nobody = { file: () => false, contents: async () => {}, end: async () => {} };
        const request = { name: "context", include: [], exclude: [], followPaths: [] };
        await assert.rejects(session!.sync(request, nobody, signal), /no access allowed to dir "context"/);
      },
      {},
      {},
    );
  });

  test("takes results: a file, and folders on top of each other", async () => {
    const folder = mkdtempSync(join(tmpdir(), "gantry-wire-"));
    try {
      mkdirSync(join(folder, "sub"));
      writeFileSync(join(folder, "sub/f"), "content");
      symlinkSync("/etc/passwd", join(folder, "link"));
      const client = await withSession(async ({ session }) => {
        await session!.sendFolder("0", folder, signal);
        await session!.sendFolder("0", join(folder, "sub"), signal, { under: "linux_amd64" });
      });
      assert.deepEqual(Object.fromEntries(client.received.get("0")!), {
        link: "",
        sub: "",
        "sub/f": "content",
        linux_amd64: "",
        "linux_amd64/f": "content",
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    await using client = clientOf(async ({ session }) => {
      const bytes = async function* () {
        yield Buffer.from("one ");
        yield Buffer.alloc(3 << 20, "x");
      };
      await session!.sendFile("1", bytes(), { "Image.Name": "n" }, signal);
      return undefined;
    });
    client.isFile = true;
    await client.build();
    assert.equal(client.received.get("1")!.get("")!.length, 4 + (3 << 20));
    assert.equal(client.headers.get("exporter-md-image.name"), "n");
  });

  test("that ends rejects what is asked of it", async () => {
    const gone = Promise.withResolvers<unknown>();
    await using client = clientOf(async ({ session }) => {
      session!.gone.addEventListener("abort", () => {
        session!.secret("tok", signal).then(gone.resolve, gone.resolve);
      });
      return undefined;
    }, OFFER);
    await client.build();
    assert.ok((await gone.promise) instanceof GantryError);
  });

  test("is known by its id: a second one of it is refused, and who asks for one that isn't there waits for it", async () => {
    const hello = sessionHello("one", "", "/a.B/C, /d.E/F");
    assert.deepEqual([...hello.methods], ["/a.b/c", "/d.e/f"]);
    const sessions = new Sessions();
    const waiting = sessions.get("one", signal);
    const [first, second] = [await socketPair(), await socketPair()];
    const opened = sessions.add(hello, first.accepted);
    assert.equal(await waiting, opened);
    assert.throws(() => sessions.add(hello, second.accepted), { kind: "conflict" });
    assert.throws(() => sessions.check({ ...hello, id: "" }), { kind: "invalid" });
    const controller = new AbortController();
    const asked = assert.rejects(sessions.get("two", controller.signal), { kind: "cancelled" });
    controller.abort(new GantryError("cancelled", "enough"));
    await asked;
    first.dialled.destroy();
    await new Promise((gone) => opened.gone.addEventListener("abort", gone, { once: true }));
    sessions.check(hello);
    for (const { accepted, dialled } of [first, second]) {
      accepted.destroy();
      dialled.destroy();
    }
  });
});
