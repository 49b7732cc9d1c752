import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Buildx, Offer, Part } from "../../src/build/wire/buildx.fixture.ts";
import {
  BRIDGE,
  type ExecMessage,
  ExecMessageSchema,
  NewContainerRequestSchema,
  ReadDirRequestSchema,
  ReadFileRequestSchema,
  ReleaseContainerRequestSchema,
  ResolveImageConfigRequestSchema,
  ResolveSourceMetaRequestSchema,
  type Result,
  SolveRequestSchema,
  StatFileRequestSchema,
} from "../../src/buildkit/gateway.ts";
import { create, encode, type Init } from "../../src/buildkit/message.ts";
import { type Definition, DefinitionSchema, type Op, OpSchema } from "../../src/buildkit/operations.ts";
import { toGrpcError } from "../../src/grpc/status.ts";
import { sha256Of } from "../../src/oci/digest.ts";
import { buildxClient } from "../buildx-client.ts";
import { startEngine, type TestEngine } from "../engine.ts";

let engine: TestEngine;
before(async () => {
  engine = await startEngine();
});
after(() => engine?.[Symbol.asyncDispose]());

const ROOT_MOUNT = { dest: "/", input: 0n, output: 0n };
const NO_TIME = { timestamp: -1n };

type Defined = Init<Op> & { readonly on?: readonly number[] };

/** Operations, each with the numbers of those it stands on; the last is the result. */
function definition(...operations: readonly Defined[]): Definition {
  const digests: string[] = [];
  const def = operations.map(({ on = [], ...op }) => {
    const bytes = encode(OpSchema, create<Op>(OpSchema, { ...op, inputs: on.map((at) => ({ digest: digests[at]! })) }));
    digests.push(sha256Of(bytes));
    return bytes;
  });
  return create(DefinitionSchema, {
    def: [...def, encode(OpSchema, create(OpSchema, { inputs: [{ digest: digests.at(-1)! }] }))],
  });
}

const image = { source: { identifier: "docker-image://docker.io/library/busybox:latest" } };
const sh = (command: string) => ({
  exec: { meta: { args: ["/bin/sh", "-c", command], cwd: "/" }, mounts: [ROOT_MOUNT], network: 2 },
  on: [0],
});

function solved(part: Part, asked: object): Promise<string> {
  const request = create(SolveRequestSchema, { allowResultReturn: true, allowResultArrayRef: true, ...asked });
  return part.call(BRIDGE.solve, request).then(({ result }) => idOf(result));
}

function idOf(result: Result | undefined): string {
  assert.equal(result?.result.case, "ref");
  return result.result.value!.id;
}

async function text(
  part: Part,
  Ref: string,
  FilePath: string,
  range?: { Offset: bigint; Length: bigint },
): Promise<string> {
  const request = create(ReadFileRequestSchema, { Ref, FilePath, ...(range && { Range: range }) });
  return Buffer.from((await part.call(BRIDGE.readFile, request)).Data).toString();
}

/** With what a call fails. */
async function failure(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    return toGrpcError(error).message;
  }
  return "nothing";
}

/** What a build of the client's own finds out. */
async function inBuild<T>(offer: Offer, act: (part: Part, buildx: Buildx) => Promise<T>): Promise<T> {
  await using buildx = buildxClient(engine, offer);
  let found: { readonly value: T } | undefined;
  await buildx.takePart({ isInternal: true }, async (part) => {
    found = { value: await act(part, buildx) };
    return undefined;
  });
  return found!.value;
}

