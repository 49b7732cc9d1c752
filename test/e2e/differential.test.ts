import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Answer, type Asked, ask, bytesOf, differences, wordsOf } from "../both-engines.ts";
import { NO_DOCKERD, TestDockerd } from "../dockerd.ts";
import { startEngine, type TestEngine } from "../engine.ts";

/**
 * One list of calls made of Gantry and of Docker's own engine, in order: statuses, refusals' words and the shape of
 * each answer must be the same. What is meant to differ says why.
 */
interface Call extends Asked {
  /** Paths into the answer that differ, and why; `*` for all of it. */
  readonly differs?: Readonly<Record<string, string>>;
}

const VERSION = "1.41";

const NEWER = "the peer is 20.10: fields that came later are not hidden from older versions by Docker either";

/** Refusals that later engines of Docker word as Gantry does, or better: what 20.10 said, and what stands for it. */
const REWORDED: readonly (readonly [RegExp, RegExp])[] = [
  [/^no such image: (.*): no such image: \1:latest$/, /^no such image: .*:latest$/],
  [/^no such container: x$/, /^network nobody not found$/],
  [/repository name must be lowercase$/, /repository name \(.*\) must be lowercase$/],
  [/^invalid restart policy '(.*)'$/, /^invalid restart policy: unknown policy '.*'; use one of /],
  [/^maximum retry count cannot be used with/, /^invalid restart policy: maximum retry count can only be used with/],
  [/^unknown runtime specified bogus$/, /^unknown or invalid runtime name: bogus$/],
  [/^strconv.atoi: parsing "x": invalid syntax$/, /^invalid resize height "x": invalid syntax$/],
  [/^you cannot remove a running container id\./, /^cannot remove container "\/one": container is running: stop/],
  [/^container one is paused, unpause/, /^container id is paused, unpause/],
  [/^invalid signal: (.*)$/, /^cannot kill container: one: invalid signal: .*$/],
  [/: mount type unknown$/, /: mount type unknown: "bogus", use bind, volume, image or tmpfs$/],
  [/^remove v: volume is in use - \[(.*)\]$/, /^remove v: volume is in use - \[.*\] \(user\)$/],
  [/^bad parameter: pathcannot be empty$/, /^bad parameter: path cannot be empty$/],
  [/^failed to create shim task: oci runtime create failed: /, /^oci runtime create failed: /],
];

const create = (name: string, body: object = {}): Call => ({
  line: `POST /containers/create?name=${name}`,
  body: { Image: "busybox", Cmd: ["sleep", "1000"], HostConfig: { NetworkMode: "none" }, ...body },
});
const call = (line: string, body?: unknown, differs?: Call["differs"]): Call => ({ line, body, differs });

const SINCE_23 = { "*": "20.10 made such a container, which never started; later ones refuse it, as Gantry does" };

const ANY_ORDER = { "Volumes[].Options": "each shows the options of the volume that it has first" };

const CONTAINER_FIELDS = {
  "HostConfig.Annotations": NEWER,
  GraphDriver: "the folders are the engine's own",
};

