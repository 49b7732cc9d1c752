import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createReadStream, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { after, describe, it } from "node:test";
import fc from "fast-check";
import { isKind, messageOf } from "../../base/errors.ts";
import type { TarEntry } from "./entry.ts";
import { readBody, readTar } from "./reader.ts";
import { encodeHeader, type TarInput, type TarOutput, writeTar } from "./writer.ts";

type Member = { entry: TarEntry; body: string };

async function members(archive: Uint8Array, slice = archive.length): Promise<Member[]> {
  const all: Member[] = [];
  const chunks = async function* () {
    for (let at = 0; at < archive.length; at += slice) yield archive.subarray(at, at + slice);
  };
  for await (const member of readTar(chunks()))
    all.push({ entry: member.entry, body: (await readBody(member, 1 << 26)).toString("latin1") });
  return all;
}

const pack = async (outputs: Iterable<TarOutput>): Promise<Buffer> => buffer(writeTar(outputs));

const bytesName = fc
  .tuple(
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 120 }),
    fc.constantFrom("", "\udcff", "é", "/deep".repeat(30)),
  )
  .map(([a, b]) => `${a}${b}`.replaceAll("\0", "_").replace(/\/+$/, "x"));
const id = fc.oneof(fc.nat(70_000), fc.constantFrom(2_097_151, 2_097_152, 4_294_967_294));
const input = fc.record({
  name: bytesName,
  type: fc.constantFrom("file", "symlink", "hardlink", "directory", "fifo", "character", "block"),
  linkName: bytesName,
  mode: fc.nat(0o7777),
  uid: id,
  gid: id,
  userName: fc.constantFrom("", "root", "ü", "a".repeat(40)),
  mtime: fc.record(
    { seconds: fc.maxSafeInteger().map((n) => n % 2 ** 34), nanoseconds: fc.nat(999_999_999) },
    { noNullPrototype: true },
  ),
  device: fc.record({ major: fc.nat(4095), minor: fc.nat(1_048_575) }),
  xattrs: fc.dictionary(fc.constantFrom("user.a", "security.capability", "user.x=y"), fc.uint8Array({ maxLength: 40 })),
  body: fc.uint8Array({ maxLength: 1500 }),
});

