import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { tarOf } from "../archive.ts";
import { bytesOf } from "../both-engines.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { startFaultyRegistry } from "../faulty-registry.ts";

let engine: TestEngine;
const ROOT = tarOf([{ name: "word", body: "hello" }]);
const TAR = { "Content-Type": "application/x-tar" };
const ARM = encodeURIComponent(JSON.stringify({ os: "linux", architecture: "arm64" }));

before(async () => {
  engine = await startEngine({ image: false });
  await engine.request("POST", "/images/create?fromSrc=-&repo=arm&tag=1&platform=linux/arm64", ROOT, TAR);
  await engine.request("POST", "/images/create?fromSrc=-&repo=host&tag=1&changes=LABEL%20a=b", ROOT, TAR);
});

after(() => engine?.[Symbol.asyncDispose]());

const get = (path: string) => engine.request("GET", path);
const filtered = (filters: object, version = "1.51") =>
  get(`/v${version}/images/json?filters=${encodeURIComponent(JSON.stringify(filters))}`);
const hostPlatform = () => (process.arch === "x64" ? "linux/amd64" : `linux/${process.arch}`);

test("each version of the API sees the fields that it had", async () => {
  await engine.request("POST", "/images/create?fromSrc=-&message=nameless", ROOT, TAR);
  const rows = async (version: string) => (await get(`/v${version}/images/json`)).json as Record<string, unknown>[];
  const nameless = async (version: string) =>
    (await rows(version)).find((row) => !String(row.RepoTags).includes(":1"))!;
  assert.deepEqual((await nameless("1.42")).RepoTags, ["<none>:<none>"]);
  assert.deepEqual((await nameless("1.42")).RepoDigests, ["<none>@<none>"]);
  assert.deepEqual((await nameless("1.43")).RepoTags, []);
  const has = async (version: string, field: string) => (await rows(version)).every((row) => field in row);
  assert.deepEqual([await has("1.43", "VirtualSize"), await has("1.44", "VirtualSize")], [true, false]);
  assert.deepEqual([await has("1.47", "Descriptor"), await has("1.48", "Descriptor")], [false, true]);
  assert.deepEqual(
    (await rows("1.50")).map((row) => row.Containers),
    [-1, -1, -1],
  );
  assert.deepEqual(
    (await rows("1.51")).map((row) => row.Containers),
    [0, 0, 0],
  );
  const inspect = async (version: string) => (await get(`/v${version}/images/host:1/json`)).json;
  assert.deepEqual(Object.keys((await inspect("1.44")).ContainerConfig).includes("Hostname"), true);
  assert.equal("ContainerConfig" in (await inspect("1.45")), false);
  assert.equal("Hostname" in (await inspect("1.49")).Config, true);
  assert.deepEqual(Object.keys((await inspect("1.50")).Config).sort(), [
    "Cmd",
    "Entrypoint",
    "Env",
    "Labels",
    "OnBuild",
    "User",
    "Volumes",
    "WorkingDir",
  ]);
  await engine.request("POST", "/images/prune");
});

test("filters choose images, and refuse what they don't know", async () => {
  const names = async (filters: object) =>
    ((await filtered(filters)).json as { RepoTags: string[] }[]).flatMap((row) => row.RepoTags);
  assert.deepEqual(await names({ label: ["a=b"] }), ["host:1"]);
  assert.deepEqual(await names({ reference: ["ar*"] }), ["arm:1"]);
  assert.deepEqual(await names({ since: ["arm:1"] }), ["host:1"]);
  assert.deepEqual(await names({ before: ["host:1"] }), ["arm:1"]);
  assert.deepEqual(await names({ until: ["1h"] }), []);
  assert.deepEqual(await names({ dangling: ["true"] }), []);
  assert.deepEqual((await filtered({ before: ["nope"] })).json.message, "No such image: nope:latest");
  assert.deepEqual((await filtered({ dangling: ["maybe"] })).json.message, "invalid filter 'dangling=[maybe]'");
  assert.deepEqual((await filtered({ bogus: ["1"] })).json.message, "invalid filter 'bogus'");
  const old = (await get("/v1.40/images/json?filter=arm")).json as { RepoTags: string[] }[];
  assert.deepEqual(
    old.flatMap((row) => row.RepoTags),
    ["arm:1"],
  );
  assert.equal(((await get("/v1.41/images/json?filter=arm")).json as unknown[]).length, 2);
});

