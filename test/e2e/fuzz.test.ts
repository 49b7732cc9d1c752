import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import * as fc from "fast-check";
import { BODIES } from "../../src/api/bodies.ts";
import type { JsonSchema } from "../../src/api/json-schema.ts";
import type { Choice, QueryKind } from "../../src/api/query.ts";
import { ROUTES, type Route, type RouteName } from "../../src/api/routes.ts";
import type { Shape } from "../../src/api/shape.ts";
import { startEngine, type TestEngine } from "../engine.ts";

/**
 * Every route of the table with hostile values. `GANTRY_FUZZ_SECONDS` gives it more time, `GANTRY_FUZZ_SEED` repeats a
 * run, `GANTRY_FUZZ_ROUTE` looks at one route only.
 */
const SECONDS = Number(process.env.GANTRY_FUZZ_SECONDS ?? 40);
const SEED = Number(process.env.GANTRY_FUZZ_SEED ?? Date.now() % 2 ** 31);
const ONLY = process.env.GANTRY_FUZZ_ROUTE;

/** What streams is left after so long. */
const PATIENCE_MS = 400;

interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | undefined;
}

interface Reply {
  /** undefined if nothing came in time. */
  readonly status: number | undefined;
  readonly type: string;
  readonly text: string;
}

const WORDS = [
  ...["", " ", "\0", "a\0b", ".", "..", "../../etc/passwd", "/", "//", "a/../b", "/etc/passwd", "%00", "%", "%zz"],
  ...["💥", "e\u0301".repeat(100), "\u202e", "９", "a".repeat(300), "a".repeat(5000), "\ud800", "\r\nX: y", "\n"],
  ...[
    "-1",
    "0",
    "1",
    "1.5",
    "1e999",
    "NaN",
    "Infinity",
    "99999999999999999999",
    "0x10",
    "null",
    "true",
    "-v",
    "--help",
  ],
  ...["{}", "[]", '{"a":', "__proto__", "constructor", "toString", "$(id)", "`id`", "*", "?", "#", ":", "a:b:c:d", "@"],
  ...["sha256:", `sha256:${"0".repeat(64)}`, "sha256:zz", "busybox@sha256:zz", "UPPER", "a=b", "=", "host", "none"],
  ...["container:", "container:nobody", "bridge", "default", "nobody:nogroup", "9999999999", "KILL", "SIGTERM", "15"],
];

const word = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...WORDS) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 30 }) },
);
const KNOWN_FILTERS = [
  ...["label", "label!", "name", "id", "status", "until", "before", "since", "reference", "dangling", "driver", "type"],
  ...[
    "volume",
    "network",
    "health",
    "exited",
    "publish",
    "expose",
    "ancestor",
    "is-task",
    "isolation",
    "event",
    "scope",
  ],
  ...["container", "image", "all", "__proto__", "bogus"],
];
const filters = fc.oneof(
  word,
  fc.dictionary(fc.constantFrom(...KNOWN_FILTERS), fc.array(word, { maxLength: 3 }), { maxKeys: 3 }).map(toJson),
  fc.dictionary(fc.constantFrom(...KNOWN_FILTERS), fc.dictionary(word, fc.boolean(), { maxKeys: 2 })).map(toJson),
  fc.json({ maxDepth: 3 }),
);

/** Values of a query parameter: of its kind as often as not. */
function paramOf(kind: QueryKind | Choice): fc.Arbitrary<string> {
  if (typeof kind === "object") return fc.oneof(fc.constantFrom(...kind.oneOf), word);
  switch (kind) {
    case "bool":
    case "boolOrTrue":
      return fc.oneof(fc.constantFrom("1", "0", "true", "false"), word);
    case "int":
      return fc.oneof(fc.constantFrom("0", "1", "-1", "3"), word);
    case "filters":
      return filters;
    case "nanos":
      return fc.oneof(
        fc.constantFrom("1", "1700000000.123456789", "-1", "10m", "1.9999999999999", "99999999999999"),
        word,
      );
    default:
      return word;
  }
}

