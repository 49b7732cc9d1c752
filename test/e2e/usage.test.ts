import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { after, before, test } from "node:test";
import type { ContainerStats } from "../../src/api/stats.ts";
import { jsonLines } from "../../src/client/json-lines.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

/** What containers and the disk use, and what can be changed of it: stats, update, df and metrics. */

let engine: TestEngine;
before(async () => {
  engine = await startEngine();
});
after(async () => {
  await engine?.[Symbol.asyncDispose]();
});

async function make(name: string, host: object = {}, command: readonly string[] = ["sleep", "1000"]): Promise<string> {
  const body = { Image: "busybox", Cmd: command, HostConfig: { NetworkMode: "none", ...host } };
  const made = await engine.request("POST", `/containers/create?name=${name}`, body);
  assert.equal(made.status, 201, made.text);
  const started = await engine.request("POST", `/containers/${name}/start`);
  assert.equal(started.status, 204, started.text);
  return made.json.Id;
}

const update = (name: string, body: object) => engine.request("POST", `/containers/${name}/update`, body);
const limitsOf = async (name: string) => (await engine.request("GET", `/containers/${name}/json`)).json.HostConfig;

/** The samples of a stream; the returned function leaves it. */
function follow(name: string): { samples: AsyncGenerator<ContainerStats>; leave: () => void } {
  const call = httpRequest({ socketPath: engine.socket, path: `/containers/${name}/stats`, agent: false });
  call.end();
  call.on("error", () => {});
  const body = async function* (): AsyncGenerator<Uint8Array> {
    const response = await new Promise<AsyncIterable<Uint8Array>>((resolve) => call.once("response", resolve));
    yield* response;
  };
  return { samples: jsonLines<ContainerStats>(body()), leave: () => call.destroy() };
}

test("a sample tells memory, processes and limits; the second is compared with the first", async () => {
  await make("sampled", { Memory: 64 * 1024 * 1024, PidsLimit: 50 });
  const single = (await engine.request("GET", "/containers/sampled/stats?stream=0&one-shot=1")).json as ContainerStats;
  assert.equal(single.preread, "0001-01-01T00:00:00Z");
  assert.equal(single.name, "/sampled");
  assert.equal(single.memory_stats.limit, 64 * 1024 * 1024);
  assert.deepEqual(single.pids_stats, { current: 1, limit: 50 });
  assert.equal(single.networks, undefined);
  const paired = (await engine.request("GET", "/containers/sampled/stats?stream=0")).json as ContainerStats;
  assert.ok(Date.parse(paired.read) - Date.parse(paired.preread) >= 500);
  assert.ok((paired.cpu_stats.system_cpu_usage ?? 0) > (paired.precpu_stats.system_cpu_usage ?? Number.MAX_VALUE));
  const both = await engine.request("GET", "/containers/sampled/stats?stream=1&one-shot=1");
  assert.deepEqual([both.status, both.json.message], [400, "cannot have stream=true and one-shot=true"]);
  assert.equal((await engine.request("GET", "/containers/nobody/stats?stream=0")).status, 404);
});

test("a stream goes on through a stop and a start, and ends with the container", async () => {
  await make("streamed");
  const { samples, leave } = follow("streamed");
  const until = async (what: (stats: ContainerStats) => boolean): Promise<void> => {
    for (;;) {
      const { value, done } = await samples.next();
      assert.notEqual(done, true, "the stream ended");
      if (what(value)) return;
    }
  };
  await until((stats) => stats.pids_stats.current === 1);
  await engine.request("POST", "/containers/streamed/kill");
  await until((stats) => stats.pids_stats.current === undefined && stats.read.startsWith("0001"));
  await engine.request("POST", "/containers/streamed/start");
  await until((stats) => stats.pids_stats.current === 1);
  await engine.request("DELETE", "/containers/streamed?force=1");
  for await (const _ of samples) void _;
  leave();
});

