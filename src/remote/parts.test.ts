import assert from "node:assert/strict";
import { test } from "node:test";
import { Certificates } from "./certificates.ts";
import { parseChallenges } from "./challenge.ts";
import { ANONYMOUS, decodeCredentials } from "./credentials.ts";
import { endpointsOf } from "./endpoint.ts";
import { refused, UnreachableError } from "./failure.ts";
import { isInsecure } from "./insecure.ts";
import { maskProxy, proxyOf } from "./proxy.ts";
import { NO_PROXIES, NO_SETTINGS } from "./registry.fixture.ts";
import { Retries, retryAfter } from "./retry.ts";
import { TIME_LIMITS } from "./settings.ts";

test("reads challenges with quoted commas, several schemes and rubbish", () => {
  const read = (header: string) =>
    parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
  const cases: [string, unknown][] = [
    [
      'Bearer realm="https://a/t",service="r",scope="repository:x:pull,push repository:y:pull"',
      [["bearer", { realm: "https://a/t", service: "r", scope: "repository:x:pull,push repository:y:pull" }]],
    ],
    ['Basic realm="a \\"b\\""', [["basic", { realm: 'a "b"' }]]],
    [
      'Basic realm=x, Bearer realm="y"',
      [
        ["basic", { realm: "x" }],
        ["bearer", { realm: "y" }],
      ],
    ],
    [
      "Negotiate, Basic realm=x",
      [
        ["negotiate", {}],
        ["basic", { realm: "x" }],
      ],
    ],
    ["", []],
    ['"', []],
    [`Bearer realm="${"a".repeat(9000)}`, [["bearer", {}]]],
  ];
  for (const [header, expected] of cases) assert.deepEqual(read(header).slice(0, 2), expected, header.slice(0, 80));
});

test("chooses a proxy as Go's clients do", () => {
  const proxies = {
    ...NO_PROXIES,
    http: "http://plain:1",
    https: "secure:2",
    exceptions: "example.com, .below.test,*.star.test, 10.0.0.0/8,192.0.2.1,only.port:8443,fd00::/8",
  };
  const cases: [string, string | undefined][] = [
    ["http://a.test/", "http://plain:1/"],
    ["https://a.test/", "http://secure:2/"],
    ["https://localhost/", undefined],
    ["https://127.9.9.9:5000/", undefined],
    ["https://[::1]:5000/", undefined],
    ["https://example.com/", undefined],
    ["https://a.example.com/", undefined],
    ["https://notexample.com/", "http://secure:2/"],
    ["https://below.test/", "http://secure:2/"],
    ["https://a.below.test/", undefined],
    ["https://star.test/", "http://secure:2/"],
    ["https://a.star.test/", undefined],
    ["https://10.2.3.4/", undefined],
    ["https://11.2.3.4/", "http://secure:2/"],
    ["https://192.0.2.1/", undefined],
    ["https://only.port:8443/", undefined],
    ["https://only.port/", "http://secure:2/"],
    ["https://[fd00::1]/", undefined],
  ];
  for (const [url, expected] of cases) assert.equal(proxyOf(new URL(url), proxies)?.href, expected, url);
  assert.equal(proxyOf(new URL("https://a.test"), { ...proxies, exceptions: "*" }), undefined);
  assert.throws(
    () => proxyOf(new URL("https://a.test"), { ...NO_PROXIES, https: "socks5://u:hunter2@h" }),
    (error: Error) => {
      assert.equal(error.message, "cannot use the proxy socks5://xxxxx:xxxxx@h: it must be an http:// or https:// URL");
      return true;
    },
  );
  assert.equal(maskProxy("http://u:p@h:1"), "http://xxxxx:xxxxx@h:1");
  assert.equal(maskProxy("http://h:1/@x"), "http://h:1/@x");
});

test("knows insecure registries by name, by range and by loopback", async () => {
  const lookup = async (host: string) => {
    if (host === "in.test") return [{ address: "10.1.1.1" }];
    if (host === "loop.test") return [{ address: "192.0.2.9" }, { address: "127.0.0.1" }];
    throw new Error("unknown");
  };
  const settings = () => ({ ...NO_SETTINGS, insecureRegistries: ["named.test:5000", "10.0.0.0/8", "not/a/range/8"] });
  const cases: [string, boolean][] = [
    ["127.0.0.1:5000", true],
    ["[::1]:5000", true],
    ["localhost:5000", true],
    ["named.test:5000", true],
    ["named.test", false],
    ["10.9.9.9", true],
    ["11.9.9.9", false],
    ["in.test:1", true],
    ["loop.test", true],
    ["unknown.test", false],
  ];
  for (const [host, expected] of cases) assert.equal(await isInsecure(host, { settings, lookup }), expected, host);
});

test("tries https before http, and http only where it may", async () => {
  const lookup = () => Promise.reject(new Error("unknown"));
  const bases = async (domain: string) =>
    (await endpointsOf({ domain, path: "a" }, { settings: () => NO_SETTINGS, lookup }, { mirrors: true })).map(
      ({ base, verify }) => `${base} ${verify}`,
    );
  assert.deepEqual(await bases("docker.io"), ["https://registry-1.docker.io/ true"]);
  assert.deepEqual(await bases("registry.test"), ["https://registry.test/ true"]);
  assert.deepEqual(await bases("localhost:1"), ["https://localhost:1/ false", "http://localhost:1/ false"]);
});