const anything = fc.oneof(
  word,
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.constant([]),
  fc.constant({}),
);
const bigNumber = fc.constantFrom(-1, 0, 1, 2 ** 31, 2 ** 53, -(2 ** 53), 1e300, 0.5);

/** Fields whose hostile values must not reach out of the test: hosts' paths and registries. */
const CAREFUL: Readonly<Record<string, readonly unknown[]>> = {
  Binds: [
    [":"],
    ["a:b:c:d"],
    ["/:/"],
    ["../x:/y"],
    ["fuzz:relative"],
    ["fuzz:/data:bogus"],
    ["fuzz:/data"],
    [""],
    null,
  ],
  Source: ["fuzz", "", "..", "/nowhere/at/all", 7],
  Type: ["bind", "volume", "tmpfs", "image", "bogus", "", 1],
  serveraddress: ["127.0.0.1:1", "", "\0", "https://127.0.0.1:1/v1/"],
  device: ["/nowhere", "tmpfs", ""],
};

/** A body with a few fields, most of the right type and some of them broken. */
function bodyOf(schema: JsonSchema, depth = 0): fc.Arbitrary<unknown> {
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map((each) => bodyOf(each, depth)), anything);
  const type = typeof schema.type === "string" ? schema.type : schema.type?.[0];
  const broken = { weight: 1, arbitrary: anything };
  switch (type) {
    case "string":
      return fc.oneof({ weight: 6, arbitrary: word }, broken);
    case "integer":
      return fc.oneof({ weight: 4, arbitrary: fc.oneof(fc.integer(), bigNumber) }, broken);
    case "boolean":
      return fc.oneof({ weight: 6, arbitrary: fc.boolean() }, broken);
    case "array": {
      const item = schema.items ? bodyOf(schema.items, depth + 1) : anything;
      return fc.oneof({ weight: 6, arbitrary: fc.array(item, { maxLength: 3 }) }, broken);
    }
    default: {
      if (schema.properties === undefined) {
        const value = schema.additionalProperties ? bodyOf(schema.additionalProperties, depth + 1) : anything;
        return fc.oneof({ weight: 6, arbitrary: fc.dictionary(word, value, { maxKeys: 2 }) }, broken);
      }
      const fields = Object.entries(schema.properties).map(([name, each]) => {
        const careful = CAREFUL[name];
        return [name, careful === undefined ? bodyOf(each, depth + 1) : fc.constantFrom(...careful)] as const;
      });
      const few = fc
        .subarray([...fields], { minLength: 0, maxLength: Math.min(3, fields.length) })
        .chain((chosen) => fc.record(Object.fromEntries(chosen)));
      return depth === 0 ? few : fc.oneof({ weight: 6, arbitrary: few }, broken);
    }
  }
}

/** Values of path and query parameters that would go out to the network, or take minutes. */
const CAREFUL_PARAMS: Readonly<Record<string, readonly string[]>> = {
  distributionInspect: ["127.0.0.1:1/a", "127.0.0.1:1/a:b", "", "..", "UPPER", "127.0.0.1:1/a@sha256:zz"],
  imageBootstrap: ["", "nope", "../x", "busybox:\0"],
  imageCreate: ["", "-", "127.0.0.1:1/a", "http://127.0.0.1:1/x", "file:///etc/passwd", "\0", "busybox"],
  ...Object.fromEntries(
    [
      "imagePush",
      "imageCopy",
      "imagePullPlan",
      "registrySearch",
      "distributionManifest",
      "distributionManifestDelete",
      "distributionManifestPut",
      "distributionTags",
      "signatureList",
      "signaturePut",
    ].map((name) => [name, ["127.0.0.1:1/a", "127.0.0.1:1/a:b", "busybox", "", "..", "UPPER", "127.0.0.1:1/", "\0"]]),
  ),
};

const FIXTURES = ["fuzz-runs", "fuzz-ended", "fuzz", "busybox", "busybox:latest", "bridge"];
const VERSIONS = ["", "", "/v1.51", "/v1.24", "/v1.40", "/v1.43", "/v1.52", "/v1.99999999999", "/v0", "/v1.44.9"];