describe("files of results", () => {
  const offer = {
    folders: {
      context: { "a.txt": "hello\n" },
      dockerfile: {
        Dockerfile: [
          "FROM busybox",
          "WORKDIR /deep",
          "COPY a.txt /deep/",
          "RUN ln -s /deep/a.txt link && ln -s /etc/hostname out && ln -s ../../../../../../etc/hostname up && mkfifo pipe",
          "RUN i=0; while [ $i -lt 300 ]; do : > many-$i; i=$((i+1)); done",
        ].join("\n"),
      },
    },
  };
  const FRONTEND = { Frontend: "dockerfile.v0" };

  test("are read, listed and looked at, by ranges and patterns, without a record", async () => {
    await inBuild(offer, async (part, buildx) => {
      const ref = await solved(part, FRONTEND);
      assert.equal(await text(part, ref, "/deep/a.txt"), "hello\n");
      assert.equal(await text(part, ref, "deep/link"), "hello\n");
      assert.equal(await text(part, ref, "/deep/a.txt", { Offset: 1n, Length: 3n }), "ell");
      assert.equal(await text(part, ref, "/deep/a.txt", { Offset: 99n, Length: 3n }), "");
      const { stat } = await part.call(
        BRIDGE.statFile,
        create(StatFileRequestSchema, { Ref: ref, Path: "/deep/a.txt" }),
      );
      assert.deepEqual([stat?.path, stat?.mode, stat?.size], ["a.txt", 0o644, 6n]);
      const asked = { Ref: ref, DirPath: "/deep", IncludePattern: "[a-m]*[a-z]" };
      const { entries } = await part.call(BRIDGE.readDir, create(ReadDirRequestSchema, asked));
      assert.deepEqual(
        entries.map(({ linkname, path }) => [path, linkname]),
        [
          ["a.txt", ""],
          ["link", "/deep/a.txt"],
        ],
      );
      const all = await part.call(BRIDGE.readDir, create(ReadDirRequestSchema, { Ref: ref, DirPath: "deep/" }));
      assert.equal(all.entries.length, 305);
      assert.deepEqual(await buildx.history(), []);
    });
  });

  test("lead nowhere outside, whatever is asked for", async () => {
    await inBuild(offer, async (part) => {
      const ref = await solved(part, FRONTEND);
      const missing = /no such file or directory/;
      const refused: readonly (readonly [string, RegExp])[] = [
        ["/deep/out", missing],
        ["/deep/up", missing],
        ["../../../../../../etc/hostname", missing],
        ["/deep/a.txt/x", /not a directory/],
        ["/deep", /is not a regular file/],
        ["/deep/pipe", /is not a regular file/],
        ["/proc/self/environ", missing],
        [`/${"x".repeat(300)}`, /file name too long/],
        [`/${"x/".repeat(1_000_000)}`, /file name too long/],
        ["/deep/a.txt\0", /invalid argument/],
      ];
      for (const [path, why] of refused) assert.match(await failure(text(part, ref, path)), why, path.slice(0, 50));
      assert.match(await failure(text(part, ref, "/deep/a.txt", { Offset: -1n, Length: 3n })), /invalid range/);
      assert.equal(await text(part, ref, "/deep/a.txt", { Offset: 0n, Length: 2n ** 50n }), "hello\n");
      const listed = create(ReadDirRequestSchema, { Ref: ref, DirPath: "/", IncludePattern: "[" });
      assert.match(await failure(part.call(BRIDGE.readDir, listed)), /pattern/);
      assert.match(await failure(text(part, "result-7", "/x")), /no such ref/);
    });
  });

  test("are read by thousands of calls, which cost no more mounts than one", async () => {
    await inBuild(offer, async (part) => {
      const ref = await solved(part, FRONTEND);
      const reads = Array.from({ length: 2_000 }, () => text(part, ref, "/deep/a.txt"));
      assert.ok((await Promise.all(reads)).every((one) => one === "hello\n"));
      const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
      assert.equal(mounts.filter((line) => line.includes(`${engine.execRoot}/build/roots/`)).length, 1);
    });
    assert.deepEqual(readdirSync(join(engine.execRoot, "build/roots")), []);
  });
});

describe("what clients read of large results", () => {
  const large = {
    folders: {
      context: {},
      dockerfile: {
        Dockerfile: [
          "FROM busybox",
          "RUN --network=none head -c 16000000 /dev/zero > /large",
          "RUN --network=none mkdir /links && to=$(head -c 4000 /dev/zero | tr '\\0' x) && \\",
          "  i=0; while [ $i -lt 2700 ]; do ln -s $to /links/$i; i=$((i+1)); done",
        ].join("\n"),
      },
    },
  };

  test("is not held in memory until they take it, and a list that no message holds is refused", async () => {
    await inBuild(large, async (part) => {
      const Ref = await solved(part, { Frontend: "dockerfile.v0" });
      assert.equal(await text(part, Ref, "/large", { Offset: 0n, Length: 1n }), "\0");
      const before = residentMegabytes(engine.pid);
      let most = 0;
      const reads = Array.from({ length: 60 }, async () => {
        const { Data } = await part.call(BRIDGE.readFile, create(ReadFileRequestSchema, { Ref, FilePath: "/large" }));
        most = Math.max(most, residentMegabytes(engine.pid));
        return Data.length;
      });
      assert.ok((await Promise.all(reads)).every((length) => length === 16_000_000));
      assert.ok(most - before < 600, `${before} MB before, ${most} MB at most`);
      const listed = part.call(BRIDGE.readDir, create(ReadDirRequestSchema, { Ref, DirPath: "/links" }));
      assert.match(await failure(listed), /cannot list \/links: its names and what links lead to have more than/);
    });
  });
});

function residentMegabytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024;
}

describe("what clients define themselves", () => {
  test("is built: images, commands, files of all kinds", async () => {
    const files = definition(
      image,
      sh("echo one > /one; mkdir -p /gone/deep; ln -s / /gone/root"),
      {
        file: {
          actions: [
            { input: 0n, output: -1n, mkdir: { path: "/made", mode: 0o750, makeParents: true, ...NO_TIME } },
            {
              input: 1n,
              output: -1n,
              mkfile: { path: "/made/bytes", mode: 0o600, data: Buffer.from([0xff, 0, 10]), ...NO_TIME },
            },
            { input: 2n, output: -1n, symlink: { oldpath: "bytes", newpath: "/made/link", ...NO_TIME } },
            { input: 3n, output: -1n, rm: { path: "/go*", allowWildcard: true } },
            {
              ...{ input: 4n, secondaryInput: 0n, output: 0n },
              copy: {
                src: "/one",
                dest: "/made/two",
                mode: -1,
                owner: { user: { user: { case: "byID", value: 7 } } },
                ...NO_TIME,
              },
            },
          ],
        },
        on: [1],
      },
      {
        ...sh("stat -c '%a %u %F' /made/two /made/bytes /made; readlink /made/link; ls -d /g*; wc -c < /made/bytes"),
        on: [2],
      },
    );
    const command = files.def.length;
    assert.equal(command, 5);
    await inBuild({}, async (part) => {
      const ref = await solved(part, { Definition: files });
      assert.equal(await text(part, ref, "/made/two"), "one\n");
      const { stat } = await part.call(BRIDGE.statFile, create(StatFileRequestSchema, { Ref: ref, Path: "/made/two" }));
      assert.deepEqual([stat?.uid, stat?.mode], [7, 0o644]);
      const { entries } = await part.call(BRIDGE.readDir, create(ReadDirRequestSchema, { Ref: ref, DirPath: "/made" }));
      assert.deepEqual(
        entries.map(({ linkname, path, size }) => [path, linkname, size]),
        [
          ["bytes", "", 3n],
          ["link", "bytes", 5n],
          ["two", "", 4n],
        ],
      );
      assert.match(await failure(text(part, ref, "/gone/deep")), /no such file/);
      assert.match(await text(part, ref, "/bin/sh", { Offset: 1n, Length: 3n }), /ELF/);
    });
  });

  test("is an image when it is returned, and a context for others", async () => {
    const base = definition(image, sh("echo defined > /defined"));
    await using buildx = buildxClient(engine, {
      folders: { dockerfile: { Dockerfile: "FROM lower\nCOPY from /from\nCMD cat /defined /from\n" } },
    });
    const context = definition({
      file: {
        actions: [
          {
            input: -1n,
            output: 0n,
            mkfile: { path: "/from", mode: 0o644, data: Buffer.from("context\n"), ...NO_TIME },
          },
        ],
      },
    });
    const exporters = [{ type: "moby", attributes: { name: "docker.io/library/defined:latest" } }];
    await buildx.takePart({ exporters }, async (part) => {
      const request = create(SolveRequestSchema, {
        ...{ Frontend: "dockerfile.v0", allowResultReturn: true, allowResultArrayRef: true },
        FrontendOpt: { "context:lower": "input:lower" },
        FrontendInputs: { lower: base, context },
      });
      return (await part.call(BRIDGE.solve, request)).result;
    });
    assert.equal(await engine.ok("run", "--rm", "--network", "none", "defined"), "defined\ncontext");
    await using other = buildxClient(engine, {});
    const named = [{ type: "moby", attributes: { name: "docker.io/library/alone:latest" } }];
    await other.takePart({ exporters: named }, async (part) => {
      const request = create(SolveRequestSchema, {
        Definition: base,
        allowResultReturn: true,
        allowResultArrayRef: true,
      });
      return (await part.call(BRIDGE.solve, request)).result;
    });
    assert.equal(await engine.ok("run", "--rm", "--network", "none", "alone", "cat", "/defined"), "defined");
  });

  test("is refused by its name where there is no means for it, and where it is none", async () => {
    const of = (...operations: readonly Defined[]) => ({ Definition: definition(...operations) });
    const exec = (more: object, mount: object = {}) => ({
      exec: { meta: { args: ["x"], ...more }, mounts: [{ ...ROOT_MOUNT, ...mount }] },
      on: [0],
    });
    const refused: readonly (readonly [object, RegExp])[] = [
      [of(image, { merge: { inputs: [{ input: 0n }] }, on: [0] }), /operations of the kind "merge"/],
      [of(image, { build: { builder: 0n }, on: [0] }), /operations of the kind "build"/],
      [of(image, exec({ extraHosts: [{ Host: "a", IP: "10.0.0.1" }] })), /extra hosts of a command/],
      [of(image, exec({}, { readonly: true })), /root that is read-only/],
      [of(image, exec({}, { mountType: 77 })), /no kind of mount 77/],
      [of(image, exec({ args: [] })), /a command is empty/],
      [of(image, exec({}, { input: 9n })), /no input 9/],
      [of({ source: { identifier: "floppy://a" } }), /the source "floppy:\/\/a" is of no known kind/],
      [of({ source: { identifier: "git://host/x.git", attrs: { "git.new": "1" } } }), /git\.new of the source/],
      [of({ source: { identifier: "local://context", attrs: { "local.session": "other" } } }), /another session/],
      [of({ source: { identifier: `gantry-result://${"0".repeat(32)}` } }), /has ended/],
      [{ Definition: create(DefinitionSchema, { def: [Buffer.from("no message")] }) }, /./],
      [{ Definition: create(DefinitionSchema, { def: Array(10_001).fill(new Uint8Array()) }) }, /10001 operations/],
      [
        {
          Definition: create(DefinitionSchema, {
            def: [encode(OpSchema, create<Op>(OpSchema, { ...image, inputs: [] }))],
          }),
        },
        /what the result is/,
      ],
    ];
    await inBuild({}, async (part) => {
      for (const [asked, why] of refused) {
        assert.match(await failure(solved(part, { ...asked, Evaluate: true })), why);
      }
    });
  });
});