describe("the tar codec", () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-tar-"));
  after(() => rmSync(root, { recursive: true, force: true }));
  const archivePath = join(root, "archive.tar");

  it("gives back whatever it wrote, however the bytes are cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(input, { maxLength: 6 }), fc.integer({ min: 1, max: 2000 }), async (rows, slice) => {
        const inputs = rows.map((row): { entry: TarInput; body: Uint8Array } => {
          const type = row.type as TarEntry["type"];
          const device = type === "character" || type === "block" ? row.device : { major: 0, minor: 0 };
          const body = type === "file" ? row.body : new Uint8Array(0);
          const linkName = type === "symlink" || type === "hardlink" ? row.linkName : "";
          // Only keys that a PAX record can carry: it ends a key at the first "=".
          const xattrs = new Map(Object.entries(row.xattrs).filter(([name]) => !name.includes("=")));
          const { name, mode, uid, gid, userName, mtime } = row;
          return {
            entry: { name, type, linkName, mode, uid, gid, userName, mtime, ...device, xattrs, size: body.length },
            body,
          };
        });
        const archive = await pack(inputs.map(({ entry, body }) => ({ entry, body: [body] })));
        assert.equal(archive.length % 512, 0);
        const read = await members(archive, slice);
        assert.equal(read.length, inputs.length);
        for (const [at, { entry, body }] of inputs.entries()) {
          const got = read[at]!;
          const { xattrs, groupName, ...rest } = got.entry;
          const { xattrs: given, ...wanted } = entry;
          assert.deepEqual(rest, { ...wanted, name: entry.type === "directory" ? `${entry.name}/` : entry.name });
          assert.equal(groupName, "");
          assert.deepEqual(
            [...xattrs].map(([k, v]) => [k, [...v]]).sort(),
            [...given!].map(([k, v]) => [k, [...v]]).sort(),
          );
          assert.equal(got.body, Buffer.from(body).toString("latin1"));
        }
      }),
      { numRuns: 60 },
    );
  });

  for (const format of ["v7", "ustar", "oldgnu", "gnu", "posix"])
    it(`reads what GNU tar writes as ${format}`, async () => {
      const dir = join(root, format);
      const long = format === "v7" ? "short" : `${"d".repeat(80)}/${"e".repeat(80)}`;
      mkdirSync(join(dir, long), { recursive: true });
      writeFileSync(join(dir, long, "file"), "contents");
      execFileSync(
        "sh",
        [
          "-ec",
          `ln -s target link; touch -d @1700000000.123456789 file; ln file hard; chmod 4711 file; ${format === "v7" ? "" : "mkfifo fifo"}`,
        ],
        { cwd: dir },
      );
      execFileSync("tar", ["-C", dir, `--format=${format}`, "--sort=name", "-cf", archivePath, "."]);
      const rows = await members(readFileSync(archivePath), 1000);
      const one = (name: string) => rows.find(({ entry }) => entry.name === name)!;
      assert.equal(one(`./${long}/file`).body, "contents");
      assert.equal(one("./link").entry.linkName, "target");
      assert.deepEqual([one("./hard").entry.type, one("./hard").entry.linkName], ["hardlink", "./file"]);
      assert.equal(one("./file").entry.mode, 0o4711);
      assert.deepEqual(one("./file").entry.mtime, {
        seconds: 1_700_000_000,
        nanoseconds: format === "posix" ? 123_456_789 : 0,
      });
      if (format !== "v7") assert.equal(one("./fifo").entry.type, "fifo");
      assert.equal(one("./").entry.type, "directory");
    });

  for (const options of [
    ["--format=gnu"],
    ...["0.0", "0.1", "1.0"].map((v) => ["--format=posix", `--sparse-version=${v}`]),
  ])
    it(`reads GNU tar's sparse files: ${options.join(" ")}`, async () => {
      const path = join(root, "sparse");
      execFileSync("sh", [
        "-ec",
        `rm -f "$0"; truncate -s 8M "$0"; for n in $(seq 0 59); do printf x$n | dd of="$0" bs=1 seek=$((n*131072+5)) conv=notrunc status=none; done`,
        path,
      ]);
      execFileSync("tar", ["-C", root, ...options, "--hole-detection=raw", "-S", "-cf", archivePath, "sparse"]);
      assert.ok(statSync(archivePath).size < 600_000);
      const [member] = await members(readFileSync(archivePath), 700);
      assert.equal(member!.entry.name, "sparse");
      assert.ok(member!.entry.sparse!.length > 40);
      assert.equal(member!.body, readFileSync(path, "latin1"));
    });

  it("writes what GNU tar reads: long names, times, attributes, sparse files", async () => {
    const out = join(root, "out");
    mkdirSync(out);
    const long = `${"n".repeat(120)}é/${"m".repeat(150)}`;
    writeFileSync(
      archivePath,
      await pack([
        { entry: { name: "dir", type: "directory", mode: 0o750, mtime: { seconds: 5, nanoseconds: 7 } } },
        {
          entry: {
            name: long,
            type: "file",
            size: 5,
            uid: 3_000_000,
            xattrs: new Map([["user.k", Buffer.from("v")]]),
            mtime: { seconds: 1_600_000_000, nanoseconds: 120_000_000 },
          },
          body: [Buffer.from("hello")],
        },
        { entry: { name: "link", type: "symlink", linkName: "x".repeat(200) } },
        {
          entry: { name: "hole", type: "file", size: 1_000_000, sparse: [{ offset: 4096, length: 3 }] },
          body: [Buffer.from("abc")],
        },
      ]),
    );
    const { stderr, status } = spawnSync("tar", ["-C", out, "--xattrs", "-xpf", archivePath], { encoding: "utf8" });
    assert.deepEqual([stderr, status], ["", 0]);
    assert.equal(readFileSync(join(out, long), "utf8"), "hello");
    const stat = statSync(join(out, long), { bigint: true });
    assert.deepEqual([stat.uid, stat.mtimeNs], [3_000_000n, 1_600_000_000_120_000_000n]);
    assert.equal(statSync(join(out, "dir"), { bigint: true }).mtimeNs, 5_000_000_007n);
    const hole = readFileSync(join(out, "hole"));
    assert.deepEqual([hole.length, hole.subarray(4096, 4099).toString()], [1_000_000, "abc"]);
    assert.ok(statSync(join(out, "hole")).blocks < 100);
  });

  it("refuses what is broken or hostile", async () => {
    const good = await pack([{ entry: { name: "a", type: "file", size: 600 }, body: [Buffer.alloc(600, 1)] }]);
    const patched = (at: number, text: string): Buffer => {
      const bytes = Buffer.from(good);
      bytes.write(text, at, "latin1");
      const sum = bytes
        .subarray(0, 512)
        .reduce((all, byte, index) => all + (index >= 148 && index < 156 ? 32 : byte), 0);
      bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
      return bytes;
    };
    const extended = (records: string, flag = "x"): Buffer => {
      const head = encodeHeader({ name: "p", type: "file", size: records.length });
      head.write(flag, 156, "latin1");
      const sum = head.reduce((all, byte, index) => all + (index >= 148 && index < 156 ? 32 : byte), 0);
      head.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
      return Buffer.concat([head, Buffer.from(records.padEnd(Math.ceil(records.length / 512) * 512, "\0")), good]);
    };
    const checksum = Buffer.from(good);
    checksum[0] = 0x62;
    const rows: [string, Buffer, RegExp][] = [
      ["a wrong checksum", checksum, /invalid tar header: checksum/],
      ["a header cut short", good.subarray(0, 300), /^unexpected EOF$/],
      ["data cut short", good.subarray(0, 1000), /^unexpected EOF$/],
      ["an extended header with nothing after", extended("11 path=ab\n").subarray(0, 1024), /^unexpected EOF$/],
      ["digits that are none", patched(124, "0000000x000"), /invalid tar header: size/],
      ["a negative size", patched(124, `${"\xff".repeat(11)}\xf0`), /invalid tar header: size/],
      ["a size past all numbers", patched(124, `\x80\x7f${"\xff".repeat(10)}`), /invalid tar header: size/],
      ["a type nobody knows", patched(156, "Z"), /unhandled type 90/],
      ["a huge extended header", patched(156, "x").fill(Buffer.from("00077777777\0"), 124, 136), /checksum/],
      ["a record longer than the header", extended("99 path=ab\n"), /extended header/],
      ["a record without its line end", extended("11 path=abc"), /extended header/],
      ["a record without a key", extended("6 =ab\n"), /extended header/],
      ["a name with NUL", extended("12 path=a\0b\n"), /path/],
      ["a size in words", extended("12 size=ten\n"), /size/],
      [
        "a sparse map past the end",
        extended("22 GNU.sparse.size=5\n".replace("22", "21") + "25 GNU.sparse.map=0,600\n".replace("25", "24")),
        /sparse map/,
      ],
      ["a lone zero block", Buffer.concat([Buffer.alloc(512), good]), /lone zero block/],
    ];
    const huge = encodeHeader({ name: "p", type: "file", size: 8 << 20 });
    huge.write("x", 156, "latin1");
    huge.write(
      `${huge
        .reduce((all, byte, index) => all + (index >= 148 && index < 156 ? 32 : byte), 0)
        .toString(8)
        .padStart(6, "0")}\0 `,
      148,
      "latin1",
    );
    rows.push(["a pax header of 8 MiB", huge, /too long/]);
    for (const [what, archive, message] of rows)
      await assert.rejects(
        members(archive),
        (error) => isKind(error, "invalid") && message.test(messageOf(error)),
        what,
      );
  });

  it("never throws anything but invalid on random damage", async () => {
    const good = await pack([
      {
        entry: { name: "x".repeat(200), type: "file", size: 3, xattrs: new Map([["user.a", Buffer.from("b")]]) },
        body: [Buffer.from("abc")],
      },
      {
        entry: { name: "s", type: "file", size: 9000, sparse: [{ offset: 10, length: 3 }] },
        body: [Buffer.from("abc")],
      },
    ]);
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), async (at, value, cut) => {
        const bytes = Buffer.from(good.subarray(0, cut));
        if (at < cut) bytes[at] = value;
        await members(bytes).catch((error) => assert.ok(isKind(error, "invalid"), String(error)));
      }),
      { numRuns: 300 },
    );
  });

  it("passes over what is not read, and closes the source when left early", async () => {
    const archive = await pack(
      ["a", "b", "c"].map((name) => ({
        entry: { name, type: "file", size: 100_000 } as const,
        body: [Buffer.alloc(100_000, name)],
      })),
    );
    writeFileSync(archivePath, archive);
    const source = createReadStream(archivePath);
    const closed = new Promise<void>((resolve) => source.once("close", () => resolve()));
    for await (const { entry, body } of readTar(source)) {
      if (entry.name === "b")
        for await (const chunk of body) {
          assert.equal(chunk[0], 0x62);
          break;
        }
      if (entry.name === "c") break;
    }
    await closed;
  });
});
