import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { crc32, deflateRawSync, deflateSync } from "node:zlib";
import { formatPurl } from "../purl.ts";
import { SCAN_LIMITS, scanPackages, writeDigests } from "./scanner.ts";

type Files = Readonly<Record<string, string | Buffer>>;

function rootOf(t: TestContext, files: Files): string {
  const root = mkdtempSync(join(tmpdir(), "gantry-scan-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  for (const [name, contents] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), contents);
    if (contents instanceof Buffer) chmodSync(join(root, name), 0o755);
  }
  return root;
}

/** Of the subjects in a list. */
function namesOf(list: string): string[] {
  return (JSON.parse(list) as { readonly name: string }[]).map(({ name }) => name);
}

/** What is found, as purls with licences, sorted. */
function found(t: TestContext, files: Files): string[] {
  const { notes, packages } = scanPackages(rootOf(t, files));
  assert.deepEqual(notes, []);
  return packages
    .map((one) => `${formatPurl(one)}${one.licence === undefined ? "" : ` ${one.licence}`} ${one.path}`)
    .sort();
}

test("finds what dpkg has installed, with its licences, and not what it only remembers", (t) => {
  const status = [
    "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.0~x-1\n",
    "Package: b\nStatus: deinstall ok config-files\nVersion: 1\n",
  ].join("\n");
  const copyright = [
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
    "",
    "Files: *",
    "License: GPL-2+",
    " text",
    "",
    "License: MIT or BSD",
  ].join("\n");
  assert.deepEqual(
    found(t, {
      "etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
      "usr/share/doc/a/copyright": copyright,
      "var/lib/dpkg/status": status,
      "var/lib/dpkg/status.d/c": "Package: c\nVersion: 3\n",
      "var/lib/dpkg/status.d/c.md5sums": "00 /x\n",
    }),
    [
      "pkg:deb/debian/a@1:2.0~x-1?arch=amd64&distro=debian-12 GPL-2+ AND (MIT or BSD) /var/lib/dpkg/status",
      "pkg:deb/debian/c@3?distro=debian-12 /var/lib/dpkg/status.d/c",
    ],
  );
});

test("finds what apk has installed", (t) => {
  assert.deepEqual(
    found(t, {
      "etc/os-release": "ID=alpine\nVERSION_ID=3.20\n",
      "lib/apk/db/installed":
        "C:Q1x\nP:musl-utils\nV:1.2-r0\nA:x86_64\nL:MIT AND GPL-2.0-or-later\no:musl\nF:usr\nR:x\n\n",
    }),
    [
      "pkg:apk/alpine/musl-utils@1.2-r0?arch=x86_64&distro=alpine-3.20&upstream=musl MIT AND GPL-2.0-or-later /lib/apk/db/installed",
    ],
  );
});

/** A header as rpm's databases have it. */
function rpmHeader(values: Readonly<Record<number, string | number>>): Buffer {
  const rows: Buffer[] = [];
  const store: Buffer[] = [];
  let at = 0;
  for (const [tag, value] of Object.entries(values)) {
    const bytes = typeof value === "string" ? Buffer.from(`${value}\0`) : Buffer.alloc(4);
    if (typeof value === "number") bytes.writeUInt32BE(value);
    const row = Buffer.alloc(16);
    for (const [index, field] of [Number(tag), typeof value === "string" ? 6 : 4, at, 1].entries()) {
      row.writeUInt32BE(field, index * 4);
    }
    rows.push(row);
    store.push(bytes);
    at += bytes.length;
  }
  const head = Buffer.alloc(8);
  head.writeUInt32BE(rows.length, 0);
  head.writeUInt32BE(at, 4);
  return Buffer.concat([head, ...rows, ...store]);
}

function rpmRoot(t: TestContext, table: string): string {
  const root = rootOf(t, { "etc/os-release": "ID=fedora\nVERSION_ID=40\n", "usr/lib/sysimage/rpm/x": "" });
  mkdirSync(join(root, "var/lib"), { recursive: true });
  symlinkSync("../../usr/lib/sysimage/rpm", join(root, "var/lib/rpm"));
  using database = new DatabaseSync(join(root, "var/lib/rpm/rpmdb.sqlite"));
  database.exec(table);
  if (/^CREATE TABLE/.test(table)) {
    const insert = database.prepare("INSERT INTO Packages (blob) VALUES (?)");
    insert.run(
      rpmHeader({ 1000: "bash", 1001: "5.2", 1002: "1.fc40", 1003: 2, 1014: "GPL-3.0-or-later", 1022: "x86_64" }),
    );
    insert.run(rpmHeader({ 1000: "gpg-pubkey", 1001: "1" }));
    insert.run(Buffer.from("ffffffff00000000", "hex"));
  }
  return root;
}

test("finds what rpm has installed where its database is SQLite's, and notes what it can't read", (t) => {
  const root = rpmRoot(t, "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)");
  const { notes, packages } = scanPackages(root);
  assert.deepEqual(notes, []);
  assert.deepEqual(packages.map(formatPurl), ["pkg:rpm/fedora/bash@5.2-1.fc40?arch=x86_64&distro=fedora-40&epoch=2"]);
  const endless = "WITH RECURSIVE n(blob) AS (SELECT 1 UNION ALL SELECT blob + 1 FROM n) SELECT blob FROM n";
  const hostile = scanPackages(rpmRoot(t, `CREATE VIEW Packages AS ${endless}`));
  assert.deepEqual(hostile.packages, []);
  assert.match(hostile.notes[0]!, /rpmdb\.sqlite could not be read: its table is none of rpm's/);
  const old = scanPackages(rootOf(t, { "var/lib/rpm/Packages": "x" }));
  assert.match(old.notes[0]!, /Packages could not be read: it is cut off/);
});

test("finds packages of languages", (t) => {
  const lock = { lockfileVersion: 3, packages: { "": { name: "own" }, "node_modules/@a/b": { version: "2.0.0" } } };
  const composer = { packages: [{ name: "sym/fony", version: "v7", license: ["MIT", "ISC"] }] };
  assert.deepEqual(
    found(t, {
      "app/node_modules/left/package.json": '{"name":"left","version":"1.0.0","license":{"type":"MIT"}}',
      "app/node_modules/left/lib/package.json": '{"name":"inner","version":"1.0.0"}',
      "app/node_modules/broken/package.json": "{",
      "app/package-lock.json": JSON.stringify(lock),
      "app/vendor/composer/installed.json": JSON.stringify(composer),
      "app/Cargo.lock": 'version = 3\n\n[[package]]\nname = "serde"\nversion = "1.0.1"\n',
      "gems/specifications/rake-13.gemspec":
        'Gem::Specification.new do |s|\n  s.name = "rake".freeze\n  s.version = "13.0"\n  s.licenses = ["MIT".freeze]\nend\n',
      "py/Zope.Interface-5.dist-info/METADATA":
        "Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 5.0\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n\nName: no\n",
    }),
    [
      "pkg:cargo/serde@1.0.1 /app/Cargo.lock",
      "pkg:composer/sym/fony@v7 MIT OR ISC /app/vendor/composer/installed.json",
      "pkg:gem/rake@13.0 MIT /gems/specifications/rake-13.gemspec",
      "pkg:npm/%40a/b@2.0.0 /app/package-lock.json",
      "pkg:npm/left@1.0.0 MIT /app/node_modules/left/package.json",
      "pkg:pypi/zope-interface@5.0 MIT License /py/Zope.Interface-5.dist-info/METADATA",
    ],
  );
});

/** A program of one section. */
function elf(name: string, contents: Buffer): Buffer {
  const names = Buffer.from(`\0${name}\0.shstrtab\0`);
  const head = Buffer.alloc(64);
  head.write("\x7fELF\x02\x01\x01", "latin1");
  const table = 64 + contents.length + names.length;
  head.writeBigUInt64LE(BigInt(table), 40);
  head.writeUInt16LE(64, 58);
  head.writeUInt16LE(3, 60);
  head.writeUInt16LE(2, 62);
  const row = (nameAt: number, offset: number, size: number): Buffer => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32LE(nameAt, 0);
    bytes.writeBigUInt64LE(BigInt(offset), 24);
    bytes.writeBigUInt64LE(BigInt(size), 32);
    return bytes;
  };
  const rows = [row(0, 0, 0), row(1, 64, contents.length), row(name.length + 2, 64 + contents.length, names.length)];
  return Buffer.concat([head, contents, names, ...rows]);
}

test("finds what programs of Go and Rust were made of", (t) => {
  const mark = Buffer.alloc(16, 1);
  const info =
    "path\tx\nmod\texample.com/app\tv1.0.0\th1:x\ndep\texample.com/old\tv1.1.0\n=>\texample.com/new\tv1.2.0\th1:y\n";
  const text = Buffer.concat([mark, Buffer.from(info), mark]);
  const version = Buffer.from("go1.22");
  const go = Buffer.concat([
    Buffer.from("\xff Go buildinf:\x08\x02", "latin1"),
    Buffer.alloc(16),
    Buffer.from([version.length]),
    version,
    Buffer.from([(text.length & 0x7f) | 0x80, text.length >> 7]),
    text,
  ]);
  const crates = {
    packages: [
      { name: "libc", version: "0.2.1" },
      { name: "cc", version: "1.0.0", kind: "build" },
    ],
  };
  const rust = deflateSync(JSON.stringify(crates));
  assert.deepEqual(
    found(t, {
      "bin/go": elf(".go.buildinfo", go),
      "bin/rust": elf(".dep-v0", rust),
      "bin/cut": elf(".dep-v0", rust).subarray(0, 100),
    }),
    [
      "pkg:cargo/libc@0.2.1 /bin/rust",
      "pkg:golang/example.com/app@v1.0.0 /bin/go",
      "pkg:golang/example.com/new@v1.2.0 /bin/go",
    ],
  );
});

/** A zip of deflated members. */
function zip(files: Files): Buffer {
  const parts: Buffer[] = [];
  const index: Buffer[] = [];
  let at = 0;
  for (const [name, contents] of Object.entries(files)) {
    const plain = Buffer.from(contents);
    const packed = deflateRawSync(plain);
    const head = Buffer.alloc(30);
    head.writeUInt32LE(0x04034b50, 0);
    head.writeUInt16LE(8, 8);
    head.writeUInt32LE(crc32(plain), 14);
    head.writeUInt16LE(name.length, 26);
    const row = Buffer.alloc(46);
    row.writeUInt32LE(0x02014b50, 0);
    row.writeUInt16LE(8, 10);
    row.writeUInt32LE(packed.length, 20);
    row.writeUInt32LE(plain.length, 24);
    row.writeUInt16LE(name.length, 28);
    row.writeUInt32LE(at, 42);
    index.push(row, Buffer.from(name));
    const member = Buffer.concat([head, Buffer.from(name), packed]);
    parts.push(member);
    at += member.length;
  }
  const rows = Buffer.concat(index);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(rows.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, rows, end]);
}