const CALLS: readonly Call[] = [
  // What is not there.
  ...["json", "top", "logs?stdout=1", "changes", "export", "stats?stream=0", "archive?path=/"].map((rest) =>
    call(`GET /containers/nobody/${rest}`),
  ),
  ...["start", "stop", "restart", "kill", "pause", "unpause", "wait", "rename?name=x", "resize?h=1&w=1"].map((rest) =>
    call(`POST /containers/nobody/${rest}`),
  ),
  call("DELETE /containers/nobody"),
  call("POST /containers/nobody/exec", { Cmd: ["true"] }),
  call("POST /containers/nobody/update", {}),
  call("GET /exec/nobody/json"),
  call("POST /exec/nobody/start", {}),
  call("POST /exec/nobody/resize?h=1&w=1"),
  call("GET /images/nobody/json"),
  call("GET /images/nobody/history"),
  call("DELETE /images/nobody"),
  call("POST /images/nobody/tag?repo=x"),
  call("GET /networks/nobody"),
  call("DELETE /networks/nobody"),
  call("POST /networks/nobody/connect", { Container: "x" }),
  call("POST /networks/nobody/disconnect", { Container: "x" }),
  call("GET /volumes/nobody"),
  call("DELETE /volumes/nobody"),
  call("GET /nothing"),
  call("POST /containers"),
  // What is said about the whole.
  call("GET /_ping"),
  call("GET /containers/json"),
  call("GET /volumes"),
  call("GET /swarm"),
  call("GET /nodes"),
  call("GET /services"),
  call("GET /tasks"),
  call("GET /secrets"),
  call("GET /configs"),
  call("GET /plugins"),
  // Refusals of bad input.
  call("GET /containers/json?limit=x"),
  call("GET /containers/json?filters={"),
  call('GET /containers/json?filters={"bogus":["x"]}'),
  call('GET /containers/json?filters={"status":["bogus"]}'),
  call('GET /containers/json?filters={"exited":["x"]}'),
  call('GET /containers/json?filters={"before":["nobody"]}'),
  call('GET /images/json?filters={"bogus":["x"]}'),
  call('GET /images/json?filters={"dangling":["x"]}'),
  call('GET /images/json?filters={"before":["nobody"]}'),
  call('GET /networks?filters={"bogus":["x"]}'),
  call('GET /volumes?filters={"bogus":["x"]}'),
  call('GET /volumes?filters={"dangling":["x"]}'),
  call('POST /containers/prune?filters={"bogus":["x"]}'),
  call("POST /containers/create", ""),
  call("POST /containers/create", "{"),
  call("POST /containers/create", "[]"),
  call("POST /containers/create", {}),
  call("POST /containers/create", { Image: 7 }),
  call("POST /containers/create", { Image: "nobody" }),
  call("POST /containers/create", { Image: "UPPER" }),
  call("POST /containers/create?name=a/b", { Image: "busybox" }),
  call("POST /containers/create?name=-", { Image: "busybox" }),
  ...[
    { HostConfig: { Memory: 1 } },
    { HostConfig: { Memory: 8388608, MemorySwap: 1 } },
    { HostConfig: { NanoCpus: -1 } },
    { HostConfig: { PidsLimit: -5 } },
    { HostConfig: { RestartPolicy: { Name: "bogus" } } },
    { HostConfig: { RestartPolicy: { Name: "always", MaximumRetryCount: 3 } } },
    { HostConfig: { AutoRemove: true, RestartPolicy: { Name: "always" } } },
    { HostConfig: { Binds: ["a:b:c:d"] } },
    { HostConfig: { Binds: ["a:relative"] } },
    { HostConfig: { Binds: ["/a:/"] } },
    { HostConfig: { Binds: ["/tmp:/v:nocopy"] } },
    { HostConfig: { StorageOpt: { bogus: "1" } } },
    { HostConfig: { StorageOpt: { size: "1g" } } },
    { HostConfig: { LogConfig: { Type: "json-file", Config: { bogus: "1" } } } },
    { HostConfig: { ShmSize: -1 } },
    { HostConfig: { OomScoreAdj: 5000 } },
    { HostConfig: { Runtime: "bogus" } },
    { HostConfig: { PortBindings: { "80/tcp": [{ HostPort: "x" }] } } },
    { HostConfig: { Mounts: [{ Type: "bogus", Target: "/x" }] } },
    { HostConfig: { Mounts: [{ Type: "bind", Source: "/nowhere/at/all", Target: "/x" }] } },
    { HostConfig: { Mounts: [{ Type: "volume", Target: "" }] } },
    { HostConfig: { Mounts: [{ Type: "tmpfs", Source: "a", Target: "/x" }] } },
    { HostConfig: { ExtraHosts: ["bogus"] } },
    { StopSignal: "BOGUS" },
    { WorkingDir: "relative" },
    { Healthcheck: { Test: ["BOGUS"] } },
    { Healthcheck: { Interval: 5 } },
    { Hostname: "a b" },
    { Env: ["=x"] },
  ].map((body) => call("POST /containers/create?name=refused", { Image: "busybox", Cmd: ["true"], ...body })),
  ...[
    { HostConfig: { NetworkMode: "none", CpuShares: -1 } },
    { HostConfig: { NetworkMode: "host", PidMode: "bogus" } },
    { HostConfig: { IpcMode: "bogus" } },
    { HostConfig: { PortBindings: { "80/bogus": [{ HostPort: "80" }] } } },
    { ExposedPorts: { "x/tcp": {} } },
  ].map((body) => call("POST /containers/create?name=refused", { Image: "busybox", ...body }, SINCE_23)),
  // A life.
  create("one"),
  create("one"),
  call("GET /containers/one/json", undefined, CONTAINER_FIELDS),
  call("GET /containers/json"),
  call("GET /containers/json?all=1&size=1"),
  call('GET /containers/json?all=1&filters={"name":["one"]}'),
  call('GET /containers/json?all=1&filters={"status":["created"]}'),
  call("GET /containers/one/top"),
  call("GET /containers/one/logs"),
  call("POST /containers/one/pause"),
  call("POST /containers/one/kill"),
  call("POST /containers/one/stop"),
  call("POST /containers/one/start", { Binds: [] }),
  call("POST /containers/one/start?checkpoint=x"),
  call("POST /containers/one/start"),
  call("POST /containers/one/start"),
  call("GET /containers/one/json", undefined, CONTAINER_FIELDS),
  call("GET /containers/one/top"),
  call("GET /containers/one/top?ps_args=bogus"),
  call("GET /containers/one/stats?stream=0", undefined, {
    blkio_stats: "the peer counts no disk on this cgroup layout",
  }),
  call("GET /containers/one/changes"),
  call("POST /containers/one/resize?h=x&w=1"),
  call("POST /containers/one/kill?signal=BOGUS"),
  call("POST /containers/one/kill?signal=0"),
  call("POST /containers/one/rename"),
  call("POST /containers/one/rename?name=a/b"),
  call("POST /containers/one/rename?name=one"),
  call("DELETE /containers/one"),
  call("POST /containers/one/pause"),
  call("POST /containers/one/pause"),
  call("POST /containers/one/exec", { Cmd: ["true"] }),
  call("POST /containers/one/attach"),
  call("GET /containers/json"),
  call("POST /containers/one/unpause"),
  call("POST /containers/one/unpause"),
  call("POST /containers/one/exec", {}),
  call("POST /containers/one/exec", { Cmd: ["true"] }),
  call("POST /containers/one/update", { Memory: 1 }),
  call("POST /containers/one/update", { CpuShares: 512 }),
  call("POST /containers/one/update", { RestartPolicy: { Name: "bogus" } }),
  call("GET /containers/one/archive"),
  call("GET /containers/one/archive?path=/nowhere"),
  call("PUT /containers/one/archive?path=/nowhere", ""),
  call("POST /containers/one/rename?name=two"),
  call("POST /containers/two/stop?t=0"),
  call("POST /containers/two/stop?t=0"),
  call("POST /containers/two/kill"),
  call("POST /containers/two/wait", undefined, { Error: "left out where there is none, as later engines do" }),
  call("GET /containers/two/json", undefined, {
    ...CONTAINER_FIELDS,
    ExecIDs: "a command that was prepared and never run is known until its container goes",
  }),
  call("POST /containers/two/exec", { Cmd: ["true"] }),
  call("POST /commit?container=nobody"),
  call("POST /commit?container=two&repo=kept&tag=UP/PER"),
  call("POST /commit?container=two&repo=kept"),
  call("GET /images/kept/json", undefined, {
    GraphDriver: "the folders are the engine's own",
    ContainerConfig: "the container's that was committed: it isn't kept, and API 1.45 did away with it",
  }),
  call("DELETE /images/busybox"),
  call("DELETE /containers/two?force=1&v=1"),
  call("DELETE /images/kept"),
  create("broken", { Cmd: ["/nothing"] }),
  call("POST /containers/broken/start"),
  call("DELETE /containers/broken"),
  // Images.
  call("GET /images/json"),
  call("GET /images/busybox/json", undefined, { GraphDriver: "the folders are the engine's own" }),
  call("GET /images/busybox/history"),
  call("POST /images/busybox/tag?repo=UPPER"),
  call("POST /images/busybox/tag?repo=other&tag=1"),
  call("POST /images/busybox/tag?repo=other&tag=1"),
  call("DELETE /images/other:1"),
  call("DELETE /images/other:1"),
  call("POST /images/prune", undefined, { ImagesDeleted: "null where nothing was removed, as later engines say" }),
  // Volumes.
  call("POST /volumes/create", { Name: "v", Labels: { a: "b" } }),
  call("POST /volumes/create", { Name: "v" }),
  call("POST /volumes/create", { Name: "a/b" }),
  call("POST /volumes/create", { Name: "x", Driver: "bogus" }),
  call("POST /volumes/create", { Name: "x", DriverOpts: { bogus: "1" } }),
  call("GET /volumes/v"),
  call("GET /volumes"),
  call('GET /volumes?filters={"label":["a=b"]}'),
  ...["short", "-v", ".v", "v w", "v:w", "ü", "v/../w", "a"].map((Name) =>
    call("POST /volumes/create", { Name: Name === "short" ? "s" : Name, Driver: "local" }),
  ),
  ...[
    { type: "tmpfs" },
    { device: "tmpfs" },
    { o: "ro" },
    { type: "tmpfs", device: "tmpfs" },
    { type: "tmpfs", device: "tmpfs", o: "size=1m" },
    { size: "lots" },
    { size: "0" },
    {},
  ].map((DriverOpts, index) =>
    call("POST /volumes/create", { Name: `opts-${index}`, DriverOpts, Labels: { n: String(index) } }),
  ),
  call("GET /volumes/opts-3"),
  call("POST /volumes/create", { Name: "opts-3", DriverOpts: { type: "other" }, Labels: { other: "1" } }),
  ...[
    { name: ["opts"] },
    { name: ["opts-3", "opts-4"] },
    { name: ["^v$"] },
    { label: ["n"] },
    { label: ["n=3"] },
    { label: ["n=3", "n=4"] },
    { label: ["a=c"] },
    { driver: ["local"] },
    { driver: ["other"] },
    { driver: ["local", "other"] },
    { dangling: ["true"] },
    { dangling: ["0"] },
    { dangling: ["TRUE"] },
    { name: ["opts"], label: ["n=3"], dangling: ["1"] },
  ].map((filters) => call(`GET /volumes?filters=${JSON.stringify(filters)}`, undefined, ANY_ORDER)),
  call('GET /volumes?filters={"dangling":["true","false"]}', undefined, {
    "*": "20.10 took the one that it found first; later ones refuse it, as Gantry does",
  }),
  call('POST /volumes/prune?filters={"bogus":["x"]}'),
  call('POST /volumes/prune?filters={"label":["n=5"]}'),
  call('POST /volumes/prune?filters={"label!":["a"]}'),
  call("GET /volumes", undefined, ANY_ORDER),
  ...["opts-3", "opts-4", "opts-5", "opts-6", "opts-7"].map((name) => call(`DELETE /volumes/${name}?force=1`)),
  create("user", { HostConfig: { NetworkMode: "none", Binds: ["v:/v"] } }),
  call("DELETE /volumes/v"),
  call('GET /volumes?filters={"dangling":["false"]}'),
  call('GET /volumes?filters={"dangling":["true"]}'),
  call("POST /volumes/prune"),
  call("DELETE /containers/user"),
  call("DELETE /volumes/v"),
  call("DELETE /volumes/v?force=1"),
  // Networks.
  call("GET /networks/none"),
  call("GET /networks/host"),
  call("DELETE /networks/none"),
  call("POST /networks/create", {}),
  call("POST /networks/create", { Name: "x", Driver: "bogus" }),
  call("POST /networks/create", { Name: "host" }),
  call("POST /networks/create", { Name: "default" }),
  call("POST /build/prune"),
  call('POST /networks/prune?filters={"bogus":["x"]}'),
  call("POST /containers/prune"),
  call('GET /events?since=1&until=2&filters={"bogus":["x"]}', undefined, {
    "*": "a filter that isn't known is refused",
  }),
  call("GET /events?since=x"),
  call("GET /system/df", undefined, {
    "Images[]": "lists that are empty instead of null",
    BuildCache: "a list that is empty instead of null",
  }),
];

