import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as forward, type RequestListener } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { GantryError } from "../base/errors.ts";
import { sha256Of } from "../oci/digest.ts";
import { parseNormalized } from "../oci/reference.ts";
import { ANONYMOUS, type Credentials } from "./credentials.ts";
import { inspectDistribution } from "./distribution.ts";
import { answer, CONFIG, MANIFEST, NO_PROXIES, oneImage, registries, serve } from "./registry.fixture.ts";
import type { Registries } from "./registry.ts";

const JOE: Credentials = { ...ANONYMOUS, username: "joe", password: "hunter2-of-joe" };
const IMAGE = {
  Descriptor: {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: sha256Of(MANIFEST),
    size: MANIFEST.length,
  },
  Platforms: [{ architecture: "arm64", os: "linux", variant: "v8" }],
};

function inspect(all: Registries, name: string, credentials = ANONYMOUS, signal?: AbortSignal) {
  return inspectDistribution(all, name, credentials, { signal });
}

function refusal(kind: string, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof GantryError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    assert.doesNotMatch(`${error.message} ${error.stack} ${JSON.stringify(error)}`, /hunter2|aHVudGVy/);
    return true;
  };
}

/** A registry whose tokens its own server gives; joe has to log in. */
function withTokens(options: { readonly isOpen: boolean }): RequestListener {
  return (request, response) => {
    const url = new URL(request.url ?? "", `http://${request.headers.host}`);
    if (url.pathname !== "/token") {
      if (request.headers.authorization === "Bearer good") return oneImage(request, response);
      const scope = "repository:a/b:pull";
      const header = `Bearer realm="http://${request.headers.host}/token",service="test",scope="${scope}"`;
      response.setHeader("WWW-Authenticate", header);
      const errors = [{ code: "UNAUTHORIZED", message: "authentication required" }];
      return answer(request, response, 401, "application/json", JSON.stringify({ errors }));
    }
    const basic = `Basic ${Buffer.from(`${JOE.username}:${JOE.password}`).toString("base64")}`;
    if (request.method === "POST" || options.isOpen || request.headers.authorization === basic) {
      const refresh = url.searchParams.get("offline_token") === "true" ? { refresh_token: "fresh" } : {};
      return answer(request, response, 200, "application/json", JSON.stringify({ token: "good", ...refresh }));
    }
    answer(request, response, 401, "application/json", JSON.stringify({ details: "incorrect username or password" }));
  };
}

test("shows what an image's name points to, and its platform", async () => {
  await using server = await serve(oneImage);
  using all = registries();
  assert.deepEqual(await inspect(all, `${server.host}/a/b:1`), IMAGE);
  assert.deepEqual(await inspect(all, `${server.host}/a/b@${sha256Of(MANIFEST)}`), IMAGE);
});

test("passes a registry's refusal on in Docker's words", async () => {
  await using server = await serve(oneImage);
  using all = registries();
  await assert.rejects(
    inspect(all, `${server.host}/a/b:2`),
    refusal("not-found", /^manifest unknown: manifest unknown$/),
  );
  await assert.rejects(inspect(all, "a".repeat(64)), refusal("internal", /^no manifest found for full image ID$/));
  await assert.rejects(
    inspect(all, "127.0.0.1:1/a/b"),
    refusal("internal", /dial tcp 127\.0\.0\.1:1: connect: connection refused$/),
  );
});

test("fetches a token for what it asks for, and keeps it", async () => {
  await using server = await serve(withTokens({ isOpen: true }));
  using all = registries();
  assert.deepEqual(await inspect(all, `${server.host}/a/b:1`), IMAGE);
  assert.deepEqual(await inspect(all, `${server.host}/a/b:1`), IMAGE);
  const tokens = server.requests.filter(({ url }) => url?.startsWith("/token"));
  assert.deepEqual(
    tokens.map(({ url }) => url),
    ["/token?service=test&scope=repository%3Aa%2Fb%3Apull"],
  );
});