test("finds what Java archives have, and those in them", (t) => {
  const inner = zip({ "META-INF/maven/g/a/pom.properties": "groupId=org.example\nartifactId=a\nversion=1.5\n" });
  const outer = zip({
    "META-INF/MANIFEST.MF":
      "Manifest-Version: 1.0\r\nImplementation-Version: 2.\r\n 0\r\nBundle-License: Apache-2.0\r\n\r\n",
    "BOOT-INF/lib/a.jar": inner,
  });
  assert.deepEqual(found(t, { "opt/app.jar": outer, "opt/none.jar": "PK" }), [
    "pkg:maven/app/app@2.0 Apache-2.0 /opt/app.jar",
    "pkg:maven/org.example/a@1.5 /opt/app.jar!/BOOT-INF/lib/a.jar",
  ]);
});

test("is led out of its root by nothing, and waits for nothing", (t) => {
  const outside = rootOf(t, {
    "node_modules/secret/package.json": '{"name":"secret","version":"1.0.0"}',
    status: "Package: x\nVersion: 1\n",
  });
  const root = rootOf(t, { "var/lib/dpkg/x": "" });
  symlinkSync(join(outside, "status"), join(root, "var/lib/dpkg/status"));
  symlinkSync(join(outside, "node_modules"), join(root, "node_modules"));
  symlinkSync("/", join(root, "loop"));
  mkdirSync(join(root, "node_modules2/node_modules/fifo"), { recursive: true });
  execFileSync("mkfifo", [join(root, "node_modules2/node_modules/fifo/package.json"), join(root, "etc-fifo")]);
  assert.deepEqual(scanPackages(root).packages, []);
  const list = join(outside, "list");
  const size = writeDigests(root, list);
  const text = readFileSync(list, "utf8");
  assert.deepEqual([text.length, namesOf(text)], [size, ["var/lib/dpkg/x"]]);
});

