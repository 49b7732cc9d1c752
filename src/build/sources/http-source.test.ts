import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { sha256Of } from "../../oci/digest.ts";
import { folderRoots } from "../contexts/fake-session.fixture.ts";
import { DenyRanges } from "../deny-ranges.ts";
import type { HttpOperation } from "../graph.ts";
import { dispositionName, HttpSource, nameOf } from "./http-source.ts";

let root = "";
let server: Server;
let base = "";
let answer: RequestListener;
let asked: IncomingMessage[];
let source: HttpSource;

const MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT";
const settings = () => ({ proxies: { http: "", https: "", exceptions: "" }, silence: 5000, userAgent: "test/1" });

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "gantry-http-source-"));
  asked = [];
  answer = (_request, response) => response.end("hello\n");
  server = createServer((request, response) => {
    asked.push(request);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  source = await openSource();
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(root, { recursive: true, force: true });
});

async function openSource(mostBytes = 1 << 20): Promise<HttpSource> {
  const opened = new HttpSource({ root: join(root, "http"), roots: folderRoots(), settings, mostBytes });
  await opened.recover();
  return opened;
}

function resolve(
  operation: Partial<HttpOperation>,
  deny: readonly string[] = [],
  signal = new AbortController().signal,
) {
  return source.resolve(
    { kind: "http", url: `${base}/dir/file.txt`, ...operation },
    { deny: new DenyRanges(deny), signal },
  );
}

async function fetched(operation: Partial<HttpOperation> = {}) {
  const resolved = await resolve(operation);
  await using held = (await resolved.root())!;
  const folder = held.folder ?? "";
  const [name = "", ...more] = readdirSync(folder);
  assert.deepEqual(more, []);
  const path = join(folder, name);
  return {
    key: resolved.key,
    name,
    text: readFileSync(path, "utf8"),
    stat: statSync(path),
    digest: held.index?.digest(name),
  };
}

test("a file is fetched with its name, time and digest", async () => {
  answer = (_request, response) => response.setHeader("Last-Modified", MODIFIED).end("hello\n");
  const { digest, name, stat, text } = await fetched();
  assert.deepEqual([name, text, digest], ["file.txt", "hello\n", sha256Of("hello\n")]);
  assert.equal(stat.mtimeMs, Date.parse(MODIFIED));
  assert.equal(stat.mode & 0o7777, 0o600);
  answer = (_request, response) => response.end("hello\n");
  assert.equal((await fetched({ url: `${base}/other` })).stat.mtimeMs, 0, "without a time of its own it is of 1970");
});

test("mode and owner are those that are asked for, and count", async () => {
  const plain = await fetched();
  const { key, stat } = await fetched({ mode: 0o4755, uid: 5, gid: 6 });
  assert.deepEqual([stat.mode & 0o7777, stat.uid, stat.gid], [0o4755, 5, 6]);
  assert.notEqual(key, plain.key);
  assert.equal((await fetched()).key, plain.key);
});

test("what did not change is not sent again, also after a restart", async () => {
  answer = (request, response) => {
    response.setHeader("ETag", '"one"').setHeader("Last-Modified", MODIFIED);
    if (request.headers["if-none-match"] === '"one"') response.writeHead(304).end();
    else response.end("hello\n");
  };
  const first = await fetched();
  source = await openSource();
  const again = await fetched();
  assert.equal(again.key, first.key);
  assert.equal(again.text, "hello\n");
  assert.deepEqual(
    asked.map(({ headers }) => [headers["if-none-match"], headers["if-modified-since"]]),
    [
      [undefined, undefined],
      ['"one"', MODIFIED],
    ],
  );
  answer = (_request, response) => response.setHeader("ETag", '"two"').end("changed\n");
  const changed = await fetched();
  assert.notEqual(changed.key, first.key);
  assert.equal(changed.text, "changed\n");
});

test("a checksum of each kind is held, and asks nobody once the file is here", async () => {
  for (const algorithm of ["sha256", "sha384", "sha512"]) {
    const checksum = `${algorithm}:${createHash(algorithm).update("hello\n").digest("hex")}`;
    assert.equal((await fetched({ checksum })).text, "hello\n");
  }
  const before = asked.length;
  await fetched({ checksum: sha256Of("hello\n") });
  assert.equal(asked.length, before);
  const wrong = sha256Of("other");
  await assert.rejects(fetched({ checksum: wrong }), {
    kind: "invalid",
    message: `digest mismatch ${sha256Of("hello\n")}: ${wrong}`,
  });
  await assert.rejects(resolve({ checksum: "md5:00" }), { kind: "invalid" });
});

