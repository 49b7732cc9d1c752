import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { type FaultyRegistry, startFaultyRegistry } from "../../test/faulty-registry.ts";
import { imageOf, indexOf } from "../../test/oci-image.ts";
import { sha256Of } from "../oci/digest.ts";
import { MEDIA_TYPE } from "../oci/image.ts";
import { parseNormalized, setDefaultDomain } from "../oci/reference.ts";
import type { Wish } from "./caller.ts";
import { ANONYMOUS, type Credentials } from "./credentials.ts";
import { RefusedError } from "./failure.ts";
import { answer, registries, serve } from "./registry.fixture.ts";
import type { Repository } from "./repository.ts";
import { uploadBlob } from "./upload.ts";

const JOE: Credentials = { ...ANONYMOUS, username: "joe", password: "secret" };
const LIMITS = { backOff: 5, longestBackOff: 20, head: 2000, upload: 2000 };

function open() {
  return registries({}, { limits: LIMITS });
}

async function writing<T>(host: string, act: (repository: Repository) => Promise<T>, alsoFrom: string[] = []) {
  using all = open();
  return await all.writing(parseNormalized(`${host}/a/b`), JOE, { alsoFrom }, act);
}

/** `count` pieces, and how often they were asked for. */
function source(count: number, piece = Buffer.alloc(64 << 10, "x")) {
  const seen = { opened: 0, ended: 0, pieces: 0 };
  const body = async function* () {
    seen.opened++;
    try {
      for (let index = 0; index < count; index++) {
        seen.pieces++;
        yield piece;
      }
    } finally {
      seen.ended++;
    }
  };
  return { seen, body, length: count * piece.length };
}

async function count(request: IncomingMessage): Promise<number> {
  let bytes = 0;
  for await (const piece of request) bytes += (piece as Buffer).length;
  return bytes;
}

test("puts a manifest, says what the registry made of it, and finds blobs", async () => {
  await using registry = await startFaultyRegistry({ auth: "bearer" });
  const image = imageOf();
  registry.add("a/b:1", image);
  const { bytes, digest, mediaType } = image.manifest;
  await writing(registry.host, async (repository) => {
    assert.deepEqual(await repository.putManifest("2", mediaType, bytes, {}), { digest, heedsSubject: false });
    assert.equal((await repository.resolve("2", {})).digest, digest);
    assert.equal(await repository.hasBlob(image.config.digest, {}), image.config.bytes.length);
    assert.equal(await repository.hasBlob(sha256Of("nothing"), {}), undefined);
    assert.equal(repository.path("blobs/uploads/"), "v2/a/b/blobs/uploads/");
    assert.equal(repository.endpoint.base, `http://${registry.host}/`);
  });
  assert.ok(registry.asked("manifest-put").every(({ headers }) => headers["content-type"] === mediaType));
});

test("believes no registry that takes a manifest for another", async () => {
  await using registry = await startFaultyRegistry({
    faults: [{ on: "manifest-put", act: { kind: "header", name: "Docker-Content-Digest", value: sha256Of("other") } }],
  });
  const { bytes, mediaType } = imageOf().manifest;
  registry.add("a/b:1", imageOf());
  await assert.rejects(
    writing(registry.host, (repository) => repository.putManifest("2", mediaType, bytes, {})),
    /^GantryError: cannot trust 127\.0\.0\.1:\d+: it took a manifest as another, sha256:/,
  );
});

test("believes no registry that takes a blob for another", async () => {
  await using registry = await startFaultyRegistry({
    faults: [{ on: "upload-end", act: { kind: "header", name: "Docker-Content-Digest", value: sha256Of("other") } }],
  });
  const blob = Buffer.from("a blob");
  const upload = {
    size: blob.length,
    digest: () => sha256Of(blob),
    open: async function* (offset: number) {
      yield blob.subarray(offset);
    },
  };
  await assert.rejects(
    writing(registry.host, (repository) => uploadBlob(repository, upload)),
    new RegExp(`^GantryError: the registry says that ${sha256Of(blob)} has the digest ${sha256Of("other")}$`),
  );
});

test("asks for the right to push, and to read where blobs are to be mounted from", async () => {
  await using registry = await startFaultyRegistry({ auth: "bearer" });
  registry.add("a/b:1", imageOf());
  await writing(registry.host, (repository) => repository.resolve("1", {}), ["c/d", "a/b", "c/d"]);
  const [token] = registry.asked("token");
  const scopes = new URL(token?.path ?? "", "http://x").searchParams.getAll("scope");
  assert.deepEqual(scopes, ["repository:a/b:pull", "repository:a/b:pull,push", "repository:c/d:pull"]);
});