const NO_NULL = "a list that is empty instead of null";

/** Asked in earlier versions after all of the above, when there is an image and nothing else. */
const OLDER_CALLS: readonly Call[] = [
  call("GET /version"),
  call("GET /info", undefined, { Runtimes: "each engine has its own", DriverStatus: "as above" }),
  call("GET /images/json", undefined, { "[].RepoDigests": NO_NULL }),
  call("GET /images/busybox/json", undefined, { GraphDriver: "the folders are the engine's own" }),
  call("GET /containers/json?all=1"),
  call("GET /networks/none"),
  call("GET /volumes"),
  call("GET /system/df", undefined, { BuildCache: NO_NULL, "Images[].RepoDigests": NO_NULL }),
  call("GET /plugins"),
];

describe("the same calls of Gantry and of Docker", { skip: NO_DOCKERD }, () => {
  let engine: TestEngine;
  let docker: TestDockerd;

  before(async () => {
    engine = await startEngine();
    docker = await TestDockerd.start();
    // Both have the very same image.
    const archive = await bytesOf(engine.socket, "GET", "/images/get?names=busybox");
    await bytesOf(docker.socket, "POST", "/images/load", archive);
  });
  after(async () => {
    await docker?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
  });

  for (const [index, each] of CALLS.entries()) {
    const shown = each.body === undefined ? "" : ` ${JSON.stringify(each.body).slice(0, 90)}`;
    test(`${index}: ${each.line}${shown}`, async () => {
      const [ours, theirs] = await Promise.all([ask(engine.socket, each, VERSION), ask(docker.socket, each, VERSION)]);
      if (each.line.includes("name=refused")) {
        // One of them may have taken it: the next row begins without it.
        const remove = call("DELETE /containers/refused");
        await Promise.all([ask(engine.socket, remove, VERSION), ask(docker.socket, remove, VERSION)]);
      }
      if (each.differs?.["*"] !== undefined) {
        assert.notEqual(ours.status, theirs.status, "they agree meanwhile: take the reason away");
        return;
      }
      const told = `Gantry ${ours.status} ${wordsOf(ours.value).slice(0, 200)}; Docker ${theirs.status} ${wordsOf(theirs.value).slice(0, 200)}`;
      // 20.10 called much of its clients' bad input its own failure; later ones don't.
      if (theirs.status === 500 && ours.status >= 400 && ours.status < 500) return;
      assert.equal(ours.status, theirs.status, told);
      if (theirs.status >= 400) {
        const [mine, other] = [wordsOf(ours.value), wordsOf(theirs.value)];
        if (!REWORDED.some(([theirWords, ourWords]) => theirWords.test(other) && ourWords.test(mine))) {
          assert.equal(mine, other, told);
        }
        return;
      }
      assertAlike(ours, theirs, each.differs);
    });
  }

  for (const version of ["1.24", "1.30", "1.40"]) {
    for (const each of OLDER_CALLS) {
      test(`v${version} ${each.line}`, async () => {
        const [ours, theirs] = await Promise.all([engine, docker].map(({ socket }) => ask(socket, each, version)));
        assert.ok(ours !== undefined && theirs !== undefined);
        assert.equal(ours.status, theirs.status);
        assertAlike(ours, theirs, each.differs);
      });
    }
  }
});

function assertAlike(ours: Answer, theirs: Answer, differs: Call["differs"] = {}): void {
  const isMeant = (row: string) =>
    Object.keys(differs).some((path) => row === path || row.startsWith(`${path}.`) || row.startsWith(`${path}:`));
  assert.deepEqual(
    differences(ours.value, theirs.value, "").filter((row) => !isMeant(row)),
    [],
  );
}