test("limits change while it runs and while it is paused, and outlive the engine", async () => {
  await make("changed", { Memory: 64 * 1024 * 1024 });
  const MiB = 1024 * 1024;
  assert.deepEqual((await update("changed", { Memory: 128 * MiB, MemorySwap: 256 * MiB, PidsLimit: 33 })).json, {
    Warnings: null,
  });
  await engine.request("POST", "/containers/changed/pause");
  assert.equal((await update("changed", { Memory: 32 * MiB, MemorySwap: 48 * MiB })).status, 200);
  await engine.request("POST", "/containers/changed/unpause");
  await engine.kill();
  await engine.start();
  const { Memory, MemorySwap, PidsLimit } = await limitsOf("changed");
  assert.deepEqual([Memory, MemorySwap, PidsLimit], [32 * MiB, 48 * MiB, 33]);
  const stats = (await engine.request("GET", "/containers/changed/stats?stream=0&one-shot=1")).json as ContainerStats;
  assert.deepEqual([stats.memory_stats.limit, stats.pids_stats.limit], [32 * MiB, 33]);
  await engine.request("POST", "/containers/changed/restart?t=0");
  const again = (await engine.request("GET", "/containers/changed/stats?stream=0&one-shot=1")).json as ContainerStats;
  assert.deepEqual([again.memory_stats.limit, again.pids_stats.limit], [32 * MiB, 33]);
});

test("an update that is refused changes nothing at all", async () => {
  await make("refused", { CpuShares: 100 });
  const before = await limitsOf("refused");
  const answer = await update("refused", { CpuShares: 200, BlkioDeviceReadBps: [{ Path: "/proc/none", Rate: 1 }] });
  assert.equal(answer.status, 400);
  assert.match(answer.json.message, /^Cannot update container [0-9a-f]{64}: stat \/proc\/none: no such file/);
  assert.deepEqual(await limitsOf("refused"), before);
});

test("limits that the kernel took before it refused one are taken back", async (t) => {
  if (!existsSync("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")) return t.skip("the kernel has no real-time limits here");
  const id = await make("halfway", { CpuShares: 100 });
  const answer = await update("halfway", { CpuShares: 200, CpuRealtimeRuntime: 1000 });
  if (answer.status === 200) return t.skip("the parent's cgroup has real-time to give");
  assert.equal(answer.status, 409);
  assert.match(answer.json.message, /: failed to write "1000" to cpu.rt_runtime_us: EINVAL/);
  assert.equal((await limitsOf("halfway")).CpuShares, 100);
  const { Pid } = (await engine.request("GET", "/containers/halfway/json")).json.State;
  const path = /^\d+:cpu:(.*)$/m.exec(readFileSync(`/proc/${Pid}/cgroup`, "utf8"))?.[1];
  assert.ok(path?.endsWith(id));
  assert.equal(readFileSync(`/sys/fs/cgroup/cpu${path}/cpu.shares`, "utf8"), "100\n");
});

test("a restart policy is refused for what goes with its exit", async () => {
  const id = await make("leaving", { AutoRemove: true });
  const answer = await update("leaving", { RestartPolicy: { Name: "always" } });
  assert.equal(answer.status, 409);
  assert.equal(
    answer.json.message,
    `Cannot update container ${id}: Restart policy cannot be updated because AutoRemove is enabled for the container`,
  );
});

test("the disk's use counts layers, containers and volumes, each file once", async () => {
  const script = "head -c 5000 /dev/zero >/v/a; ln /v/a /v/b; head -c 700 /dev/zero >/own";
  await engine.request("POST", "/volumes/create", { Name: "measured" });
  await make("writing", { Binds: ["measured:/v"] }, ["sh", "-c", script]);
  await engine.request("POST", "/containers/writing/wait");
  const { json } = await engine.request("GET", "/system/df");
  const volume = json.Volumes.find((each: { Name: string }) => each.Name === "measured");
  assert.deepEqual(volume.UsageData, { Size: 5000, RefCount: 1 });
  const row = json.Containers.find((each: { Names: string[] }) => each.Names.includes("/writing"));
  assert.equal(row.SizeRw, 700);
  assert.equal(json.LayersSize, json.Images[0].Size);
  assert.deepEqual(json.BuildCache, []);
  const part = (await engine.request("GET", "/system/df?type=volume")).json;
  assert.deepEqual([part.Images, part.Containers, part.LayersSize, part.Volumes.length], [null, null, 0, 1]);
  const bad = await engine.request("GET", "/system/df?type=moon");
  assert.deepEqual([bad.status, bad.json.message], [400, "unknown object type: moon"]);
});