test("sends a stream as fast as it is taken, with its length or in chunks, and knows its answer", async () => {
  for (const isChunked of [false, true]) {
    const got: { bytes?: number; encoding?: string | undefined } = {};
    await using server = await serve(async (request, response) => {
      got.encoding = request.headers["transfer-encoding"];
      got.bytes = await count(request);
      answer(request, response, 202, "text/plain", "");
    });
    const { body, seen, length } = source(200);
    const headers: Record<string, string> = isChunked ? {} : { "Content-Length": String(length) };
    const status = await writing(server.host, async ({ caller }) => {
      const answered = await caller.call({ method: "PATCH", url: "v2/up", headers, body }, {});
      answered.body.resume();
      return answered.status;
    });
    assert.equal(status, 202);
    assert.deepEqual(got, { bytes: length, encoding: isChunked ? "chunked" : undefined });
    assert.deepEqual(seen, { opened: 1, ended: 1, pieces: 200 });
  }
});

test("a ceiling that is set while a body is sent holds for the rest of it, until it is lifted", async () => {
  await using server = await serve((request, response) => {
    request.resume().once("end", () => answer(request, response, 201, "x/y", ""));
  });
  const settings = { maxUploadRate: 0 };
  using all = registries(settings, { limits: LIMITS });
  let at = 0;
  const { body } = source(40);
  const pieces = async function* () {
    for await (const piece of body()) {
      at++;
      if (at === 8) settings.maxUploadRate = 2 << 20;
      if (at === 32) settings.maxUploadRate = 0;
      yield piece;
    }
  };
  const begun = performance.now();
  await all.writing(parseNormalized(`${server.host}/a/b`), JOE, {}, async ({ caller }) => {
    const { body } = await caller.call({ method: "PUT", url: "v2/x", body: pieces }, {});
    body.resume();
  });
  const ms = performance.now() - begun;
  // 24 pieces of 64 KiB at 2 MiB a second, but for the first tenth of a second.
  assert.ok(ms > 500, `${ms} ms`);
});

test("opens a stream again for a new token and for a redirect, which sees no credentials on another host", async () => {
  await using other = await serve(async (request, response) => {
    const bytes = await count(request);
    answer(request, response, 201, "text/plain", String(bytes));
  });
  await using server = await serve(async (request, response) => {
    const { url = "", headers, method } = request;
    if (url.startsWith("/token")) return answer(request, response, 200, "x/y", JSON.stringify({ token: "good" }));
    await count(request);
    if (method === "GET") return answer(request, response, 200, "x/y", "");
    if (headers.authorization !== "Bearer good") {
      response.setHeader("WWW-Authenticate", `Bearer realm="http://${headers.host}/token",service="x"`);
      return answer(request, response, 401, "x/y", "");
    }
    response.writeHead(307, { Location: `http://${other.host}/elsewhere` }).end();
  });
  const { body, seen, length } = source(20);
  const put: Wish = { method: "PUT", url: "v2/up", headers: { "Content-Length": String(length) }, body };
  const told = await writing(server.host, async ({ caller }) => text((await caller.call(put, {})).body));
  assert.equal(told, String(length));
  assert.deepEqual(
    other.requests.map(({ headers }) => headers.authorization),
    [undefined],
  );
  assert.equal(seen.opened, 3);
  assert.equal(seen.ended, 3);
});

test("stops a stream at an early refusal, at an abort and at a silent registry, and ends its source", async () => {
  await using refusing = await serve((request, response) => {
    if (request.method === "GET") return answer(request, response, 200, "x/y", "");
    response.writeHead(413, { Connection: "close", "Content-Length": 0 }).end();
  });
  const long = source(100_000);
  const patch = (body: () => AsyncIterable<Uint8Array>): Wish => ({ method: "PATCH", url: "v2/up", body });
  await assert.rejects(
    writing(refusing.host, ({ caller }) => caller.call(patch(long.body), {})),
    (error: unknown) => (error instanceof RefusedError && error.status === 413) || /EOF$/.test(String(error)),
  );
  assert.equal(long.seen.ended, 1);
  assert.ok(long.seen.pieces < 100_000);

  await using silent = await serve((request, response) => {
    if (request.method === "GET") answer(request, response, 200, "x/y", "");
  });
  const leaving = new AbortController();
  const stuck = source(100_000);
  const sending = writing(silent.host, ({ caller }) => caller.call(patch(stuck.body), { signal: leaving.signal }));
  const watch = setInterval(() => {
    if (stuck.seen.pieces === 0) return;
    clearInterval(watch);
    leaving.abort();
  }, 10);
  await assert.rejects(sending, /context canceled/);
  await assert.rejects(
    (async () => {
      using all = registries({}, { limits: { ...LIMITS, upload: 200 } });
      await all.writing(parseNormalized(`${silent.host}/a`), JOE, {}, ({ caller }) =>
        caller.call(patch(source(100_000).body), {}),
      );
    })(),
    /Client\.Timeout exceeded while awaiting headers/,
  );
  assert.equal(stuck.seen.ended, 1);
});