test("reads Retry-After in seconds and as a date", () => {
  const now = Date.parse("Wed, 21 Oct 2026 07:28:00 GMT");
  assert.equal(retryAfter("120", now), 120_000);
  assert.equal(retryAfter("Wed, 21 Oct 2026 07:28:03 GMT", now), 3000);
  assert.equal(retryAfter("Wed, 21 Oct 2020 07:28:03 GMT", now), 0);
  assert.equal(retryAfter("soon", now), undefined);
  assert.equal(retryAfter("-1", now), undefined);
  assert.equal(retryAfter(undefined, now), undefined);
});

test("waits longer before each further try, up to a bound, and no two clients alike", async () => {
  const limits = { ...TIME_LIMITS, head: 1000, idle: 1000, backOff: 4, longestBackOff: 20 };
  const error = new UnreachableError("cut", { isPassing: true });
  const waits = async (): Promise<number[]> => {
    const pauses: number[] = [];
    const retries = new Retries(6, limits, { onWait: (milliseconds) => pauses.push(milliseconds) });
    for (let failed = 1; failed < 6; failed++) await retries.after(error);
    await assert.rejects(retries.after(error), error);
    return pauses;
  };
  const clients = await Promise.all([waits(), waits(), waits(), waits()]);
  for (const pauses of clients) {
    const isWithin = (pause: number, at: number): boolean => {
      const most = [4, 8, 16, 20, 20][at] ?? 0;
      return pause >= most / 2 && pause <= most;
    };
    assert.ok(pauses.length === 5 && pauses.every(isWithin), `${pauses}`);
  }
  assert.equal(new Set(clients.map(String)).size, clients.length);
});

test("words a registry's errors as Docker does", () => {
  const text = (status: number, body: unknown) => {
    const { kind, message } = refused(status, Buffer.from(typeof body === "string" ? body : JSON.stringify(body)));
    return `${kind} ${message}`;
  };
  const denied = { code: "DENIED", message: "requested access to the resource is denied" };
  const unauthorized = { code: "UNAUTHORIZED", message: "authentication required" };
  assert.equal(text(401, { errors: [unauthorized] }), "unauthenticated unauthorized: authentication required");
  assert.equal(
    text(401, { errors: [denied, unauthorized] }),
    "forbidden errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required\n",
  );
  assert.equal(text(429, { details: "slow" }), "too-many-requests toomanyrequests: slow");
  assert.equal(text(429, "slow\ndown"), "too-many-requests toomanyrequests: slow");
  assert.equal(
    text(500, { errors: [{ code: "UNKNOWN", message: "unknown error" }] }),
    "internal received unexpected HTTP status: 500 Internal Server Error",
  );
  assert.equal(text(502, "<html>"), "internal received unexpected HTTP status: 502 Bad Gateway");
  assert.equal(text(400, "no"), "invalid unknown: no");
  assert.equal(text(401, "go\naway"), "unauthenticated unauthorized: go");
  assert.equal(text(403, "go away"), "forbidden denied: go away");
  assert.equal(text(404, "nothing"), "not-found unknown: nothing");
  assert.equal(text(404, "<html>"), 'not-found error parsing HTTP 404 response body: "<html>"');
  assert.equal(
    text(404, { errors: [{ code: "NAME_UNKNOWN", message: "\u001b[31mred" }] }),
    "not-found name unknown: [31mred",
  );
  assert.equal(text(403, { errors: 7 }), 'forbidden error parsing HTTP 403 response body: "{\\"errors\\":7}"');
});

test("a registry that wants more than the token allows denies, whatever else it says", () => {
  const header =
    'Bearer realm="https://auth.example/token",service="s",scope="repository:a:pull",error="insufficient_scope"';
  const errors = [{ code: "UNAUTHORIZED", message: "authentication required" }];
  const error = refused(401, Buffer.from(JSON.stringify({ errors })), { "www-authenticate": header });
  assert.deepEqual([error.status, error.kind, error.code], [401, "forbidden", "DENIED"]);
  assert.equal(error.reason, "denied: requested access to the resource is denied");
  assert.equal(error.message, `errors:\n${error.reason}\nunauthorized: authentication required\n`);
  const passing = refused(502, Buffer.from(""), { "www-authenticate": header });
  assert.equal(passing.reason, "received unexpected HTTP status: 502 Bad Gateway");
  assert.equal(error.worded('Get "https://r.example/v2/": x').reason, error.reason);
});

test("reads X-Registry-Auth in either alphabet, and never repeats what it holds", () => {
  const value = { username: "jöe?>", password: "hunter2~~~", identitytoken: "t" };
  const expected = { username: "jöe?>", password: "hunter2~~~", identityToken: "t", registryToken: "" };
  for (const alphabet of ["base64", "base64url"] as const) {
    assert.deepEqual(decodeCredentials(Buffer.from(JSON.stringify(value)).toString(alphabet)), expected);
  }
  assert.equal(decodeCredentials(undefined), ANONYMOUS);
  assert.equal(decodeCredentials(""), ANONYMOUS);
  for (const bad of [
    "!!!",
    Buffer.from("hunter2").toString("base64"),
    Buffer.from('{"password":7}').toString("base64"),
    "a".repeat(70_000),
  ]) {
    assert.throws(
      () => decodeCredentials(bad),
      (error: Error) => {
        assert.match(error.message, /^invalid X-Registry-Auth header: /);
        assert.doesNotMatch(error.message, /hunter2/);
        return true;
      },
    );
  }
});

test("registries without certificates of their own share one context, also when many are asked at once", async () => {
  const certificates = new Certificates();
  const hosts = Array.from({ length: 20 }, (_, at) => `127.0.0.1:${at + 1}`);
  const contexts = await Promise.all(hosts.map((host) => certificates.contextOf(host, [])));
  assert.equal(new Set(contexts).size, 1);
});