/** `execId` is of the container that runs. */
function callOf(name: string, route: Route, execId: string): fc.Arbitrary<Call> {
  const careful = CAREFUL_PARAMS[name];
  const target = careful
    ? fc.constantFrom(...careful)
    : fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...FIXTURES, execId) }, { weight: 1, arbitrary: word });
  const params = fc.array(
    fc.constantFrom(...Object.keys(route.query), "bogus").chain((param) => {
      const kind = route.query[param];
      const value = careful && kind === "text" ? fc.constantFrom(...careful) : paramOf(kind ?? "text");
      return fc.tuple(fc.constant(param), value);
    }),
    { maxLength: 4 },
  );
  const path = fc.tuple(fc.constantFrom(...VERSIONS), target, params).map(([version, segment, query]) => {
    const filled = route.path.replaceAll(/[:*]\w+/g, () => encoded(segment));
    const search = query.map(([param, value]) => `${encoded(param)}=${encoded(value)}`).join("&");
    return `${version}${filled}${search === "" ? "" : `?${search}`}`;
  });
  const headers = fc.constantFrom<Record<string, string>>(
    {},
    {},
    {},
    route.hijacks ? { Upgrade: "tcp", Connection: "Upgrade" } : {},
    { "Content-Type": "text/plain" },
    { "Content-Type": "application/json; charset=\u007f" },
    { "X-Registry-Auth": "no base64 \u007f" },
    { Expect: "100-continue" },
  );
  return fc.record({ method: fc.constant(route.method), path, headers, body: payloadOf(route) }).map(withType);
}

function payloadOf(route: Route): fc.Arbitrary<string | Uint8Array | undefined> {
  const { body } = route;
  if (body === undefined) return fc.option(fc.constantFrom("x", "{}"), { nil: undefined, freq: 8 });
  if ("media" in body)
    return fc.oneof(fc.uint8Array({ maxLength: 2000 }), fc.constant(undefined), fc.constant(Buffer.alloc(1024)));
  const shape = (BODIES as Readonly<Record<string, Shape<unknown>>>)[body.json];
  assert.ok(shape !== undefined, body.json);
  const made = bodyOf(shape.schema()).map((value) => {
    const base = body.json === "ContainerCreateRequest" ? { Image: "busybox", Cmd: ["true"] } : {};
    return toJson(typeof value === "object" && !Array.isArray(value) ? { ...base, ...value } : value);
  });
  const deep = "[".repeat(20_000);
  return fc.oneof(
    { weight: 12, arbitrary: made },
    {
      weight: 1,
      arbitrary: fc.constantFrom("", "{", "null", "[]", deep, '{"a":1}{}', "\ufeff{}", '{"Image":"a","image":7}'),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }) },
  );
}

function withType(call: Call): Call {
  if (typeof call.body !== "string" || call.headers["Content-Type"] !== undefined) return call;
  return { ...call, headers: { ...call.headers, "Content-Type": "application/json" } };
}

function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function toJson(value: unknown): string {
  return JSON.stringify(value) ?? "null";
}

/** A header's value that no client library sends is left out. */
function sendable(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.replaceAll("\u007f", "?")]));
}

/** Node's client announces no length of a GET's body by itself. */
function lengthOf(body: Call["body"]): Record<string, string> {
  return body === undefined ? {} : { "Content-Length": String(Buffer.byteLength(body)) };
}

function send(socketPath: string, { method, path, headers, body }: Call): Promise<Reply> {
  const { promise, resolve } = Promise.withResolvers<Reply>();
  let status: number | undefined;
  let type = "";
  let text = "";
  const call = httpRequest({
    socketPath,
    method,
    path,
    headers: { ...sendable(headers), ...lengthOf(body) },
    agent: false,
  });
  const settle = () => {
    clearTimeout(timer);
    call.destroy();
    resolve({ status, type, text });
  };
  const timer = setTimeout(settle, PATIENCE_MS);
  const onResponse = (response: IncomingMessage) => {
    status = response.statusCode;
    type = response.headers["content-type"] ?? "";
    response.on("data", (piece: Buffer) => {
      if (text.length < 100_000) text += piece.toString();
    });
    response.once("end", settle).once("error", settle);
  };
  call.once("response", onResponse).once("error", settle);
  call.once("upgrade", (response) => {
    status = response.statusCode;
    settle();
  });
  call.end(body);
  return promise;
}