test("manifests say what is there of an image and who uses it", async () => {
  const { json } = await get("/v1.47/images/json?manifests=1");
  const arm = (json as { RepoTags: string[]; Size: number; Manifests: Record<string, unknown>[] }[]).find((row) =>
    row.RepoTags.includes("arm:1"),
  );
  const [manifest, ...more] = (arm?.Manifests ?? []) as {
    ID: string;
    Kind: string;
    Available: boolean;
    Size: { Content: number; Total: number };
    Descriptor: { digest: string };
    ImageData: { Platform: object; Containers: string[]; Size: { Unpacked: number } };
  }[];
  assert.deepEqual(more, []);
  assert.deepEqual([manifest?.Kind, manifest?.Available, manifest?.Descriptor.digest], ["image", true, manifest?.ID]);
  assert.deepEqual(manifest?.ImageData, {
    Platform: { architecture: "arm64", os: "linux" },
    Containers: [],
    Size: { Unpacked: arm?.Size },
  });
  assert.equal(manifest?.Size.Total, (manifest?.Size.Content ?? 0) + (arm?.Size ?? 0));
  assert.ok((manifest?.Size.Content ?? 0) > ROOT.length);
  assert.equal("Manifests" in ((await get("/v1.46/images/json?manifests=1")).json as object[])[0]!, false);
  assert.equal((await get("/v1.48/images/arm:1/json?manifests=1")).json.Manifests.length, 1);
  const { status, json: refusal } = await get(`/images/arm:1/json?manifests=1&platform=${ARM}`);
  assert.deepEqual(
    [status, refusal.message],
    [400, "conflicting options: manifests and platform options cannot both be set"],
  );
});

test("a platform chooses among what an image has: for inspect, history, get, load and removal", async () => {
  const text = `image with reference host:1 was found but its platform (${hostPlatform()}) does not match the specified platform (linux/arm64)`;
  for (const path of ["json", "history"]) {
    assert.equal((await get(`/images/arm:1/${path}?platform=${ARM}`)).status, 200, path);
    const { status, json } = await get(`/images/host:1/${path}?platform=${ARM}`);
    assert.deepEqual([status, json.message], [404, text], path);
  }
  assert.equal((await get(`/v1.48/images/host:1/json?platform=${ARM}`)).status, 200);
  assert.equal((await get(`/images/host:1/get?platform=${ARM}`)).status, 404);
  const removal = await engine.request("DELETE", `/images/host:1?platforms=${ARM}`);
  assert.deepEqual([removal.status, removal.json.message], [404, text]);
  const bad: [string, string][] = [
    ["linux/arm64", "failed to parse platform: invalid character 'l' looking for beginning of value"],
    ['{"os":"linux"}', "both OS and Architecture must be provided"],
    ['{"variant":"v7"}', "optional platform fields provided, but OS and Architecture are missing"],
  ];
  for (const [given, message] of bad) {
    const { status, json } = await get(`/images/arm:1/json?platform=${encodeURIComponent(given)}`);
    assert.deepEqual([status, json.message], [400, message]);
  }
});

