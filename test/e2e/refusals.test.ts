import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startEngine, type TestEngine } from "../engine.ts";

interface Refusal {
  readonly name: string;
  readonly method?: string;
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly status: number;
  readonly message: RegExp;
}

const create = (config: object, path = "/containers/create"): Pick<Refusal, "path" | "body"> => ({
  path,
  body: { Image: "busybox", ...config },
});

const host = (config: object): Pick<Refusal, "path" | "body"> => create({ HostConfig: config });

const REFUSALS: readonly Refusal[] = [
  {
    name: "an unknown image",
    ...create({ Image: "nobody:knows" }),
    status: 404,
    message: /No such image: nobody:knows/,
  },
  {
    name: "an image name that can't be one",
    ...create({ Image: "UPPER case" }),
    status: 400,
    message: /invalid reference format/,
  },
  {
    name: "a container name that can't be one",
    ...create({}, "/containers/create?name=-x!"),
    status: 400,
    message: /Invalid container name/,
  },
  { name: "malformed JSON", path: "/containers/create", body: '{"Image": ', status: 400, message: /./ },
  {
    name: "a body that is not an object",
    path: "/containers/create",
    body: "[]",
    status: 400,
    message: /cannot unmarshal|invalid/,
  },
  { name: "no body", path: "/containers/create", body: "", status: 400, message: /./ },
  {
    name: "a second value after the body",
    path: "/containers/create",
    body: '{"Image":"busybox"}{}',
    status: 400,
    message: /./,
  },
  {
    name: "a number where text belongs",
    ...create({ Image: 7 }),
    status: 400,
    message: /cannot unmarshal number into Go struct field/,
  },
  {
    name: "text where a number belongs",
    ...host({ Memory: "64m" }),
    status: 400,
    message: /cannot unmarshal string into Go struct field .*Memory of type int64/,
  },
  { name: "a list where a map belongs", ...create({ Labels: [] }), status: 400, message: /cannot unmarshal array/ },
  { name: "a number out of range", ...host({ Memory: 1e30 }), status: 400, message: /cannot unmarshal number/ },
  {
    name: "another content type",
    path: "/containers/create",
    body: "Image=busybox",
    headers: { "Content-Type": "text/plain" },
    status: 400,
    message: /Content-Type|content type/i,
  },
  { name: "negative memory", ...host({ Memory: -1 }), status: 400, message: /memory/i },
  { name: "too little memory", ...host({ Memory: 4096 }), status: 400, message: /Minimum memory limit allowed is 6MB/ },
  {
    name: "swap below memory",
    ...host({ Memory: 64 << 20, MemorySwap: 32 << 20 }),
    status: 400,
    message: /Minimum memoryswap limit should be larger than memory limit/,
  },
  {
    name: "swappiness out of range",
    ...host({ MemorySwappiness: 101 }),
    status: 400,
    message: /Invalid value: 101, valid memory swappiness range is 0-100/,
  },
  {
    name: "more CPUs than there are",
    ...host({ NanoCpus: 4096e9 }),
    status: 400,
    message: /[Rr]ange of CPUs is from 0\.01 to/,
  },
  { name: "a negative shm size", ...host({ ShmSize: -1 }), status: 400, message: /SHM size can not be less than 0/i },
  {
    name: "a port that is none",
    ...host({ PortBindings: { "99999/tcp": [{ HostPort: "80" }] } }),
    status: 400,
    message: /invalid (container )?port|Invalid port|invalid JSON/i,
  },
  {
    name: "a host port that is none",
    ...host({ PortBindings: { "80/tcp": [{ HostPort: "http" }] } }),
    status: 400,
    message: /invalid/i,
  },
  {
    name: "a protocol that is none",
    ...host({ PortBindings: { "80/xyz": [{ HostPort: "80" }] } }),
    status: 400,
    message: /invalid|proto/i,
  },
  {
    name: "an unknown capability",
    ...host({ CapAdd: ["CAP_NONSENSE"] }),
    status: 400,
    message: /CAP_NONSENSE|NONSENSE/,
  },
  {
    name: "an unknown restart policy",
    ...host({ RestartPolicy: { Name: "sometimes" } }),
    status: 400,
    message: /invalid restart policy/,
  },
  {
    name: "retries with a policy that has none",
    ...host({ RestartPolicy: { Name: "always", MaximumRetryCount: 3 } }),
    status: 400,
    message: /maximum retry count/,
  },
  {
    name: "a relative bind target",
    ...host({ Binds: ["/etc:relative"] }),
    status: 400,
    message: /mount path must be absolute|invalid mount|invalid volume specification/,
  },
  {
    name: "a bind of a volume name with a slash",
    ...host({ Binds: ["a/b:/x"] }),
    status: 400,
    message: /includes invalid characters for a local volume name/,
  },
  {
    name: "two mounts at one place",
    ...host({ Binds: ["/etc:/x", "/usr:/x"] }),
    status: 400,
    message: /Duplicate mount point: \/x/,
  },
  { name: "a mount on the root", ...host({ Binds: ["/etc:/"] }), status: 400, message: /destination can't be '\/'/ },
  {
    name: "an unknown log driver option",
    ...host({ LogConfig: { Type: "json-file", Config: { nonsense: "1" } } }),
    status: 400,
    message: /unknown log opt/,
  },
  {
    name: "an unknown stop signal",
    ...create({ StopSignal: "NONSENSE" }),
    status: 400,
    message: /invalid signal: NONSENSE/,
  },
  {
    name: "an unknown security option",
    ...host({ SecurityOpt: ["nonsense=1"] }),
    status: 400,
    message: /security-opt/,
  },
  {
    name: "a wrong ulimit",
    ...host({ Ulimits: [{ Name: "nonsense", Soft: 1, Hard: 1 }] }),
    status: 400,
    message: /ulimit/,
  },
  {
    name: "a working directory that is relative",
    ...create({ WorkingDir: "a/b" }),
    status: 400,
    message: /working directory 'a\/b' is invalid/,
  },
  {
    name: "starting what isn't there",
    path: "/containers/nobody/start",
    status: 404,
    message: /^No such container: nobody$/,
  },
  {
    name: "inspecting what isn't there",
    method: "GET",
    path: "/containers/nobody/json",
    status: 404,
    message: /^No such container: nobody$/,
  },
  {
    name: "an image that isn't there",
    method: "GET",
    path: "/images/nobody:knows/json",
    status: 404,
    message: /^No such image: nobody:knows$/,
  },
  {
    name: "a network that isn't there",
    method: "GET",
    path: "/networks/nobody",
    status: 404,
    message: /^network nobody not found$/,
  },
  {
    name: "a volume that isn't there",
    method: "GET",
    path: "/volumes/nobody",
    status: 404,
    message: /nobody: no such volume/,
  },
  { name: "a path that is none", method: "GET", path: "/nonsense", status: 404, message: /^page not found$/ },
  {
    name: "a version of the future",
    method: "GET",
    path: "/v9.99/version",
    status: 400,
    message: /client version 9\.99 is too new/,
  },
  {
    name: "a version of long ago",
    method: "GET",
    path: "/v1.1/version",
    status: 400,
    message: /client version 1\.1 is too old/,
  },
  {
    name: "a filter that is none",
    method: "GET",
    path: `/containers/json?filters=${encodeURIComponent('{"nonsense":["1"]}')}`,
    status: 400,
    message: /invalid filter/,
  },
  { name: "filters that are no JSON", method: "GET", path: "/containers/json?filters=%7B", status: 400, message: /./ },
  {
    name: "logs of neither stream",
    method: "GET",
    path: "/containers/kept/logs",
    status: 400,
    message: /you must choose at least one stream/,
  },
  {
    name: "an unknown wait condition",
    path: "/containers/kept/wait?condition=nonsense",
    status: 400,
    message: /invalid condition: "nonsense"/,
  },
  {
    name: "an unknown signal",
    path: "/containers/runs/kill?signal=NONSENSE",
    status: 400,
    message: /[Ii]nvalid signal: NONSENSE/,
  },
  {
    name: "a name that is taken",
    ...create({}, "/containers/create?name=kept"),
    status: 409,
    message: /Conflict\. The container name "\/kept" is already in use by container/,
  },
  { name: "killing what doesn't run", path: "/containers/kept/kill", status: 409, message: /is not running/ },
  { name: "pausing what doesn't run", path: "/containers/kept/pause", status: 409, message: /is not running/ },
  {
    name: "exec in what doesn't run",
    path: "/containers/kept/exec",
    body: { Cmd: ["true"] },
    status: 409,
    message: /is not running/,
  },
  {
    name: "exec of nothing",
    path: "/containers/runs/exec",
    body: { Cmd: [] },
    status: 400,
    message: /No exec command specified/,
  },
  {
    name: "removing what runs",
    method: "DELETE",
    path: "/containers/runs",
    status: 409,
    message: /container is running/,
  },
];

describe("refusals", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
    await engine.request("POST", "/containers/create?name=kept", { Image: "busybox", Cmd: ["true"] });
    await engine.request("POST", "/containers/create?name=runs", { Image: "busybox", Cmd: ["sleep", "600"] });
    assert.equal((await engine.request("POST", "/containers/runs/start")).status, 204);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const { name, method = "POST", path, body, headers, status, message } of REFUSALS) {
    test(name, async () => {
      const answer = await engine.request(method, path, body, headers);
      assert.equal(answer.status, status, answer.text);
      assert.match(answer.json?.message, message);
    });
  }

  test("a network that isn't there is refused at the start, not before: the CLI takes a 404 of create for a missing image", async () => {
    for (const [mode, message] of [
      ["container:nobody", /No such container: nobody/],
      ["nonsense", /network nonsense not found/],
    ] as const) {
      const made = await engine.request("POST", "/containers/create", {
        Image: "busybox",
        HostConfig: { NetworkMode: mode },
      });
      assert.equal(made.status, 201, made.text);
      const answer = await engine.request("POST", `/containers/${made.json.Id}/start`);
      assert.equal(answer.status, 404, answer.text);
      assert.match(answer.json?.message, message);
      assert.equal((await engine.request("DELETE", `/containers/${made.json.Id}`)).status, 204);
    }
  });

  test("what is so already is answered with 304", async () => {
    assert.equal((await engine.request("POST", "/containers/runs/start")).status, 304);
    assert.equal((await engine.request("POST", "/containers/kept/stop")).status, 304);
  });

  test("a body over the limit is refused and the engine goes on", async () => {
    const body = `{"Image":"busybox","Labels":{"a":"${"x".repeat(20 << 20)}"}}`;
    // The engine may close the connection before it has read all of it, which is a refusal as well.
    const answer = await engine.request("POST", "/containers/create", body).catch(() => undefined);
    if (answer !== undefined) assert.ok(answer.status === 400 || answer.status === 413, String(answer.status));
    assert.equal((await engine.request("GET", "/_ping")).status, 200);
  });

  test("clients that leave in the middle of anything hurt nobody", async () => {
    const requests = [
      'POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"Im',
      "POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n200\r\nabc",
      "GET /events HTTP/1.1\r\nHost: x\r\n\r\n",
      "POST /containers/runs/wait HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /containers/runs/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n",
      "POST /containers/runs/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
      "nonsense\r\n\r\n",
    ];
    for (const text of requests) {
      const socket = await engine.connection();
      socket.on("error", () => {});
      await new Promise<void>((resolve) => socket.write(text, () => resolve()));
      socket.destroy();
    }
    assert.equal((await engine.request("GET", "/_ping")).status, 200);
    assert.equal((await engine.request("GET", "/containers/runs/json")).json.State.Running, true);
    assert.equal((await engine.request("GET", "/images/json")).json.length, 1);
  });

  test("keys that name an object's prototype are ordinary labels or nothing at all", async () => {
    const body = '{"Image":"busybox","__proto__":{"x":1},"Labels":{"__proto__":"a","constructor":"b"}}';
    const { status, json } = await engine.request("POST", "/containers/create?name=proto", body);
    assert.equal(status, 201, JSON.stringify(json));
    const labels = (await engine.request("GET", "/containers/proto/json")).text;
    assert.match(labels, /"constructor":"b"/);
    assert.equal((await engine.request("DELETE", "/containers/proto")).status, 204);
  });
});