/** What a registry does wrong is Docker's 500. */
const ASKS_OTHERS =
  /^(\/v[0-9.]+)?\/(auth|images\/(create|search|.*\/push)|gantry\/images\/(copy|pull)|(gantry\/)?distribution\/.*)(\?|$)/;
/** Docker Hub is behind it: nothing is looked up, and nothing answers. */
const NOWHERE = "http://127.0.0.1:1";
/** A refusal that dockerd answers with 500, too. */
const NO_LINK = "cannot remove the default link name of the container";

function checkReply(call: Call, { status, type, text }: Reply): void {
  if (status === undefined) return;
  const shown = `${call.method} ${call.path.slice(0, 300)}: ${status} ${text.slice(0, 500)}`;
  const isOthers = ASKS_OTHERS.test(call.path) || /^\{"message":"Get \\"/.test(text) || text.includes(NO_LINK);
  if (!isOthers) assert.notEqual(status, 500, shown);
  assert.doesNotMatch(text, /\bat (file|node):|TypeError|RangeError|\[object Object\]|undefined/, shown);
  if (status < 400) return;
  assert.equal(type, "application/json", shown);
  const answer = JSON.parse(text || "{}") as Record<string, unknown>;
  if (call.method === "HEAD") return;
  assert.deepEqual(Object.keys(answer), ["message"], shown);
  assert.ok(typeof answer.message === "string" && answer.message !== "", shown);
  assert.ok(answer.message.length < 20_000, `a refusal doesn't repeat all that it was given: ${shown}`);
}

describe("hostile values on every route", () => {
  let engine: TestEngine;
  let execId = "";
  let pid = 0;

  before(async () => {
    engine = await startEngine({ args: ["--http-proxy", NOWHERE, "--https-proxy", NOWHERE] });
    pid = engine.pid;
    await makeFixtures();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  /** What a call has removed or ended is made again. */
  async function makeFixtures(): Promise<void> {
    if ((await engine.request("GET", "/images/busybox/json")).status === 404) await engine.bootstrap("busybox");
    await engine.request("POST", "/volumes/create", { Name: "fuzz" });
    const post = (path: string, body?: unknown) => engine.request("POST", path, body);
    for (const [name, command] of [
      ["fuzz-runs", ["sleep", "1000"]],
      ["fuzz-ended", ["true"]],
    ] as const) {
      const state = (await engine.request("GET", `/containers/${name}/json`)).json?.State;
      if (state === undefined) await post(`/containers/create?name=${name}`, { Image: "busybox", Cmd: command });
      if (state?.Paused === true) await post(`/containers/${name}/unpause`);
      if (state?.Running !== true && name === "fuzz-runs") await post(`/containers/${name}/start`);
    }
    if (execId !== "" && (await engine.request("GET", `/exec/${execId}/json`)).status === 200) return;
    execId = (await post("/containers/fuzz-runs/exec", { Cmd: ["cat"], AttachStdin: true })).json?.Id ?? "";
  }

  async function removeMade(): Promise<void> {
    const listed = (await engine.request("GET", "/containers/json?all=1")).json as { Id: string; Names: string[] }[];
    for (const { Id, Names } of listed) {
      if (!Names.some((name) => name.startsWith("/fuzz")))
        await engine.request("DELETE", `/containers/${Id}?force=1&v=1`);
    }
    const networks = (await engine.request("GET", "/networks")).json as { Id: string; Name: string }[];
    for (const { Id, Name } of networks) {
      if (!["bridge", "host", "none"].includes(Name)) await engine.request("DELETE", `/networks/${Id}`);
    }
    const volumes = (await engine.request("GET", "/volumes")).json?.Volumes as { Name: string }[];
    for (const { Name } of volumes)
      if (Name !== "fuzz") await engine.request("DELETE", `/volumes/${encoded(Name)}?force=1`);
  }

  async function runCall(call: Call): Promise<number | undefined> {
    const reply = await send(engine.socket, call);
    checkReply(call, reply);
    const id =
      reply.status === 201 && call.path.includes("/containers/create")
        ? (JSON.parse(reply.text) as { Id: string }).Id
        : undefined;
    if (id === undefined) return reply.status;
    const start: Call = { method: "POST", path: `/containers/${id}/start`, headers: {}, body: undefined };
    checkReply(start, await send(engine.socket, start));
    const inspect: Call = { ...start, method: "GET", path: `/containers/${id}/json` };
    checkReply(inspect, await send(engine.socket, inspect));
    await engine.request("DELETE", `/containers/${id}?force=1&v=1`);
    return reply.status;
  }

  const handles = () => readdirSync(`/proc/${pid}/fd`).length;
  const memory = () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
  const files = () =>
    ["containers", "volumes", "snapshots", "tmp", "exec"].map((name) => {
      const path = join(name === "exec" ? engine.execRoot : engine.dataRoot, name === "exec" ? "" : name);
      return [name, entriesOf(path)] as const;
    });

  const rows = (Object.keys(ROUTES) as RouteName[]).filter((name) => ONLY === undefined || name === ONLY);
  let before_: { handles: number; memory: number; files: ReturnType<typeof files> } | undefined;

  for (const name of rows) {
    test(`${name} answers whatever it is asked`, async (t) => {
      t.diagnostic(`GANTRY_FUZZ_SEED=${SEED}`);
      before_ ??= { handles: handles(), memory: memory(), files: files() };
      await makeFixtures();
      const statuses: Record<string, number> = {};
      const deadline = Date.now() + (SECONDS * 1000) / rows.length;
      const property = fc.asyncProperty(callOf(name, ROUTES[name], execId), async (call) => {
        // fast-check's own limit would also leave a call in the air, and fail a route whose first one takes longer.
        if (Object.keys(statuses).length > 0 && Date.now() > deadline) throw new fc.PreconditionFailure(true);
        const status = await runCall(call);
        statuses[status ?? "none"] = (statuses[status ?? "none"] ?? 0) + 1;
      });
      await fc.assert(property, { seed: SEED, numRuns: 100_000, markInterruptAsFailure: false });
      t.diagnostic(`${JSON.stringify(statuses)}, ${handles()} handles, ${memory().toFixed()} MB`);
      assert.equal((await engine.request("GET", "/_ping")).status, 200, engine.log.slice(-3000));
      await removeMade();
    });
  }

  test("nothing is left behind: no handle, no memory, no file, no word of failure in the log", async (t) => {
    const began = before_!;
    await makeFixtures();
    const deadline = Date.now() + 15_000;
    // Sessions and processes that clients left end a moment later.
    while (handles() > began.handles + 10 && Date.now() < deadline) await pause(100);
    t.diagnostic(
      `handles ${began.handles} → ${handles()}, memory ${began.memory.toFixed()} → ${memory().toFixed()} MB`,
    );
    assert.ok(handles() <= began.handles + 10, `${began.handles} handles became ${handles()}`);
    // V8 lets its heap grow by some 80 to 120 MB under this load, and no further however long it lasts.
    assert.ok(memory() < began.memory + 180, `${began.memory} MB became ${memory()}`);
    for (const [name, count] of files()) {
      const earlier = began.files.find(([each]) => each === name)?.[1] ?? 0;
      assert.ok(count <= earlier + 60, `${name}: ${earlier} files became ${count}`);
    }
    assert.equal(engine.pid, pid);
    const isOwn = (line: string) =>
      line.includes('"level":"error"') &&
      !line.includes(NO_LINK) &&
      !/"url":"[^"]*(auth|distribution|images\/(create|search|copy|pull|[^"]*push))/.test(line);
    const failures = engine.log.split("\n").filter(isOwn);
    assert.deepEqual(failures.slice(0, 5), []);
  });
});

function entriesOf(path: string): number {
  try {
    return readdirSync(path).length;
  } catch {
    return 0;
  }
}