test("does not lend one client's token to another", async () => {
  await using server = await serve(withTokens({ isOpen: false }));
  using all = registries();
  assert.deepEqual(await inspect(all, `${server.host}/a/b:1`, JOE), IMAGE);
  const wrong = { ...JOE, password: "hunter2-of-nobody" };
  // Of the registry, not of its token server.
  const asked =
    /^(?:Head|Get) "http:\/\/127\.0\.0\.1:\d+\/v2\/a\/b\/manifests\/1": unauthorized: incorrect username or password$/;
  await assert.rejects(inspect(all, `${server.host}/a/b:1`, wrong), refusal("unauthenticated", asked));
  await assert.rejects(inspect(all, `${server.host}/a/b:1`), refusal("unauthenticated", asked));
});

test("leaves it to a client to fetch tokens, where it does", async () => {
  await using server = await serve(withTokens({ isOpen: false }));
  using all = registries();
  const wishes: unknown[] = [];
  const tokens = {
    id: "session",
    fetch: async (wish: { readonly realm: string; readonly scopes: readonly string[] }) => {
      wishes.push([wish.realm, wish.scopes]);
      return { value: "good", lifeSeconds: 300 };
    },
    password: () => assert.fail("its password was asked for"),
  };
  for (let times = 0; times < 2; times++) {
    assert.deepEqual(await inspect(all, `${server.host}/a/b:1`, { ...ANONYMOUS, tokens }), IMAGE);
  }
  assert.deepEqual(wishes, [[`http://${server.host}/token`, ["repository:a/b:pull"]]]);
  assert.equal(server.requests.filter(({ url }) => url?.startsWith("/token")).length, 0);
  const wrong = { ...tokens, id: "other", fetch: async () => ({ value: "a\r\nb", lifeSeconds: 1 }) };
  await assert.rejects(
    inspect(all, `${server.host}/a/b:1`, { ...ANONYMOUS, tokens: wrong }),
    /no token that could be one/,
  );
});

test("logs in by token, and afterwards by the identity token that the server gave", async () => {
  await using server = await serve(withTokens({ isOpen: false }));
  using all = registries();
  assert.deepEqual(await all.login(server.host, JOE, {}), { status: "Login Succeeded", identityToken: "fresh" });
  const wrong = { ...JOE, password: "hunter2-of-nobody" };
  const text = /^Get "http:\/\/127\.0\.0\.1:\d+\/v2\/": unauthorized: incorrect username or password$/;
  await assert.rejects(all.login(server.host, wrong, {}), refusal("unauthenticated", text));
  assert.deepEqual(await inspect(all, `${server.host}/a/b:1`, { ...ANONYMOUS, identityToken: "fresh" }), IMAGE);
  assert.equal(server.requests.filter(({ method }) => method === "POST").length, 1);
});

test("logs in by name and password where the registry asks for no more", async () => {
  await using server = await serve((request, response) => {
    if (request.headers.authorization === `Basic ${Buffer.from("joe:hunter2-of-joe").toString("base64")}`)
      return oneImage(request, response);
    response.setHeader("WWW-Authenticate", 'Basic realm="test"');
    answer(
      request,
      response,
      401,
      "application/json",
      JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "authentication required" }] }),
    );
  });
  using all = registries();
  assert.equal((await all.login(`http://${server.host}/v1/`, JOE, {})).identityToken, "");
  const wrong = { ...JOE, password: "hunter2" };
  const text = /^login attempt to http:\/\/127\.0\.0\.1:\d+\/v2\/ failed with status: 401 Unauthorized$/;
  await assert.rejects(all.login(server.host, wrong, {}), refusal("internal", text));
  await assert.rejects(
    all.login(server.host, ANONYMOUS, {}),
    refusal("internal", /^Get "http:\/\/127\.0\.0\.1:\d+\/v2\/": no basic auth credentials$/),
  );
  await assert.rejects(all.login("10.1.2.3 foo", JOE, {}), refusal("invalid", /^unable to parse server address: /));
  assert.deepEqual(await inspect(all, `${server.host}/a/b:1`, JOE), IMAGE);
  await assert.rejects(inspect(all, `${server.host}/a/b:1`), refusal("internal", /": no basic auth credentials$/));
  await assert.rejects(
    inspect(all, `${server.host}/a/b:1`, wrong),
    refusal("unauthenticated", /^unauthorized: authentication required$/),
  );
});