test("passes on why a stream could not be read, and sends no more or less of it than was told", async () => {
  await using server = await serve(async (request, response) => {
    await count(request).catch(() => {});
    answer(request, response, 202, "x/y", "");
  });
  const broken = async function* () {
    yield Buffer.alloc(10);
    throw new Error("EIO: the disk is broken");
  };
  const send = (body: () => AsyncIterable<Uint8Array>, length: number) =>
    writing(server.host, ({ caller }) =>
      caller.call({ method: "PATCH", url: "v2/up", headers: { "Content-Length": String(length) }, body }, {}),
    );
  await assert.rejects(send(broken, 100), /^GantryError: EIO: the disk is broken$/);
  const { body, length } = source(1);
  await assert.rejects(send(body, length + 1), /does not match/);
  await assert.rejects(send(body, length - 1), /does not match/);
});

test("follows no redirect of what it sends that would have it sent as something else", async () => {
  await using server = await serve(async (request, response) => {
    await count(request);
    if (request.method === "GET") answer(request, response, 200, "x/y", "");
    else response.writeHead(302, { Location: "/elsewhere" }).end();
  });
  await assert.rejects(
    writing(server.host, ({ caller }) => caller.call({ method: "PUT", url: "v2/up", body: Buffer.from("x") }, {})),
    (error: unknown) => error instanceof RefusedError && error.status === 302,
  );
  assert.ok(server.requests.every(({ url }) => url !== "/elsewhere"));
});

test("shows credentials at an upload's location only where it lies at the registry", async () => {
  await using other = await serve((request, response) => answer(request, response, 201, "x/y", ""));
  await using registry = await startFaultyRegistry({ auth: "basic" });
  registry.add("a/b:1", imageOf());
  await writing(registry.host, async (repository) => {
    await repository.resolve("1", {});
    const { caller } = repository;
    (await caller.call({ method: "PUT", url: new URL(`http://${other.host}/x`) }, {})).body.resume();
    (await caller.call({ method: "GET", url: new URL(`http://${registry.host}/v2/`) }, {})).body.resume();
  });
  assert.equal(other.requests[0]?.headers.authorization, undefined);
  assert.equal(other.requests[0]?.headers["content-length"], "0");
});

test("lists all tags by links, by the last one, and no longer than there is something new", async () => {
  const tags = Array.from({ length: 2500 }, (_, index) => `t${String(index).padStart(5, "0")}`);
  const page = (url: URL) => {
    const last = url.searchParams.get("last") ?? "";
    return tags.filter((tag) => tag > last).slice(0, Number(url.searchParams.get("n")));
  };
  const ways: Record<string, (url: URL) => { tags: unknown; link?: string }> = {
    links: (url) => {
      const found = page(url);
      return {
        tags: found,
        ...(found.length > 0 && { link: `</v2/a/b/tags/list?n=1000&last=${found.at(-1)}>; rel="next"` }),
      };
    },
    last: (url) => ({ tags: page(url) }),
    circle: () => ({ tags: tags.slice(0, 1000), link: '</v2/a/b/tags/list?n=1000>; rel="next"' }),
    all: () => ({ tags: [...tags, "not a tag", ".x"] }),
    none: () => ({ tags: null }),
    rubbish: () => ({ tags: 7 }),
    elsewhere: () => ({ tags: ["x"], link: '<http://192.0.2.1/v2/a/b/tags/list>; rel="next"' }),
  };
  let way: ((url: URL) => { tags: unknown; link?: string }) | undefined;
  await using server = await serve((request, response) => {
    const made = way?.(new URL(request.url ?? "", "http://x"));
    if (made?.link !== undefined) response.setHeader("Link", made.link);
    answer(request, response, 200, "application/json", JSON.stringify({ name: "a/b", tags: made?.tags }));
  });
  const list = (name: string) => {
    way = ways[name];
    return writing(server.host, (repository) => Array.fromAsync(repository.tags({})));
  };
  assert.deepEqual(await list("links"), tags);
  assert.deepEqual(await list("last"), tags);
  assert.deepEqual(await list("all"), tags);
  assert.deepEqual(await list("circle"), tags.slice(0, 1000));
  assert.deepEqual(await list("none"), []);
  await assert.rejects(
    list("rubbish"),
    /^GantryError: cannot read the tags of 127\.0\.0\.1:\d+\/a\/b: the answer is no list$/,
  );
  await assert.rejects(list("elsewhere"), /the next page of 127\.0\.0\.1:\d+: it lies at 192\.0\.2\.1$/);
});

