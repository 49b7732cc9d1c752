import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type TarEntry, tarOf } from "../archive.ts";
import { startEngine, type TestEngine } from "../engine.ts";

const PRIZE = "prize-of-the-host";
/** More than any disk of a machine that runs tests has. */
const LARGE = 2 ** 50;
const MOST_MEMORY_MB = 400;

let engine: TestEngine;
let victim = "";
before(async () => {
  engine = await startEngine();
  victim = join(engine.root, "victim");
  mkdirSync(victim);
  writeFileSync(join(victim, "prize"), PRIZE);
});
after(() => engine?.[Symbol.asyncDispose]());

function build(archive: Uint8Array) {
  return engine.request("POST", "/build?nocache=1&t=made", archive, { "Content-Type": "application/x-tar" });
}

/** What a build says that ADDs this archive to /d, and what is there then. */
async function added(archive: Uint8Array, look = "ls -A /d"): Promise<{ text: string; error: string | undefined }> {
  const { status, text } = await build(
    tarOf([
      { name: "Dockerfile", body: `FROM busybox\nADD in.tar /d/\nRUN ${look}\n` },
      { name: "in.tar", body: archive },
    ]),
  );
  assert.equal(status, 200, text);
  return { text, error: errorOf(text) };
}

/** What is said of this archive as a context. */
async function taken(archive: Uint8Array): Promise<string | undefined> {
  const dockerfile = tarOf([{ name: "Dockerfile", body: "FROM busybox\nCOPY . /d/\n" }]).subarray(0, -1024);
  const { status, text } = await build(Buffer.concat([dockerfile, archive]));
  return status === 200 ? errorOf(text) : (JSON.parse(text) as { message: string }).message;
}

function errorOf(text: string): string | undefined {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => (JSON.parse(line) as { error?: string }).error).find((error) => error !== undefined);
}