test("shows no credentials to a host that it is redirected to", async () => {
  await using other = await serve((request, response) =>
    answer(request, response, 200, "application/octet-stream", CONFIG),
  );
  await using server = await serve((request, response) => {
    if (request.url?.includes("/blobs/")) {
      response.writeHead(307, { Location: `http://user:pass@${other.host}/elsewhere?signature=secret` });
      response.end();
    } else withTokens({ isOpen: false })(request, response);
  });
  using all = registries();
  assert.deepEqual(await inspect(all, `${server.host}/a/b:1`, JOE), IMAGE);
  assert.deepEqual(
    other.requests.map(({ headers }) => headers.authorization),
    [undefined],
  );
  assert.ok(server.requests.some(({ headers }) => headers.authorization === "Bearer good"));
});

test("does not prove itself where a host asks for it that it was redirected to", async () => {
  await using other = await serve((request, response) => {
    if (request.url?.startsWith("/token") === true) {
      return answer(request, response, 200, "application/json", '{"token":"taken"}');
    }
    response.setHeader("WWW-Authenticate", `Bearer realm="http://${request.headers.host}/token",service="other"`);
    answer(request, response, 401, "application/json", "{}");
  });
  await using server = await serve((request, response) => {
    if (request.url?.includes("/blobs/")) {
      response.writeHead(307, { Location: `http://${other.host}/elsewhere` });
      response.end();
    } else withTokens({ isOpen: false })(request, response);
  });
  using all = registries();
  await inspect(all, `${server.host}/a/b:1`, JOE).catch(() => {});
  assert.deepEqual(
    other.requests.map(({ headers, url }) => [url, headers.authorization]),
    [["/elsewhere", undefined]],
  );
});

test("gives up a registry that redirects for ever", async () => {
  await using server = await serve((_request, response) => {
    response.writeHead(302, { Location: "/v2/again?secret=1" });
    response.end();
  });
  using all = registries();
  await assert.rejects(inspect(all, `${server.host}/a/b:1`), refusal("internal", /stopped after 10 redirects$/));
  assert.equal(server.requests.length, 11);
});

test("reads no more of a manifest than a manifest can be long", async () => {
  await using server = await serve((request, response) => {
    response.writeHead(200, { "Content-Type": "application/json" });
    if (request.method === "HEAD") return response.end();
    const piece = Buffer.alloc(1 << 20, "x");
    const pour = () => {
      while (!response.destroyed && response.write(piece));
    };
    response.on("drain", pour);
    response.on("error", () => {});
    pour();
  });
  using all = registries();
  await assert.rejects(inspect(all, `${server.host}/a/b:1`), refusal("invalid", /longer than 8388608 bytes$/));
});

test("believes no manifest and no blob that has another digest", async () => {
  await using server = await serve((request, response) => {
    if (request.url?.includes("/manifests/") && request.method === "GET") {
      return answer(request, response, 200, "application/json", Buffer.from(`${MANIFEST} `));
    }
    if (request.url?.includes("/blobs/"))
      return answer(request, response, 200, "x/y", Buffer.from(CONFIG).fill(0x20, 0, 1));
    oneImage(request, response);
  });
  using all = registries();
  const text = new RegExp(`^manifest verification failed for digest ${sha256Of(MANIFEST)}$`);
  await assert.rejects(inspect(all, `${server.host}/a/b:1`), refusal("internal", text));
  const config = { mediaType: "x/y", digest: sha256Of(CONFIG), size: CONFIG.length };
  const read = all.reading(parseNormalized(`${server.host}/a/b:1`), ANONYMOUS, (repository) =>
    repository.document(config, {}),
  );
  await assert.rejects(read, refusal("internal", /verification failed for digest sha256:/));
});

test("refuses schema 1 by its name", async () => {
  const type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
  const body = JSON.stringify({ schemaVersion: 1, name: "a/b" });
  await using server = await serve((request, response) =>
    answer(request, response, request.method === "HEAD" ? 405 : 200, type, body),
  );
  using all = registries();
  await assert.rejects(inspect(all, `${server.host}/a/b:1`), refusal("unsupported", /schema 1/));
});

