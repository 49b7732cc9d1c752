import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { type TarOutput, writeTar } from "../../oci/tar/writer.ts";
import { readContext, writeContext } from "./archive.ts";
import { ContextStore, checkContextName } from "./store.ts";

const META = {
  Name: "one",
  Metadata: { Description: "d", Own: { x: 1 } },
  Endpoints: { docker: { Host: "tcp://h:1", SkipTLSVerify: true } },
};

function member(name: string, text: string): TarOutput {
  const body = Buffer.from(text);
  return { entry: { name, type: "file", size: body.length }, body: [body] };
}

/** A zip archive of one or more files, deflated. */
function zip(files: Readonly<Record<string, string>>): Buffer {
  const parts: Buffer[] = [];
  const entries: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(files)) {
    const packed = deflateRawSync(Buffer.from(text));
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(8, 8);
    local.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(8, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(text.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(offset, 42);
    parts.push(local, Buffer.from(name), packed);
    entries.push(entry, Buffer.from(name));
    offset += 30 + name.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, ...entries, end]);
}

async function* chunks(...data: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* data;
}

test("a context that is written and read again is the same, under its new name", async () => {
  const tls = { docker: { "ca.pem": Buffer.from("CA"), "key.pem": Buffer.from("KEY") } };
  const read = await readContext(writeContext(META, tls), "two");
  assert.deepEqual(read, { meta: { ...META, Name: "two" }, tls });
});

test("a zip archive is read as a tar archive is", async () => {
  const archive = zip({ "meta.json": JSON.stringify(META), "tls/docker/ca.pem": "CA" });
  const { meta, tls } = await readContext(chunks(archive), "two");
  assert.equal(meta.Name, "two");
  assert.equal(String(tls.docker?.["ca.pem"]), "CA");
});

const META_TEXT = JSON.stringify(META);
const HOSTILE: readonly (readonly [string, readonly TarOutput[], RegExp])[] = [
  [
    "a path that climbs out",
    [member("meta.json", META_TEXT), member("tls/docker/../../../x", "")],
    /unexpected path format/,
  ],
  ["an absolute path", [member("/etc/passwd", "x")], /unexpected path format/],
  ["a file that is none of a context's", [member("bin/sh", "x")], /unexpected context file/],
  ["a file too deep", [member("tls/a/b/c", "x")], /unexpected context file/],
  ["a link", [{ entry: { name: "meta.json", type: "symlink", linkName: "/etc/passwd" } }], /unexpected context file/],
  ["no metadata", [member("tls/docker/ca.pem", "x")], /no metadata found/],
  ["metadata that is no object", [member("meta.json", "[]")], /it is no object/],
  ["a host that is no text", [member("meta.json", '{"Endpoints":{"docker":{"Host":1}}}')], /Host is no string/],
  ["more than is allowed", [member("meta.json", "x".repeat(11 * 1024 * 1024))], /10 MiB/],
];

for (const [what, members, expected] of HOSTILE) {
  test(`an archive with ${what} is refused`, async () => {
    await assert.rejects(readContext(writeTar(members), "two"), { message: expected });
  });
}

test("a zip archive that lies about its sizes is refused", async () => {
  const bomb = zip({ "meta.json": "x".repeat(9_000_000) });
  bomb.writeUInt32LE(10, bomb.indexOf(Buffer.from([0x50, 0x4b, 0x01, 0x02])) + 24);
  await assert.rejects(readContext(chunks(bomb), "two"), /not a valid zip file/);
  for (const size of [5, 30, 100]) await assert.rejects(readContext(chunks(bomb.subarray(0, size)), "two"));
});

test("hostile names of contexts are refused", () => {
  for (const name of ["", "default", "../x", "a/b", "-x", ".x", "x", "a b", "a\n", "é1"]) {
    assert.throws(() => checkContextName(name), { kind: "invalid" }, JSON.stringify(name));
  }
  checkContextName("a.b_c+d-1");
});

test("the store keeps keys from others, lists by name and passes over what is damaged", () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-contexts-"));
  try {
    const store = new ContextStore(folder);
    assert.deepEqual(store.list(), []);
    store.write({ ...META, Name: "zz" });
    store.write(META, { docker: { "key.pem": Buffer.from("K") } });
    assert.deepEqual(
      store.list().map((context) => context.Name),
      ["one", "zz"],
    );
    const key = join(store.tlsFolder("one"), "docker/key.pem");
    assert.equal(statSync(key).mode & 0o777, 0o600);
    assert.deepEqual(store.tlsNames("one"), { docker: ["key.pem"] });
    assert.deepEqual(readdirSync(store.metaFolder("one")), ["meta.json"]);
    assert.throws(() => store.read("none"), /context "none": context not found: open .*: no such file or directory/);
    store.remove("one");
    assert.equal(store.has("one"), false);
    assert.equal(statSync(key, { throwIfNoEntry: false }), undefined);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