test("finds what refers to a manifest by the API, by the tag that stands for it, or nothing", async () => {
  const image = imageOf();
  const subject = image.manifest.digest;
  const rows = [
    { mediaType: MEDIA_TYPE.ociManifest, digest: sha256Of("a"), size: 1, artifactType: "x/signature" },
    { mediaType: MEDIA_TYPE.ociManifest, digest: sha256Of("b"), size: 1, artifactType: "x/other" },
  ];
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: rows };
  const bytes = Buffer.from(JSON.stringify(index));
  const listed = (host: string, artifactType?: string) =>
    writing(host, async (repository) =>
      (await repository.referrers(subject, { artifactType }, {})).map(({ digest }) => digest),
    );

  await using server = await serve((request, response) => {
    if (request.url?.startsWith(`/v2/a/b/referrers/${subject}`))
      answer(request, response, 200, MEDIA_TYPE.ociIndex, bytes);
    else answer(request, response, 404, "x/y", "");
  });
  assert.deepEqual(await listed(server.host), [sha256Of("a"), sha256Of("b")]);
  assert.deepEqual(await listed(server.host, "x/signature"), [sha256Of("a")]);
  assert.ok(server.requests.some(({ url }) => url?.endsWith("?artifactType=x%2Fsignature")));

  const tagged = async (registry: FaultyRegistry) => {
    registry.add("a/b:1", image);
    registry.addManifest(`a/b:${subject.replace(":", "-")}`, {
      mediaType: MEDIA_TYPE.ociIndex,
      digest: sha256Of(bytes),
      bytes,
    });
  };
  await using registry = await startFaultyRegistry();
  assert.deepEqual(await listed(registry.host), []);
  await tagged(registry);
  assert.deepEqual(await listed(registry.host, "x/other"), [sha256Of("b")]);
  registry.misbehave({ on: "referrers", act: { kind: "status", status: 500 } });
  await assert.rejects(listed(registry.host), /received unexpected HTTP status: 500/);
});

test("takes what is gone after an answer was lost for removed, and only then", async () => {
  let deletes = 0;
  await using server = await serve((request, response) => {
    if (request.method !== "DELETE") return answer(request, response, 200, "application/json", "{}");
    if (++deletes === 1) return void request.socket.destroy();
    answer(request, response, 404, "application/json", '{"errors": [{"code": "MANIFEST_UNKNOWN"}]}');
  });
  await writing(server.host, (repository) => repository.removeManifest("1", {}));
  assert.equal(deletes, 2);
  await assert.rejects(
    writing(server.host, (repository) => repository.removeManifest("1", {})),
    { kind: "not-found" },
  );
});

test("asks the registry for referrers that its mirror lacks, and believes a mirror where it may not be asked", async () => {
  const image = imageOf();
  const subject = image.manifest.digest;
  const rows = [{ mediaType: MEDIA_TYPE.ociManifest, digest: sha256Of("a"), size: 1, artifactType: "x/signature" }];
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: rows }));
  for (const lacksApi of [true, false]) {
    await using mirror = await startFaultyRegistry({ referrers: !lacksApi });
    await using registry = await startFaultyRegistry();
    mirror.add("a/b:1", image);
    registry.addManifest(`a/b:${subject.replace(":", "-")}`, {
      ...{ mediaType: MEDIA_TYPE.ociIndex, digest: sha256Of(bytes), bytes },
    });
    for (const [onlyMirrors, expected] of [
      [false, [sha256Of("a")]],
      [true, []],
    ] as const) {
      const rule = { mirrors: [mirror.url], insecure: true, onlyMirrors };
      using all = registries({ registries: { [registry.host]: rule } });
      const found = await all.reading(parseNormalized(`${registry.host}/a/b`), ANONYMOUS, (repository) =>
        repository.referrers(subject, {}, {}),
      );
      assert.deepEqual(
        found.map(({ digest }) => digest),
        expected,
      );
    }
  }
});

test("keeps Docker Hub's credentials from the registry that names without one mean instead", async (t) => {
  await using registry = await startFaultyRegistry({ auth: "basic" });
  registry.add("app:1", indexOf([imageOf()]));
  t.after(() => setDefaultDomain("docker.io"));
  setDefaultDomain(registry.host);
  using all = open();
  const resolve = (serverAddress: string) =>
    all.reading(parseNormalized("app:1"), { ...JOE, serverAddress }, (repository) => repository.resolve("1", {}));
  await assert.rejects(resolve("https://index.docker.io/v1/"), /no basic auth credentials/);
  assert.ok(registry.requests.every(({ headers }) => headers.authorization === undefined));
  assert.equal((await resolve(registry.host)).mediaType, MEDIA_TYPE.ociIndex);
});