test("refuses a manifest that could be read as an image and as an index", async () => {
  const body = JSON.stringify({ ...JSON.parse(MANIFEST.toString()), manifests: [] });
  await using server = await serve((request, response) => answer(request, response, 200, "application/json", body));
  using all = registries();
  await assert.rejects(inspect(all, `${server.host}/a/b:1`), refusal("invalid", /as an image and as an index$/));
});

test("waits only so long for a registry that says nothing, and not at all once its caller has left", async () => {
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  await using server = await serve(() => ask());
  using quick = registries({}, { limits: { head: 200 } });
  await assert.rejects(
    inspect(quick, `${server.host}/a/b:1`),
    refusal("internal", /Client\.Timeout exceeded while awaiting headers/),
  );
  using patient = registries();
  const leaving = new AbortController();
  const waiting = inspect(patient, `${server.host}/a/b:1`, ANONYMOUS, leaving.signal);
  await asked;
  leaving.abort();
  await assert.rejects(waiting, refusal("cancelled", /^context canceled$/));
});

test("gives up a body that stops in its midst", async () => {
  await using server = await serve((request, response) => {
    if (request.method === "HEAD") return oneImage(request, response);
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": MANIFEST.length });
    response.write(MANIFEST.subarray(0, 10));
  });
  using all = registries({}, { limits: { document: 200 } });
  await assert.rejects(inspect(all, `${server.host}/a/b:1`), refusal("unavailable", /did not arrive in time$/));
});

test("waits as it is told by Retry-After, but not for long", async () => {
  let refusals = 2;
  let header = "0";
  await using server = await serve((request, response) => {
    if (refusals-- <= 0) return oneImage(request, response);
    response.setHeader("Retry-After", header);
    answer(
      request,
      response,
      429,
      "application/json",
      JSON.stringify({ errors: [{ code: "TOOMANYREQUESTS", message: "slow down" }] }),
    );
  });
  using all = registries();
  assert.deepEqual(await inspect(all, `${server.host}/a/b:1`), IMAGE);
  refusals = 100;
  header = "3600";
  const began = server.requests.length;
  await assert.rejects(inspect(all, `${server.host}/a/b:1`), refusal("too-many-requests", /too many requests$/));
  assert.equal(server.requests.length - began, 1);
});

let certificates = "";
let noOpenssl: string | false = false;