test("tells all files, however many they are, in the order of their names", (t) => {
  const names = Array.from({ length: 12_000 }, (_, index) => `d${index % 7}/${"n".repeat(60)}${index}-ü"`);
  const root = rootOf(t, Object.fromEntries(names.map((name) => [name, name])));
  const list = join(rootOf(t, {}), "list");
  const size = writeDigests(root, list);
  const bytes = readFileSync(list);
  // More than is written at once.
  assert.ok(size > 1 << 20 && bytes.length === size);
  assert.deepEqual(namesOf(bytes.toString()), names.toSorted());
  assert.throws(() => writeDigests(root, list), { code: "EEXIST" });
});

test("says what it left out of what is too much", (t) => {
  const one = (name: string): Files => ({ [`node_modules/${name}/package.json`]: `{"name":"${name}","version":"1"}` });
  const root = rootOf(t, { ...one("a"), ...one("b"), ...one("c"), "var/lib/dpkg/status": "x".repeat(100) });
  const few = scanPackages(root, { ...SCAN_LIMITS, packages: 2 });
  assert.equal(few.packages.length, 2);
  assert.deepEqual(few.notes, ["only the first 2 packages are told"]);
  const flat = scanPackages(root, { ...SCAN_LIMITS, depth: 2 });
  assert.deepEqual(flat.packages, []);
  assert.match(flat.notes.join(), /is too deep to be looked into/);
  assert.match(scanPackages(root, { ...SCAN_LIMITS, entries: 3 }).notes.join(), /only the first 3 files and folders/);
  assert.match(scanPackages(root, { ...SCAN_LIMITS, text: 10 }).notes.join(), /status: it is longer than 10 bytes/);
});