test("metrics count requests, actions and containers", async () => {
  await engine.request("GET", "/_ping");
  const { headers, text } = await engine.request("GET", "/metrics");
  assert.equal(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
  assert.match(text, /^gantry_http_requests_total\{route="ping",method="GET",status="200"\} [1-9]/m);
  assert.match(text, /^engine_daemon_container_states_containers\{state="running"\} \d+$/m);
  assert.match(text, /^engine_daemon_container_actions_seconds_bucket\{action="start",le="\+Inf"\} \d+$/m);
  assert.match(text, /^process_resident_memory_bytes [1-9]/m);
  const body = { Image: "busybox", Cmd: ["sleep", "100"], Healthcheck: { Test: ["CMD", "false"], Interval: 3_600e9 } };
  await engine.request("POST", "/containers/create?name=probed", body);
  await engine.request("POST", "/containers/probed/start");
  await engine.request("POST", "/gantry/containers/probed/healthcheck");
  const later = (await engine.request("GET", "/metrics")).text;
  assert.match(later, /^engine_daemon_health_checks_failed_total [1-9]/m);
});

test("metrics are served at an address of their own, and nothing else is", async () => {
  await using other = await startEngine({
    args: ["--metrics-addr", "127.0.0.1:0", "--log-format", "text"],
    image: false,
  });
  assert.match(other.log, /^time="[^"]+" level=info msg="metrics API listening" address="?127\.0\.0\.1:\d+"?$/m);
  const address = /msg="metrics API listening" address="?([0-9.:]+)/.exec(other.log)?.[1];
  assert.match(await (await fetch(`http://${address}/metrics`)).text(), /^engine_daemon_events_total \d+$/m);
  assert.equal((await fetch(`http://${address}/info`)).status, 404);
});

for (const args of [
  ["stats", "--no-stream", "--format", "{{.Container}} {{.Name}} {{.ID}} {{.NetIO}} {{.PIDs}}", "both"],
  ["stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemPerc}}", "halted"],
  ["stats", "--no-stream", "nobody"],
  ["update", "both"],
  ["update", "--memory", "5", "both"],
  ["update", "--restart", "on-failure:x", "both"],
  ["update", "--cpus", "1", "--pids-limit", "-1", "--restart", "no", "both", "nobody"],
  ["system", "df"],
  ["system", "df", "--format", "table {{.Type}}\t{{.TotalCount}}\t{{.Reclaimable}}"],
  ["system", "df", "--format", "json"],
]) {
  test(`gantry ${args.join(" ")}: as docker`, { skip: NO_DOCKER }, async () => {
    if ((await engine.request("GET", "/containers/both/json")).status === 404) {
      await make("both");
      await engine.request("POST", "/containers/create?name=halted", { Image: "busybox", Cmd: ["true"] });
    }
    const [docker, gantry] = [await engine.docker(...args), await engine.gantry(...args)];
    assert.deepEqual(gantry, docker);
  });
}

test("on a terminal stats shows containers as they come and go", async () => {
  await using terminal = engine.terminal("gantry", "stats", "--format", "{{.Name}}");
  await terminal.shows(/\x1b\[H/);
  await make("comes");
  await terminal.shows(/\x1b\[H[\s\S]*comes/);
  await engine.request("DELETE", "/containers/comes?force=1");
  // The last screen is whole and has it no more.
  await terminal.shows(/\x1b\[H(?:(?!comes|\x1b\[H)[\s\S])*\x1b\[J$/);
  terminal.type("\x03");
  assert.equal(await terminal.exit, 0);
});

test("what ps says of wrong arguments is passed on", async () => {
  await make("topped");
  const said = async (args: string) =>
    (await engine.request("GET", `/containers/topped/top?ps_args=${encodeURIComponent(args)}`)).json.message;
  assert.equal(await said("--bogus"), "ps: error: unknown gnu long option");
  assert.equal(await said("-o pid -C nothing"), "ps: exit status 1");
  assert.equal(await said("-eo comm"), "Couldn't find PID field in ps output");
});