describe("questions about sources", () => {
  test("are answered as the engine would resolve them", async () => {
    await inBuild({}, async (part) => {
      const { Config, Digest } = await part.call(
        BRIDGE.resolveImageConfig,
        create(ResolveImageConfigRequestSchema, { Ref: "docker.io/library/busybox:latest", ResolveMode: "local" }),
      );
      assert.match(Digest, /^sha256:[0-9a-f]{64}$/);
      assert.equal(JSON.parse(Buffer.from(Config).toString()).os, "linux");
      const asked = { Source: { identifier: "docker-image://docker.io/library/busybox:latest" } };
      const { Image } = await part.call(BRIDGE.resolveSourceMeta, create(ResolveSourceMetaRequestSchema, asked));
      assert.equal(Image?.Digest, Digest);
      const nothing = { Source: { identifier: "local://context" } };
      const none = part.call(BRIDGE.resolveSourceMeta, create(ResolveSourceMetaRequestSchema, nothing));
      assert.match(await failure(none), /nothing is told of the source/);
      const wrong = create(ResolveImageConfigRequestSchema, { Ref: "busybox", ResolveMode: "perhaps" });
      assert.match(await failure(part.call(BRIDGE.resolveImageConfig, wrong)), /resolve mode "perhaps"/);
    });
  });
});

/** A process of a container, as a client has it. */
class Exec {
  readonly told: ExecMessage["Input"][] = [];
  readonly #call: ReturnType<Part["exec"]>;
  readonly #waiting = new Set<() => void>();
  #isOver = false;
  readonly ended: Promise<void>;