before(() => {
  certificates = mkdtempSync(join(tmpdir(), "gantry-remote-"));
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: certificates, stdio: "ignore" });
  try {
    openssl("version");
  } catch {
    noOpenssl = "no openssl to make certificates with";
    return;
  }
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2");
  writeFileSync(join(certificates, "names"), "subjectAltName=DNS:registry.test,IP:127.0.0.1\n");
  for (const name of ["server", "client"]) {
    openssl("req", ...curve, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
    const by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"];
    openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.pem`, ...by);
  }
});

after(() => rmSync(certificates, { recursive: true, force: true }));

function pem(name: string): string {
  return readFileSync(join(certificates, name), "utf8");
}

/** A proxy that reaches any host by the port alone, on loopback: no name is looked up. */
async function startProxy() {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers["proxy-authorization"] ?? ""}`);
    const { port, pathname } = new URL(request.url ?? "");
    if (port !== "") {
      const { method, headers } = request;
      const onward = forward({ host: "127.0.0.1", port, path: pathname, method, headers }, (answered) => {
        response.writeHead(answered.statusCode ?? 0, answered.headers);
        answered.pipe(response);
      });
      onward.on("error", () => response.destroy());
      return void request.pipe(onward);
    }
    oneImage(Object.assign(request, { url: new URL(request.url ?? "").pathname }), response);
  });
  server.on("connect", (request, socket: Socket) => {
    asked.push(`CONNECT ${request.url} ${request.headers["proxy-authorization"] ?? ""}`);
    const onward = connect(Number(request.url?.split(":").at(-1)), "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      socket.pipe(onward).pipe(socket);
    });
    for (const each of [socket, onward]) {
      sockets.add(each);
      each.on("error", () => {});
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://user:hunter2@127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

const nowhere = () => Promise.reject(new Error("no address"));

test("reaches a registry with TLS through a proxy, trusting the authority in its folder", async (t) => {
  if (noOpenssl) return t.skip(noOpenssl);
  await using server = await serve(oneImage, { cert: pem("server.pem"), key: pem("server.key") });
  await using proxy = await startProxy();
  const host = `registry.test:${server.host.split(":")[1]}`;
  const proxies = { ...NO_PROXIES, https: proxy.url };
  using stranger = registries({ proxies }, { lookup: nowhere });
  await assert.rejects(
    inspect(stranger, `${host}/a/b:1`),
    refusal(
      "internal",
      /x509: certificate signed by unknown authority: put its CA into certs\.d\/registry\.test:\d+\/ca\.crt, or add registry\.test:\d+ to insecure-registries$/,
    ),
  );
  const folder = join(certificates, "certs.d");
  mkdirSync(join(folder, host), { recursive: true });
  writeFileSync(join(folder, host, "ca.crt"), pem("ca.pem"));
  using all = registries({ proxies, certificateFolders: [folder] }, { lookup: nowhere });
  assert.deepEqual(await inspect(all, `${host}/a/b:1`), IMAGE);
  const user = Buffer.from("user:hunter2").toString("base64");
  assert.ok(
    proxy.asked.every((line) => line.startsWith(`CONNECT ${host} Basic ${user}`)),
    proxy.asked.join("\n"),
  );
});

test("asks by TLS first where any certificate will do, also after one was refused", async (t) => {
  if (noOpenssl) return t.skip(noOpenssl);
  await using server = await serve(oneImage, { cert: pem("server.pem"), key: pem("server.key") });
  await using proxy = await startProxy();
  const host = `registry.test:${server.host.split(":")[1]}`;
  const proxies = { ...NO_PROXIES, http: proxy.url, https: proxy.url };
  using all = registries({ proxies }, { lookup: nowhere });
  await assert.rejects(inspect(all, `${host}/a/b:1`), refusal("internal", /unknown authority/));
  const found = await all.reading(
    parseNormalized(`${host}/a/b:1`),
    ANONYMOUS,
    (repository) => repository.resolve("1", {}),
    { insecure: true },
  );
  assert.deepEqual(found, IMAGE.Descriptor);
  assert.deepEqual(
    proxy.asked.filter((line) => !line.startsWith("CONNECT ")),
    [],
  );
});

test("sends and reads long bodies through a proxy, with TLS and without", async (t) => {
  if (noOpenssl) return t.skip(noOpenssl);
  const long = randomBytes(20 << 20);
  const taken: Buffer[] = [];
  const listener: RequestListener = (request, response) => {
    if (request.method === "GET") return response.writeHead(200, { "Content-Length": long.length }).end(long);
    request.on("data", (piece: Buffer) => taken.push(piece));
    request.on("end", () => response.writeHead(201, { "Content-Length": 0 }).end());
  };
  await using secure = await serve(listener, { cert: pem("server.pem"), key: pem("server.key") });
  await using plain = await serve(listener);
  await using proxy = await startProxy();
  const lookup = async () => [{ address: "10.1.2.3" }];
  for (const { host } of [secure, plain]) {
    const name = `registry.test:${host.split(":")[1]}`;
    const proxies = { ...NO_PROXIES, https: proxy.url, http: proxy.url };
    using all = registries({ proxies, insecureRegistries: ["10.0.0.0/8"] }, { lookup });
    const layer = { mediaType: "x/y", digest: sha256Of(long), size: long.length };
    taken.splice(0);
    await all.writing(parseNormalized(`${name}/a/b`), ANONYMOUS, {}, async (repository) => {
      const got: Buffer[] = [];
      for await (const piece of repository.blob(layer, {})) got.push(piece);
      assert.ok(Buffer.concat(got).equals(long), name);
      const body = async function* () {
        for (let at = 0; at < long.length; at += 100_000) yield long.subarray(at, at + 100_000);
      };
      const headers = { "Content-Length": String(long.length) };
      (await repository.caller.call({ method: "PUT", url: "v2/up", headers, body }, {})).body.resume();
      assert.ok(Buffer.concat(taken).equals(long), name);
    });
  }
  assert.ok(proxy.asked.length >= 4);
});

test("proves itself by a client certificate, and says what is missing of one", async (t) => {
  if (noOpenssl) return t.skip(noOpenssl);
  const tls = {
    cert: pem("server.pem"),
    key: pem("server.key"),
    ca: pem("ca.pem"),
    requestCert: true,
    rejectUnauthorized: true,
  };
  await using server = await serve(oneImage, tls);
  const folder = join(certificates, "client.d");
  mkdirSync(join(folder, server.host), { recursive: true });
  writeFileSync(join(folder, server.host, "client.cert"), pem("client.pem"));
  using all = registries({ certificateFolders: [folder] });
  await assert.rejects(
    inspect(all, `${server.host}/a/b:1`),
    refusal("invalid", /^missing key client\.key for client certificate client\.cert\./),
  );
  writeFileSync(join(folder, server.host, "client.key"), pem("client.key"));
  assert.deepEqual(await inspect(all, `${server.host}/a/b:1`), IMAGE);
});

test("follows no redirect that leads from https to http", async (t) => {
  if (noOpenssl) return t.skip(noOpenssl);
  await using plain = await serve(oneImage);
  const listener: RequestListener = (request, response) => {
    response.writeHead(307, { Location: `http://${plain.host}${request.url}` });
    response.end();
  };
  await using server = await serve(listener, { cert: pem("server.pem"), key: pem("server.key") });
  await using proxy = await startProxy();
  const host = `registry.test:${server.host.split(":")[1]}`;
  const folder = join(certificates, "safe.d");
  mkdirSync(join(folder, host), { recursive: true });
  writeFileSync(join(folder, host, "ca.crt"), pem("ca.pem"));
  using all = registries(
    { proxies: { ...NO_PROXIES, https: proxy.url }, certificateFolders: [folder] },
    { lookup: nowhere },
  );
  await assert.rejects(inspect(all, `${host}/a/b:1`), refusal("forbidden", /redirects from https to http/));
  assert.equal(plain.requests.length, 0);
});

test("reaches an insecure registry without TLS through a proxy", async () => {
  await using proxy = await startProxy();
  const options = { proxies: { ...NO_PROXIES, http: proxy.url }, insecureRegistries: ["10.0.0.0/8"] };
  const dead = { https: "http://127.0.0.1:1" };
  using all = registries(
    { ...options, proxies: { ...options.proxies, ...dead } },
    { lookup: async () => [{ address: "10.1.2.3" }] },
  );
  assert.deepEqual(await inspect(all, "registry.test/a/b:1"), IMAGE);
  assert.match(proxy.asked[0] ?? "", /^HEAD http:\/\/registry\.test\/v2\/a\/b\/manifests\/1 Basic /);
});

test("asks a mirror first, without the credentials, and the registry where the mirror fails", async () => {
  await using mirror = await serve((request, response) => {
    if (request.url?.startsWith("/v2/library/"))
      return oneImage(Object.assign(request, { url: request.url.replace("library/x", "a/b") }), response);
    answer(request, response, 500, "text/plain", "broken");
  });
  const passedOver: string[] = [];
  using all = registries(
    { mirrors: [`http://${mirror.host}/`], proxies: { ...NO_PROXIES, https: "http://127.0.0.1:1" } },
    { onPassedOver: (host) => passedOver.push(host) },
  );
  assert.deepEqual(await inspect(all, "x:1", JOE), IMAGE);
  assert.deepEqual(passedOver, []);
  assert.ok(mirror.requests.every(({ headers }) => headers.authorization === undefined));
  await assert.rejects(
    inspect(all, "someone/y:1", JOE),
    refusal("internal", /^Head "https:\/\/registry-1\.docker\.io\/v2\/someone\/y\/manifests\/1": /),
  );
  await assert.rejects(inspect(all, "someone/z:1", JOE));
  // Told once, not for each request of a pull.
  assert.deepEqual(passedOver, [mirror.host]);
});
