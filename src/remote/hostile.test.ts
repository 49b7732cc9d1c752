import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { after, test } from "node:test";
import { sha256Of } from "../oci/digest.ts";
import { parseNormalized } from "../oci/reference.ts";
import { ANONYMOUS, type Credentials } from "./credentials.ts";
import { Inward } from "./inward.ts";
import { answer, CONFIG, MANIFEST, NO_SETTINGS, registries, serve } from "./registry.fixture.ts";
import type { RemotePorts, TimeLimits } from "./settings.ts";
import { Transport } from "./transport.ts";

/** What no HTTP library would send, and what one that is hostile would. */

const QUICK: Partial<TimeLimits> = { backOff: 5, longestBackOff: 10, idle: 500, head: 500, document: 500 };
const JOE: Credentials = { ...ANONYMOUS, username: "joe", password: "hunter2-of-joe" };
const TYPE = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
const LENGTH = `Content-Length: ${MANIFEST.length}\r\n`;

type Script = (head: string, socket: Socket, host: string) => void;

/** A server whose answers are bytes. */
async function scripted(
  script: Script,
): Promise<{ readonly host: string; readonly heads: string[] } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const heads: string[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    let text = "";
    socket.on("data", (piece) => {
      // It speaks no TLS.
      if (text === "" && piece[0] === 0x16) return void socket.destroy();
      text += piece.toString("latin1");
      for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
        heads.push(text.slice(0, end));
        text = text.slice(end + 4);
        script(heads.at(-1) ?? "", socket, host);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    host,
    heads,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

const says =
  (...pieces: (string | Buffer)[]): Script =>
  (_head, socket) => {
    for (const piece of pieces) socket.write(piece);
  };
const refers = (location: string): Script =>
  says(`HTTP/1.1 307 X\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`);
const challenges = (header: string): Script =>
  says(`HTTP/1.1 401 X\r\nWWW-Authenticate: ${header}\r\nContent-Length: 0\r\n\r\n`);
const gives =
  (token: unknown): Script =>
  (head, socket, host) => {
    const body = JSON.stringify(token);
    if (/^GET \/token/.test(head)) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    else challenges(`Bearer realm="http://${host}/token"`)(head, socket, host);
  };
const dripping =
  (before: string, drop: string): Script =>
  (_head, socket) => {
    socket.write(before);
    const timer = setInterval(() => socket.write(drop), 5);
    socket.once("close", () => clearInterval(timer));
  };
const MANY = Array.from({ length: 1000 }, (_, at) => `X-${at}: ${"a".repeat(1000)}\r\n`).join("");
const SIZE = MANIFEST.length.toString(16);

/** What is answered to the question for a manifest, and the end of what is said of it; undefined where it is taken. */
const ANSWERS: Readonly<Record<string, readonly [Script, RegExp | undefined]>> = {
  "a megabyte of headers": [says(`HTTP/1.1 200 OK\r\n${MANY}\r\n`), /response headers exceeded 16384 bytes; aborted$/],
  "answers before the answer, without end": [
    dripping("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(20)),
    /more than a hundred answers came before the answer$/,
  ],
  "another protocol": [
    says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
    /another protocol was answered, unasked$/,
  ],
  "an end to what HTTP is": [says("SSH-2.0-OpenSSH_9\r\n"), /malformed HTTP response: /],
  "bytes of no meaning": [says(Buffer.alloc(100_000, 0xff)), /malformed HTTP response: /],
  "two lengths": [
    says(`HTTP/1.1 200 OK\r\n${TYPE}Content-Length: 5\r\n${LENGTH}\r\n`, MANIFEST),
    /malformed HTTP response: /,
  ],
  "a length and chunks": [
    says(`HTTP/1.1 200 OK\r\n${TYPE}${LENGTH}Transfer-Encoding: chunked\r\n\r\n`),
    /malformed HTTP response: /,
  ],
  "a length beyond numbers": [
    says(`HTTP/1.1 200 OK\r\n${TYPE}Content-Length: ${"9".repeat(30)}\r\n\r\n`),
    /malformed HTTP response: /,
  ],
  "a chunk with a megabyte of extensions": [
    says(`HTTP/1.1 200 OK\r\n${TYPE}Transfer-Encoding: chunked\r\n\r\n${SIZE};${"a".repeat(1 << 20)}\r\n`),
    /unexpected EOF$/,
  ],
  "a chunk beyond numbers": [
    says(`HTTP/1.1 200 OK\r\n${TYPE}Transfer-Encoding: chunked\r\n\r\n${"f".repeat(20)}\r\n`),
    /unexpected EOF$/,
  ],
  "a megabyte of trailers": [
    says(`HTTP/1.1 200 OK\r\n${TYPE}Transfer-Encoding: chunked\r\n\r\n${SIZE}\r\n${MANIFEST}\r\n0\r\n${MANY}\r\n`),
    /unexpected EOF$/,
  ],
  "HTTP/1.0, which ends with its connection": [
    (_head, socket) => void socket.end(`HTTP/1.0 200 OK\r\n${TYPE}\r\n${MANIFEST}`),
    undefined,
  ],
  "one answer too many": [
    says(`HTTP/1.1 200 OK\r\n${TYPE}${LENGTH}\r\n`, MANIFEST, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
    undefined,
  ],
  "no content": [says("HTTP/1.1 204 X\r\n\r\n"), /invalid image manifest: it is not JSON$/],
  "that nothing has changed": [says("HTTP/1.1 304 X\r\n\r\n"), /error parsing HTTP 304 response body: ""$/],
  "a status that there isn't": [says("HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"), /unexpected HTTP status: 999$/],
  "a head that never ends": [
    dripping("HTTP/1.1 200 OK\r\n", "X"),
    /Client\.Timeout exceeded while awaiting headers\)$/,
  ],
  "a body that drips": [
    dripping(`HTTP/1.1 200 OK\r\n${TYPE}Content-Length: 900000\r\n\r\n`, " "),
    /did not arrive in time$/,
  ],
  "the digest of something else": [
    says(`HTTP/1.1 200 OK\r\n${TYPE}${LENGTH}Docker-Content-Digest: ${sha256Of(CONFIG)}\r\n\r\n`, MANIFEST),
    /manifest verification failed for digest sha256:\w+$/,
  ],
  "a redirect to a file": [refers("file:///etc/passwd"), /to an unsupported protocol scheme "file"$/],
  "a redirect to a socket": [refers("unix:///run/docker.sock"), /to an unsupported protocol scheme "unix"$/],
  "a redirect to data": [refers("data:text/plain,x"), /to an unsupported protocol scheme "data"$/],
  "a redirect to nowhere": [refers(""), /307 response missing Location header$/],
  "a redirect to what is no URL": [refers("http://[::1"), /307 response with a location that is no URL$/],
  "a redirect that grows": [
    (head, socket, host) => refers(`${/^GET (\S+)/.exec(head)?.[1] ?? ""}x`)(head, socket, host),
    /stopped after 10 redirects$/,
  ],
  "a token server in a file": [challenges('Bearer realm="file:///etc/passwd"'), /names a token server that is no URL$/],
  "a token server at a socket": [challenges('Bearer realm="unix:///run/x"'), /names a token server that is no URL$/],
  "a token server without a name": [challenges("Bearer"), /names a token server that is no URL$/],
  "ten thousand challenges": [challenges("a,".repeat(7000)), /unauthorized: authentication required$/],
  "challenges that open and never close": [challenges('a b="'.repeat(2500)), /unauthorized: authentication required$/],
  "a token with a header in it": [
    gives({ token: "a\r\nX-Evil: 1" }),
    /server did not include a token in the response$/,
  ],
  "a token of a megabyte": [gives({ token: "a".repeat(900_000) }), /server did not include a token in the response$/],
  "a token that is a number": [gives({ token: 5 }), /server did not include a token in the response$/],
  "a token for ever": [gives({ token: "a", expires_in: 1e300 }), /unauthorized: authentication required$/],
};

for (const [title, [script, expected]] of Object.entries(ANSWERS)) {
  test(`a registry that answers ${title} is ${expected === undefined ? "understood" : "refused in one sentence"}`, async () => {
    await using server = await scripted(script);
    using all = registries({}, { limits: QUICK });
    const asked = all.reading(parseNormalized(`${server.host}/a/b:1`), JOE, (repository) =>
      repository.manifest("1", {}),
    );
    if (expected === undefined) {
      assert.deepEqual((await asked).bytes, MANIFEST);
      return;
    }
    await assert.rejects(asked, (error: Error) => {
      assert.match(error.message, expected);
      assert.doesNotMatch(error.message, /\n|hunter2/);
      return true;
    });
    assert.doesNotMatch(server.heads.join("\n"), /X-Evil/i);
  });
}

test("referrers that come again and again end the list, as do lists without an end", async () => {
  const row = (at: number): string =>
    JSON.stringify({ mediaType: "a/b", digest: sha256Of(Buffer.from(String(at))), size: 1 });
  const page = (rows: string): string => `{"schemaVersion":2,"manifests":[${rows}]}`;
  let pages = 0;
  const serving =
    (body: () => string): Script =>
    (head, socket) => {
      pages++;
      const text = body();
      const link = `Link: <${/^GET (\S+)/.exec(head)?.[1]}>; rel="next"\r\n`;
      socket.write(`HTTP/1.1 200 OK\r\n${link}Content-Length: ${text.length}\r\n\r\n${text}`);
    };
  const asked = async (script: Script): Promise<number> => {
    pages = 0;
    await using server = await scripted(script);
    using all = registries({}, { limits: { ...QUICK, document: 20_000 } });
    const found = await all.reading(parseNormalized(`${server.host}/a/b:1`), ANONYMOUS, (repository) =>
      repository.referrers(sha256Of(MANIFEST), {}, {}),
    );
    return found.length;
  };
  assert.equal(await asked(serving(() => page(row(1)))), 1);
  assert.equal(pages, 2);
  const padding = JSON.stringify("x".repeat(4 << 20));
  await assert.rejects(
    asked(serving(() => page(`${row(pages)},{"annotations":{"a":${padding}},${row(0).slice(1)}`))),
    /cannot read the referrers: the list is longer than 67108864 bytes$/,
  );
  assert.ok(pages < 20, `${pages} pages`);
});

/** Names with addresses, and what may be insecure; nobody is asked. */
function names(table: Readonly<Record<string, string>>, insecureRegistries: readonly string[] = []): RemotePorts {
  return {
    settings: () => ({ ...NO_SETTINGS, insecureRegistries }),
    lookup: async (host) => [{ address: table[host] ?? "198.51.100.7" }],
  };
}

test("a registry sends nobody to what listens on this machine alone, by whatever name", async () => {
  const far = "registry.example:5000";
  const urls = [
    "http://127.0.0.1:2375/",
    "http://2130706433/",
    "http://0/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://localhost/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
  ];
  for (const text of urls) {
    const given = { url: new URL(text), by: far };
    const inward = new Inward(names({}));
    assert.throws(
      () => inward.refuse(given),
      /^GantryError: cannot follow registry\.example:5000 to \S+: \S+ is an address of this machine alone, or of its link; add \S+ to insecure-registries if it is meant$/,
      text,
    );
    inward.refuse({ ...given, by: "127.0.0.1:5000" });
    inward.refuse({ ...given, by: "[::1]:5000" });
    inward.refuse({ ...given, by: "localhost" });
    inward.answered("near.example", "::ffff:127.0.0.1");
    inward.refuse({ ...given, by: "near.example" });
    new Inward(names({}, [given.url.host])).refuse(given);
  }
  new Inward(names({}, ["127.0.0.0/8"])).refuse({ url: new URL("http://127.0.0.1:2375/"), by: far });
  for (const text of ["http://10.0.0.1/", "http://198.51.100.1/", "https://cdn.example/", "http://[2001:db8::1]/"]) {
    new Inward(names({})).refuse({ url: new URL(text), by: far });
  }
});

function lookUp(inward: Inward, host: string, by = "registry.example", all = true): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const given = { url: new URL(`http://${host}/`), by };
    inward.lookup(given)(given.url.hostname, { all }, (error, address) => (error ? reject(error) : resolve(address)));
  });
}

test("a name that is looked up for a registry has no address of this machine alone", async () => {
  const inward = new Inward(names({ "inside.example": "127.0.0.1", "meta.example": "169.254.169.254" }));
  await assert.rejects(lookUp(inward, "inside.example"), /127\.0\.0\.1 is an address of this machine alone/);
  await assert.rejects(lookUp(inward, "meta.example"), /169\.254\.169\.254 is an address of this machine alone/);
  assert.deepEqual(await lookUp(inward, "inside.example", "127.0.0.1:5000"), [{ address: "127.0.0.1", family: 4 }]);
  assert.deepEqual(await lookUp(inward, "cdn.example"), [{ address: "198.51.100.7", family: 4 }]);
  assert.equal(await lookUp(inward, "cdn.example", "registry.example", false), "198.51.100.7");
});

test("a registry is where its answers came from, whatever its name is said to be later", async () => {
  // Its own name, too, is looked up as what would let it through.
  const rebound = new Inward(names({ "evil.example": "127.0.0.1" }, ["10.0.0.0/8"]));
  rebound.answered("evil.example", "198.51.100.7");
  const given = { url: new URL("http://169.254.169.254/"), by: "evil.example" };
  assert.throws(() => rebound.refuse(given), { kind: "forbidden" });
  await assert.rejects(lookUp(rebound, "evil.example:2375", "evil.example"), { kind: "forbidden" });
  rebound.answered("evil.example", "127.0.0.1");
  assert.throws(() => rebound.refuse(given), { kind: "forbidden" });
});

test("a connection that was made for somebody else is no way inside", async () => {
  let asked = 0;
  await using inside = await serve((request, response) => {
    asked++;
    answer(request, response, 200, "text/plain", "a secret");
  });
  const port = inside.host.split(":")[1];
  // The far one answers from here, too: as a proxy would bring it.
  await using far = await serve((_request, response) => {
    response.writeHead(307, { Location: `http://inside.example:${port}/keys` }).end();
  });
  const lookup = async () => [{ address: "127.0.0.1" }];
  const proxies = { ...NO_SETTINGS.proxies, http: `http://${far.host}`, exceptions: "inside.example" };
  const transport = new Transport({ settings: () => ({ ...NO_SETTINGS, proxies }), lookup });
  after(() => transport.close());
  const get = async (url: string, givenBy?: string) => {
    const { body, status } = await transport.send(
      { method: "GET", url: new URL(url), verify: true, ...(givenBy !== undefined && { givenBy }) },
      {},
    );
    body.resume();
    await once(body, "end");
    return status;
  };
  await assert.rejects(get("http://evil.example/", "evil.example"), /cannot follow evil\.example to inside\.example/);
  // By a registry that is inside itself: its connection stays open.
  assert.equal(await get(`http://inside.example:${port}/`, "127.0.0.1:1"), 200);
  await assert.rejects(get("http://evil.example/", "evil.example"), /cannot follow evil\.example to inside\.example/);
  assert.equal(asked, 1);
});