  constructor(part: Part) {
    this.#call = part.exec();
    this.ended = this.#listen();
    this.ended.catch(() => {});
  }

  async send(id: string, input: Init<ExecMessage["Input"]>): Promise<void> {
    await this.#call.send(create<ExecMessage>(ExecMessageSchema, { ProcessID: id, Input: input } as Init<ExecMessage>));
  }

  async start(id: string, args: readonly string[], more: object = {}): Promise<void> {
    const Meta = { args: [...args], env: ["PATH=/bin", "HERE=1"], cwd: "/" };
    await this.send(id, { case: "Init", value: { ContainerID: "c", Meta, Fds: [0, 1, 2], ...more } } as never);
  }

  type(id: string, text: string, EOF = false): Promise<void> {
    return this.send(id, { case: "File", value: { Fd: 0, Data: Buffer.from(text), EOF } });
  }

  output(fd: number): string {
    const pieces = this.told.flatMap((one) => (one.case === "File" && one.value.Fd === fd ? [one.value.Data] : []));
    return Buffer.concat(pieces).toString();
  }

  /** Waits until what was told is so. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      assert.ok(!this.#isOver, "the call ended before that was told");
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      await Promise.race([promise, this.ended]);
    }
  }

  get exit(): number | undefined {
    return this.told.flatMap((one) => (one.case === "Exit" ? [one.value.Code] : []))[0];
  }

  done(): Promise<void> {
    return this.until(() => this.told.some((one) => one.case === "Done"));
  }

  cancel(): void {
    this.#call.cancel();
  }

  async #listen(): Promise<void> {
    for await (const { Input } of this.#call.messages()) {
      this.told.push(Input);
      for (const wake of this.#waiting) wake();
      this.#waiting.clear();
    }
    this.#isOver = true;
  }
}

describe("containers in results", () => {
  const mounted = (resultID: string) => [{ dest: "/", resultID }];
  const container = (part: Part, ref: string, more: object = {}) =>
    part.call(
      BRIDGE.newContainer,
      create(NewContainerRequestSchema, { ContainerID: "c", Mounts: mounted(ref), Network: 2, ...more }),
    );
  const base = definition(image, sh("echo base > /base"));

  test("run a command with its streams apart, and what they write is lost with them", async () => {
    await inBuild({}, async (part) => {
      const ref = await solved(part, { Definition: base });
      await container(part, ref, { hostname: "looked" });
      const exec = new Exec(part);
      await exec.start("p", ["sh", "-c", "cat; cat /base >&2; echo $HERE; hostname; echo new > /base; exit 3"]);
      await exec.type("p", "typed\n");
      await exec.type("p", "", true);
      await exec.done();
      assert.equal(exec.told[0]?.case, "Started");
      assert.deepEqual([exec.output(1), exec.output(2), exec.exit], ["typed\n1\nlooked\n", "base\n", 3]);
      const read = create(ReadFileRequestSchema, { Ref: "c", FilePath: "/base" });
      const { Data } = await part.call(BRIDGE.readFileContainer, read);
      assert.equal(Buffer.from(Data).toString(), "new\n");
      const outside = create(ReadFileRequestSchema, { Ref: "c", FilePath: "/base", MountIndex: 1 });
      assert.match(await failure(part.call(BRIDGE.readFileContainer, outside)), /out of bounds \(1 available\)/);
      assert.equal(await text(part, ref, "/base"), "base\n");
      await part.call(BRIDGE.releaseContainer, create(ReleaseContainerRequestSchema, { ContainerID: "c" }));
      const again = create(ReleaseContainerRequestSchema, { ContainerID: "c" });
      assert.match(await failure(part.call(BRIDGE.releaseContainer, again)), /previously released or not created/);
      exec.cancel();
    });
  });

  test("have several processes, of which the first is theirs", async () => {
    await inBuild({}, async (part) => {
      await container(part, await solved(part, { Definition: base }));
      const exec = new Exec(part);
      await exec.start("first", ["sh", "-c", "echo up; exec sleep 1000"]);
      await exec.until(() => exec.output(1) === "up\n");
      const other = new Exec(part);
      await other.start("second", ["sh", "-c", "echo seen > /seen; cat /proc/1/cmdline; cat; exit 4"]);
      await other.type("second", "over\n", true);
      await other.done();
      assert.deepEqual([other.output(1), other.exit], ["sleep\u00001000\0over\n", 4]);
      await exec.send("first", { case: "Signal", value: { Name: "KILL" } });
      await exec.done();
      assert.equal(exec.exit, 137);
      const late = new Exec(part);
      await late.start("third", ["true"]);
      await late.done();
      assert.equal(late.exit, 255);
    });
  });

  test("have terminals with a size", async () => {
    await inBuild({}, async (part) => {
      await container(part, await solved(part, { Definition: base }));
      const exec = new Exec(part);
      await exec.start("p", ["sh"], { Tty: true, Fds: [0, 1] });
      await exec.send("p", { case: "Resize", value: { Rows: 33, Cols: 77 } });
      await exec.until(() => exec.output(1).includes("#"));
      await exec.type("p", "stty size; echo $TERM; exit 2\n");
      await exec.done();
      assert.match(exec.output(1), /33 77\r\nxterm\r\n/);
      assert.equal(exec.exit, 2);
    });
  });

  test("are refused what their build is not allowed, and what is none", async () => {
    await inBuild({}, async (part) => {
      const ref = await solved(part, { Definition: base });
      assert.match(await failure(container(part, ref, { Network: 1 })), /network\.host is not allowed/);
      assert.match(await failure(container(part, ref, { Network: 9 })), /no network 9/);
      assert.match(await failure(container(part, "result-9")), /no such ref/);
      assert.match(
        await failure(container(part, ref, { Mounts: [{ dest: "/", mountType: 4 }] })),
        /mount type TMPFS for \//,
      );
      await container(part, ref);
      assert.match(await failure(container(part, ref)), /already exists/);
      const exec = new Exec(part);
      await exec.start("p", ["true"], { Security: 1 });
      await exec.done();
      const [exit] = exec.told.flatMap((one) => (one.case === "Exit" ? [one.value] : []));
      assert.match(exit?.Error?.message ?? "", /security\.insecure is not allowed/);
      await exec.send("q", { case: "Signal", value: { Name: "KILL" } });
      assert.match(await failure(exec.ended), /IO for process "q" not found/);
    });
  });

  test("end with their client, in the middle of all that runs", async () => {
    const isRunning = () =>
      readdirSync("/proc").some((pid) => {
        try {
          return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8") === "sleep\u000098765\0";
        } catch {
          return false;
        }
      });
    const buildx = buildxClient(engine, {});
    const taking = buildx.takePart({ isInternal: true }, async (part) => {
      await container(part, await solved(part, { Definition: base }));
      const exec = new Exec(part);
      await exec.start("p", ["sh", "-c", "yes & exec sleep 98765"]);
      await exec.until(() => exec.output(1).length > 1000);
      assert.ok(isRunning());
      // Dies, without a word.
      await buildx[Symbol.asyncDispose]();
      await exec.ended;
      return undefined;
    });
    await taking.catch(() => {});
    while (isRunning()) await delay(20);
    while (readdirSync(join(engine.execRoot, "build/writable")).length > 0) await delay(20);
    assert.equal((await engine.request("GET", "/_ping")).status, 200);
  });

  test("show a command as it failed, by what its error tells", async () => {
    await inBuild({}, async (part) => {
      const failing = definition(image, sh("echo left > /left; exit 9"));
      let details: readonly { readonly typeUrl: string; readonly value: Uint8Array }[] = [];
      try {
        await solved(part, { Definition: failing, Evaluate: true });
      } catch (error) {
        details = toGrpcError(error).details;
      }
      const found = details.find(({ typeUrl }) => typeUrl.endsWith("errdefs.Solve+json"));
      const { inputIDs, mountIDs, op } = JSON.parse(Buffer.from(found!.value).toString());
      assert.deepEqual(op.exec.meta.args, ["/bin/sh", "-c", "echo left > /left; exit 9"]);
      assert.equal(await text(part, mountIDs[0], "/left"), "left\n");
      assert.match(await failure(text(part, inputIDs[0], "/left")), /no such file/);
      await container(part, mountIDs[0]);
      const exec = new Exec(part);
      await exec.start("p", ["cat", "/left"]);
      await exec.done();
      assert.deepEqual([exec.output(1), exec.exit], ["left\n", 0]);
    });
  });
});