/** Nothing outside was touched, and the engine is not the larger for it. */
function assertUnharmed(): void {
  assert.deepEqual(readdirSync(victim), ["prize"]);
  assert.equal(readFileSync(join(victim, "prize"), "utf8"), PRIZE);
  const [, memory] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${engine.pid}/status`, "utf8")) ?? [];
  assert.ok(Number(memory) < MOST_MEMORY_MB << 10, `${memory} kB`);
}

const END = Buffer.alloc(1024);
/** A member with any type, size and fields of the GNU kind. */
function member(
  name: string,
  body: string | Buffer,
  { flag = "0", size = Buffer.byteLength(body), gnu = [] as Gnu[] } = {},
) {
  const header = Buffer.alloc(512);
  header.write(name, 0, 100);
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  writeNumber(header, size, 124);
  header.write("00000000000\0", 136);
  header.write(flag, 156);
  header.write("ustar  \0", 257);
  for (const [at, value] of gnu) writeNumber(header, value, at);
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const bytes = Buffer.from(body as string);
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}
type Gnu = readonly [at: number, value: number];

function writeNumber(header: Buffer, value: number, at: number): void {
  if (value < 8 ** 11) header.write(`${value.toString(8).padStart(11, "0")}\0`, at);
  else {
    header[at] = 0x80;
    header.writeBigUInt64BE(BigInt(value), at + 4);
  }
}

/** A pax header with these records. */
function pax(records: readonly (readonly [key: string, value: string])[]): Buffer {
  const texts = records.map(([key, value]) => {
    const rest = ` ${key}=${value}\n`;
    const length = rest.length + String(rest.length).length;
    return `${rest.length + String(length).length}${rest}`;
  });
  return member("pax", texts.join(""), { flag: "x" });
}

const SPARSE: readonly (readonly [what: string, of: (size: number) => Buffer])[] = [
  [
    "GNU's old format",
    (size) =>
      member("s", "abc", {
        flag: "S",
        gnu: [
          [386, 0],
          [398, 3],
          [483, size],
        ],
      }),
  ],
  [
    "pax 0.0",
    (size) =>
      Buffer.concat([
        pax([
          ["GNU.sparse.size", String(size)],
          ["GNU.sparse.numblocks", "1"],
          ["GNU.sparse.offset", "0"],
          ["GNU.sparse.numbytes", "3"],
        ]),
        member("s", "abc"),
      ]),
  ],
  [
    "pax 0.1",
    (size) =>
      Buffer.concat([
        pax([
          ["GNU.sparse.size", String(size)],
          ["GNU.sparse.map", "0,3"],
        ]),
        member("s", "abc"),
      ]),
  ],
  [
    "pax 1.0",
    (size) =>
      Buffer.concat([
        pax([
          ["GNU.sparse.major", "1"],
          ["GNU.sparse.minor", "0"],
          ["GNU.sparse.name", "s"],
          ["GNU.sparse.realsize", String(size)],
        ]),
        member("GNUSparseFile.0/s", `${"1\n0\n3\n".padEnd(512, "\0")}abc`),
      ]),
  ],
];

describe("a sparse file that says it is larger than the disk is one that fills it", () => {
  for (const [what, of] of SPARSE) {
    test(what, async () => {
      const archive = Buffer.concat([of(LARGE), END]);
      assert.equal((await added(archive)).error, "cannot extract s: no space left on device");
      assert.equal(await taken(archive), "cannot extract s: no space left on device");
      const small = await added(Buffer.concat([of(1 << 20), END]), "wc -c /d/s");
      assert.match(small.text, /1048576 \/d\/s/);
      assert.equal(await taken(Buffer.concat([of(1 << 20), END])), undefined);
      assertUnharmed();
    });
  }
});

const NOT_AN_ARCHIVE: readonly (readonly [what: string, archive: Buffer, says: RegExp])[] = [
  [
    "an extended header of megabytes",
    Buffer.concat([pax([["comment", "x".repeat(2 << 20)]]), member("f", "x")]),
    /invalid tar header/,
  ],
  ["one that says it has gigabytes", member("p", "x", { flag: "x", size: 2 ** 33 }), /invalid tar header/],
  [
    "a sparse map without end",
    Buffer.concat([
      pax([
        ["GNU.sparse.major", "1"],
        ["GNU.sparse.minor", "0"],
        ["GNU.sparse.name", "s"],
        ["GNU.sparse.realsize", "99999999"],
      ]),
      member("s", `99999999\n${"1\n0\n".repeat(500_000)}`),
    ]),
    /invalid tar header/,
  ],
  [
    "parts of a sparse file over each other",
    Buffer.concat([
      pax([
        ["GNU.sparse.size", "600"],
        ["GNU.sparse.map", "0,3,1,3"],
      ]),
      member("s", "abcdef"),
    ]),
    /invalid tar header/,
  ],
  ["a name with NUL", Buffer.concat([pax([["path", "a\0b"]]), member("f", "x")]), /invalid tar header/],
  [
    "an attribute without a name",
    Buffer.concat([pax([["SCHILY.xattr.", "x"]]), member("f", "x")]),
    /invalid tar header/,
  ],
  [
    "an attribute's name with NUL",
    Buffer.concat([pax([["SCHILY.xattr.user.a\0b", "x"]]), member("f", "x")]),
    /invalid tar header/,
  ],
];

describe("what is no archive is added as the file that it is, and is no context", () => {
  for (const [what, archive, says] of NOT_AN_ARCHIVE) {
    test(what, async () => {
      const { text, error } = await added(Buffer.concat([archive, END]));
      assert.equal(error, undefined);
      assert.match(text, /"stream":"in\.tar\\n"/);
      assert.match((await taken(Buffer.concat([archive, END]))) ?? "", says);
      assertUnharmed();
    });
  }
});

const xattr = (name: string, value: string): Buffer =>
  Buffer.concat([pax([[`SCHILY.xattr.${name}`, value]]), member("f", "x")]);
const REFUSED: readonly (readonly [what: string, archive: readonly TarEntry[] | Buffer, says: RegExp])[] = [
  ["a name of 100,000 characters", [{ name: "n".repeat(100_000), body: "x" }], /file name too long/],
  ["a path of 50,000 folders", [{ name: `${"d/".repeat(50_000)}f`, body: "x" }], /file name too long/],
  ["a link of 100,000 characters", [{ name: "l", type: "symlink", link: "x".repeat(100_000) }], /file name too long/],
  ["a hard link to what isn't there", [{ name: "l", type: "hardlink", link: "nowhere" }], /no such file/],
  ["a hard link to itself", [{ name: "l", type: "hardlink", link: "l" }], /no such file/],
  [
    "a hard link to a folder",
    [
      { name: "d/", type: "directory" },
      { name: "l", type: "hardlink", link: "d" },
    ],
    /not permitted/,
  ],
  ["a hard link to the root", [{ name: "l", type: "hardlink", link: "/" }], /invalid tar header/],
  [
    "a hard link that leads up",
    [{ name: "l", type: "hardlink", link: "../../../../../../etc/hostname" }],
    /is outside of/,
  ],
  ["a name that leads up", [{ name: "a/../../x", body: "x" }], /is outside of/],
  ["a name that is none", [{ name: "", body: "x" }], /no name of its own/],
  [
    "a file behind a link to itself",
    [
      { name: "l", type: "symlink", link: "l" },
      { name: "l/x", body: "x" },
    ],
    /too many links/,
  ],
  ["a file that is cut off", member("f", "x", { size: 2 ** 45 }), /unexpected EOF/],
  ["an attribute of 100,000 bytes", xattr("user.x", "x".repeat(100_000)), /invalid tar header/],
  ["an attribute's name of 300 characters", xattr(`user.${"x".repeat(300)}`, "x"), /invalid tar header/],
  ["capabilities that are none", xattr("security.capability", "junk"), /invalid argument/],
  [
    "an owner with too large a number",
    Buffer.concat([pax([["uid", "4294967295"]]), member("f", "x")]),
    /no owner has the number/,
  ],
];

describe("an archive that can't be unpacked fails its build in a sentence", () => {
  for (const [what, archive, says] of REFUSED) {
    test(what, async () => {
      const whole = archive instanceof Buffer ? Buffer.concat([archive, END]) : tarOf(archive as readonly TarEntry[]);
      const { error = "" } = await added(whole);
      assert.match(error, says);
      assert.match((await taken(whole)) ?? "", says);
      for (const said of [error, await taken(whole)])
        assert.ok((said?.length ?? 0) < 1000 && !said?.includes(engine.root), said);
      assertUnharmed();
    });
  }
});

test("attributes that would mean something to the layers' file system are not there", async () => {
  const archive = Buffer.concat([
    pax([["SCHILY.xattr.trusted.overlay.opaque", "y"]]),
    member("etc/", "", { flag: "5" }),
    pax([["SCHILY.xattr.trusted.overlay.redirect", victim]]),
    member("r/", "", { flag: "5" }),
    pax([["SCHILY.xattr.trusted.overlay.metacopy", ""]]),
    member("m", "data"),
    END,
  ]);
  const look = `ls /etc/passwd && cat /d/m; ls -A /d/r; cat /d/r/prize || true`;
  const { text, error } = await added(archive, look);
  assert.equal(error, undefined, text);
  assert.doesNotMatch(text, new RegExp(PRIZE));
  // What is put over the root's own folder hides nothing of it.
  const over = await build(
    tarOf([
      {
        name: "Dockerfile",
        body: "FROM busybox\nADD in.tar /\nRUN ls /etc/passwd\n",
      },
      { name: "in.tar", body: archive },
    ]),
  );
  assert.match(over.text, /"stream":"\/etc\/passwd\\n"/);
  // As a context it is the lower layer of a mount that can be written to.
  const context = await build(
    Buffer.concat([
      tarOf([
        {
          name: "Dockerfile",
          body: "FROM busybox\nRUN --mount=type=bind,target=/c,rw ls -A /c/r /c/etc; cat /c/m /c/r/prize; echo x > /c/r/new; true\n",
        },
      ]).subarray(0, -1024),
      archive,
    ]),
  );
  assert.equal(errorOf(context.text), undefined, context.text);
  assert.doesNotMatch(context.text, new RegExp(PRIZE));
  // The image is one that can be taken elsewhere.
  const file = join(engine.root, "made.tar");
  assert.equal((await engine.gantry("save", "-o", file, "made")).code, 0);
  assert.equal((await engine.gantry("rmi", "-f", "made")).code, 0);
  assert.equal((await engine.gantry("load", "-i", file)).code, 0);
  assertUnharmed();
});

test("a client that goes while a step unpacks a large archive takes the step with it", async () => {
  const [, of] = SPARSE[3]!;
  // Long to read, soon made.
  const archive = Buffer.concat([of(4 * 2 ** 30), END]);
  const socket = await engine.connection();
  const body = tarOf([
    { name: "Dockerfile", body: "FROM busybox\nADD in.tar /d/\nFROM busybox\nCOPY --from=0 /d/s /s\n" },
    { name: "in.tar", body: archive },
  ]);
  socket.write(
    `POST /build?nocache=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  socket.write(body);
  let told = "";
  await new Promise<void>((resolve, reject) => {
    socket.once("close", () => reject(new Error(told)));
    socket.on("data", (data: Buffer) => {
      told += data.toString();
      if (/COPY --from/.test(told)) resolve();
    });
  });
  socket.removeAllListeners("close").destroy();
  const isQuiet = async () => {
    const { json } = await engine.request("GET", "/gantry/build/history");
    return (json as { CompletedAt?: string }[]).every(({ CompletedAt = "" }) => CompletedAt !== "");
  };
  const deadline = Date.now() + 20_000;
  while (!(await isQuiet())) {
    assert.ok(Date.now() < deadline, "the build goes on without its client");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assertUnharmed();
});

test("nothing is left of any of them", async () => {
  await engine.gantry("image", "prune", "-af");
  await engine.gantry("builder", "prune", "-af");
  await engine.restart();
  const { json } = await engine.request("GET", "/system/df");
  assert.deepEqual([json.BuildCache ?? [], json.Images ?? []], [[], []]);
  const temporary = join(engine.dataRoot, "build/sources/temporary");
  assert.deepEqual(existsSync(temporary) ? readdirSync(temporary) : [], []);
  assert.deepEqual(readdirSync(join(engine.dataRoot, "content/ingest")), []);
});