test("load takes the images for one platform out of an archive", async () => {
  const names = { names: ["arm:1", "host:1"] };
  const archive = await bytesOf(engine.socket, "GET", `/images/get?names=${names.names.join("&names=")}`);
  for (const name of names.names) await engine.request("DELETE", `/images/${name}`);
  const S390 = encodeURIComponent(JSON.stringify({ os: "linux", architecture: "s390x" }));
  const none = await engine.request("POST", `/images/load?platform=${S390}`, archive, TAR);
  assert.match(none.text, /has no image for|no image for/);
  const some = await engine.request("POST", `/images/load?platform=${ARM}`, archive, TAR);
  assert.match(some.text, /Loaded image: arm:1/);
  assert.doesNotMatch(some.text, /host:1/);
  assert.equal((await engine.request("DELETE", `/images/arm:1?platforms=${ARM}`)).status, 200);
  await engine.request("POST", "/images/load", archive, TAR);
  assert.equal((await get("/images/json")).json.length, 2);
});

test("import fetches what is named by a URL, and says why it can't", async () => {
  const server = createServer((request, response) => {
    if (request.url === "/root.tar") response.end(ROOT);
    else {
      response.statusCode = 404;
      response.end("gone");
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    const create = (source: string) =>
      engine.request("POST", `/images/create?fromSrc=${encodeURIComponent(source)}&repo=fetched:a&tag=b`);
    for (const source of [`http://127.0.0.1:${port}/root.tar`, `127.0.0.1:${port}/root.tar`]) {
      const { text } = await create(source);
      assert.match(text, new RegExp(`^{"status":"Downloading from http://127.0.0.1:${port}/root.tar"}`));
      assert.match(text, /{"status":"sha256:[0-9a-f]{64}"}\r\n$/);
    }
    assert.equal((await get("/images/fetched:b/json")).json.Comment, `Imported from http://127.0.0.1:${port}/root.tar`);
    const cases: [string, number, string][] = [
      [`http://127.0.0.1:${port}/no`, 404, `failed to GET http://127.0.0.1:${port}/no with status 404 Not Found: gone`],
      ["http://127.0.0.1:1/x", 500, 'Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused'],
      ["ftp://127.0.0.1/x", 500, 'Get "ftp://127.0.0.1/x": unsupported protocol scheme "ftp"'],
    ];
    for (const [source, status, message] of cases) {
      const answer = await create(source);
      assert.deepEqual([answer.status, answer.json.message], [status, message]);
    }
  } finally {
    server.closeAllConnections();
    await new Promise<void>((resolve) => void server.close(() => resolve()));
  }
});

test("what a registry refuses is refused with newer Docker's statuses and words, as far as a client's CLI bears it", async () => {
  await using registry = await startFaultyRegistry();
  const wish = `/images/create?fromImage=${registry.host}/a/b&tag=1`;
  const refused = async (status: number, body: string, version = "1.51"): Promise<string> => {
    const headers = { "Content-Type": "text/plain", "Retry-After": "86400" };
    registry.heal();
    registry.misbehave({ on: "manifest", act: { kind: "status", status, body, headers } });
    const answer = await engine.request("POST", `/v${version}${wish}`);
    return `${answer.status} ${answer.json.message}`;
  };
  assert.equal(await refused(401, "go away\nplease"), "401 unauthorized: go away");
  // docker's CLI of then would wait for a password of Docker Hub.
  assert.equal(await refused(401, "go away", "1.50"), "500 unauthorized: go away");
  const denied = `pull access denied for ${registry.host}/a/b, repository does not exist or may require 'docker login'`;
  assert.equal(await refused(403, "go away"), `404 ${denied}: denied: go away`);
  assert.equal(await refused(429, "slow down"), "429 toomanyrequests: slow down");
  assert.equal(await refused(404, "nothing"), `404 manifest for ${registry.host}/a/b:1 not found: unknown: nothing`);
  registry.heal();
  const platform = await engine.request("POST", `${wish}&platform=linux/`);
  assert.equal(platform.status, 400);
  assert.match(platform.json.message, /^"" is an invalid component of "linux\/": platform specifier component must /);
});