test("redirects are followed, credentials not to another server, and never for ever", async () => {
  answer = (request, response) => {
    if (request.url === "/dir/file.txt") response.writeHead(302, { Location: "/there" }).end();
    else response.end("there\n");
  };
  assert.equal((await fetched({ url: `${base.replace("//", "//user:pass@")}/dir/file.txt` })).text, "there\n");
  assert.equal(asked[1]?.headers.authorization, `Basic ${Buffer.from("user:pass").toString("base64")}`);
  const other = createServer((request, response) => response.end(String(request.headers.authorization)));
  await new Promise<void>((done) => other.listen(0, "127.0.0.1", done));
  try {
    const { port } = other.address() as AddressInfo;
    answer = (_request, response) => response.writeHead(302, { Location: `http://127.0.0.1:${port}/` }).end();
    assert.equal((await fetched({ url: `${base.replace("//", "//user:pass@")}/x` })).text, "undefined");
  } finally {
    other.closeAllConnections();
    other.close();
  }
  answer = (_request, response) => response.writeHead(302, { Location: "/again" }).end();
  await assert.rejects(fetched(), /stopped after 10 redirects/);
  answer = (_request, response) => response.writeHead(302, { Location: "file:///etc/passwd" }).end();
  await assert.rejects(fetched(), /unsupported protocol scheme "file"/);
});

test("denied addresses are not connected to, be they named, redirected to or looked up", async () => {
  await assert.rejects(resolve({}, ["private"]), { kind: "forbidden", message: /builds may not reach its address/ });
  assert.equal(asked.length, 0);
  for (const host of ["[::1]", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"]) {
    await assert.rejects(
      resolve({ url: `${base.replace("127.0.0.1", host)}/x` }, ["private"]),
      { kind: "forbidden" },
      host,
    );
  }
  assert.equal(asked.length, 0);
  answer = (_request, response) =>
    response.writeHead(302, { Location: "http://169.254.169.254/latest/meta-data" }).end();
  await assert.rejects(resolve({}, ["169.254.0.0/16"]), { kind: "forbidden", message: /169\.254\.169\.254/ });
  assert.equal(asked.length, 1);
});

test("failures are told in a sentence without credentials and query, and leave nothing", async () => {
  answer = (_request, response) => response.writeHead(404).end("secret page");
  const url = `${base.replace("//", "//me:hidden@")}/dir/x?token=hidden`;
  await assert.rejects(resolve({ url }), (error: Error) => {
    assert.match(error.message, /invalid response status 404$/);
    assert.doesNotMatch(error.message, /hidden/);
    return true;
  });
  answer = (_request, response) => {
    response.setHeader("Content-Length", 100).write("cut");
    setImmediate(() => response.destroy());
  };
  await assert.rejects(resolve({ url }), /cannot fetch/);
  source = await openSource(1000);
  answer = (_request, response) => response.setHeader("Content-Length", 5000).end(Buffer.alloc(5000));
  await assert.rejects(resolve({ url }), /it is longer than 1000 bytes/);
  answer = (_request, response) => response.end(Buffer.alloc(5000));
  await assert.rejects(resolve({ url }), /it is longer than 1000 bytes/);
  assert.deepEqual(await source.usage(), []);
  source = await openSource();
  assert.deepEqual(readdirSync(join(root, "http")), []);
  for (const bad of ["ftp://127.0.0.1/x", "http://", "nothing"])
    await assert.rejects(resolve({ url: bad }), /cannot fetch/);
});

test("an abort ends a fetch that hangs", async () => {
  const controller = new AbortController();
  answer = () => controller.abort();
  await assert.rejects(resolve({}, [], controller.signal), { kind: "cancelled" });
  const later = new AbortController();
  answer = (_request, response) => {
    response.write("begun");
    setImmediate(() => later.abort());
  };
  await assert.rejects(resolve({}, [], later.signal), { kind: "cancelled" });
});

test("usage tells what is kept; what is in use stays", async () => {
  const url = `${base.replace("//", "//me:hidden@")}/f?token=hidden`;
  const held = await (await resolve({ url })).root();
  const [row] = await source.usage();
  assert.deepEqual([row?.type, row?.description, row?.inUse, row?.size], ["regular", `http url ${base}/f`, true, 6]);
  assert.equal(await source.remove(row?.id ?? ""), undefined);
  await held?.[Symbol.asyncDispose]();
  assert.equal(await source.remove(row?.id ?? ""), 6);
  assert.deepEqual(await source.usage(), []);
  assert.equal(await source.remove("../http"), undefined);
});

test("a file is named as it is wanted, as the server says, or as the URL ends", () => {
  const table: readonly (readonly [string | undefined, string | undefined])[] = [
    ['attachment; filename="a b.txt"', "a b.txt"],
    ["attachment; filename=plain.txt", "plain.txt"],
    ["attachment; filename*=UTF-8''%e2%82%ac.txt; filename=x", "€.txt"],
    ['attachment; filename="../../etc/passwd"', "passwd"],
    ['attachment; filename=".."', undefined],
    ["inline", undefined],
    [undefined, undefined],
  ];
  for (const [header, name] of table) assert.equal(dispositionName(header), name, String(header));
  assert.equal(nameOf({ url: "http://h/a/b%20c?q" }, undefined), "b c");
  assert.equal(nameOf({ url: "http://h/a/%2e%2e%2fx" }, undefined), "download");
  assert.equal(nameOf({ url: "http://h/a/" }, undefined), "download");
  assert.equal(nameOf({ url: "http://h" }, "told"), "told");
  assert.equal(nameOf({ url: "http://h", filename: "wanted" }, "told"), "wanted");
  assert.equal(nameOf({ url: "http://h/x", filename: "../up" }, "a/b"), "x");
});
