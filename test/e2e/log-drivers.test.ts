import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { PackedWriter, unpack } from "../../src/runtime/shipper/msgpack.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

/** A log service on loopback that can go, come back on the same port, and stop reading. */
class Service implements AsyncDisposable {
  readonly #take: (bytes: Buffer, socket: Socket) => void;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  port = 0;
  isDeaf = false;

  constructor(take: (bytes: Buffer, socket: Socket) => void) {
    this.#take = take;
  }

  async start(): Promise<this> {
    const server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("data", (bytes) => this.#take(bytes, socket));
      if (this.isDeaf) socket.pause();
    });
    server.listen(this.port, "127.0.0.1");
    await once(server, "listening");
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
    return this;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  hear(): void {
    this.isDeaf = false;
    for (const socket of this.#sockets) socket.resume();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** The messages of a syslog over TCP, without their heads. */
function syslogService(lines: string[]): Service {
  const rest = new WeakMap<Socket, string>();
  return new Service((bytes, socket) => {
    const rows = ((rest.get(socket) ?? "") + bytes.toString()).split("\n");
    rest.set(socket, rows.pop() ?? "");
    for (const row of rows) lines.push(row.replace(/^.*?\]: /, ""));
  });
}

/** The records of a fluentd, each acknowledged. */
function fluentdService(records: Record<string, string>[]): Service {
  const rest = new WeakMap<Socket, Buffer[]>();
  return new Service((bytes, socket) => {
    const held = rest.get(socket) ?? [];
    held.push(bytes);
    let all = Buffer.concat(held);
    for (;;) {
      const found = unpack(all);
      if (found === undefined) break;
      all = all.subarray(found.size);
      const [, entries, option] = found.value as [string, [unknown, Record<string, string>][], { chunk?: string }];
      for (const [, record] of entries) records.push(record);
      if (option.chunk !== undefined) socket.write(new PackedWriter().value({ ack: option.chunk }).bytes);
    }
    rest.set(socket, [all]);
  });
}

async function until(what: string, isSo: () => boolean, ms = 30_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await delay(20);
  }
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => `line ${index}`);
const count = (lines: number, pause = "") =>
  `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); ${pause} done`;
const EACH_50 = "[ $((i%50)) = 0 ] && sleep 0.05;";

describe("log drivers", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const run = (name: string, driver: string, options: readonly string[], script: string) =>
    engine.docker(
      ...["run", "-d", "--network", "none", "--name", name, "--log-driver", driver],
      ...options.flatMap((option) => ["--log-opt", option]),
      ...["busybox", "sh", "-c", script],
    );
  const cursorOf = async (name: string) =>
    join(engine.dataRoot, "containers", await engine.ok("inspect", "-f", "{{.Id}}", name), "shipped.json");
  const shipped = async (name: string) => {
    const cursor = await cursorOf(name);
    await until(`${name} is shipped`, () => existsSync(cursor) && JSON.parse(readFileSync(cursor, "utf8")).done);
  };
  const shipperPid = () =>
    Number(
      execFileSync("pgrep", ["-f", `shipper/main.*${engine.execRoot}`], { encoding: "utf8" })
        .trim()
        .split("\n")[0],
    );

  test("json-file is the file that Docker's tools read, and `logs` reads it as well", async () => {
    await engine.ok(
      ...["run", "--network", "none", "--name", "json", "--log-driver", "json-file", "-l", "a=b c", "-e", "PQ=z"],
      ...["--log-opt", "labels=a", "--log-opt", "env-regex=^P", "--log-opt", "tag={{.Name}}/{{.ID}}"],
      ...["busybox", "sh", "-c", "echo out; echo err >&2; sleep 0.1; printf end"],
    );
    const path = await engine.ok("inspect", "-f", "{{.LogPath}}", "json");
    const id = await engine.ok("inspect", "-f", "{{.Id}}", "json");
    assert.equal(path, join(engine.dataRoot, "containers", id, `${id}-json.log`));
    const rows = readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .map((row) => JSON.parse(row));
    const said = rows.map(({ log, stream }) => [log, stream]);
    assert.deepEqual(said.toSorted(), [
      ["end", "stdout"],
      ["err\n", "stderr"],
      ["out\n", "stdout"],
    ]);
    assert.deepEqual(rows[0].attrs, { a: "b c", PQ: "z", tag: `json/${id.slice(0, 12)}` });
    const shown = await engine.docker("logs", "json");
    assert.deepEqual([shown.stdout, shown.stderr], ["out\nend", "err\n"]);
    const details = await engine.docker("logs", "--details", "--tail", "1", "json");
    assert.match(details.stdout, new RegExp(`^PQ=z,a=b\\+c,tag=json%2F${id.slice(0, 12)} end$`));
  });

  test("a driver that can't begin says why in Docker's words, and the container does not run", async () => {
    for (const [driver, options, words] of [
      ["syslog", ["syslog-address=tcp://127.0.0.1:1"], "dial tcp 127.0.0.1:1: connect: connection refused"],
      ["fluentd", ["fluentd-address=127.0.0.1:1"], "dial tcp 127.0.0.1:1: connect: connection refused"],
      [
        "gelf",
        ["gelf-address=tcp://127.0.0.1:1"],
        "gelf: cannot connect to GELF endpoint: 127.0.0.1:1 dial tcp 127.0.0.1:1: connect: connection refused",
      ],
      ["json-file", ["tag={{"], "template: log-tag:1: unclosed action"],
    ] as const) {
      const refused = await run("refused", driver, options, "true");
      assert.match(refused.stderr, new RegExp(`failed to initialize logging driver: ${RegExp.escape(words)}`));
      assert.equal(await engine.ok("inspect", "-f", "{{.State.Status}}", "refused"), "created");
      await engine.ok("rm", "refused");
    }
    assert.equal(
      (await run("later", "fluentd", ["fluentd-address=127.0.0.1:1", "fluentd-async=true"], "true")).code,
      0,
    );
    await engine.ok("rm", "-f", "later");
  });

  test("`none` and a cache that is off can't be read, in Docker's words", async () => {
    await using service = await syslogService([]).start();
    const address = `syslog-address=tcp://127.0.0.1:${service.port}`;
    await run("off", "syslog", [address, "cache-disabled=true"], "echo x");
    await run("nothing", "none", [], "echo x");
    for (const name of ["off", "nothing"]) {
      const refused = await engine.docker("logs", name);
      assert.match(refused.stderr, /configured logging driver does not support reading/);
    }
    await engine.ok("rm", "-f", "off", "nothing");
  });

  test("syslog gets every line though it goes away and comes back in the middle", async () => {
    const lines: string[] = [];
    await using service = await syslogService(lines).start();
    await run("flaky", "syslog", [`syslog-address=tcp://127.0.0.1:${service.port}`], count(3000, EACH_50));
    await until("some lines", () => lines.length > 300);
    await service.stop();
    await delay(500);
    await service.start();
    await shipped("flaky");
    await until("the last line", () => lines.includes("line 2999"));
    assert.deepEqual(new Set(lines), new Set(numbers(3000)));
    assert.equal((await engine.docker("logs", "flaky")).stdout, `${numbers(3000).join("\n")}\n`);
    await engine.ok("rm", "flaky");
  });

  test("fluentd gets every line once though the engine is killed in the middle", async () => {
    const records: Record<string, string>[] = [];
    await using service = await fluentdService(records).start();
    const options = [`fluentd-address=127.0.0.1:${service.port}`, "fluentd-request-ack=true", "tag={{.Name}}"];
    await run("killed", "fluentd", options, count(3000, EACH_50));
    await until("some lines", () => records.length > 300);
    await engine.kill();
    const before = records.length;
    await until("lines without an engine", () => records.length > before + 200);
    await engine.start();
    await shipped("killed");
    assert.deepEqual(
      records.map(({ log }) => log),
      numbers(3000),
    );
    await engine.ok("rm", "killed");
  });

  test("a shipper that is killed is started again and misses nothing", async () => {
    const records: Record<string, string>[] = [];
    await using service = await fluentdService(records).start();
    const options = [`fluentd-address=127.0.0.1:${service.port}`, "fluentd-request-ack=true"];
    await run("shipper", "fluentd", options, count(3000, EACH_50));
    await until("some lines", () => records.length > 500);
    process.kill(shipperPid(), "SIGKILL");
    await shipped("shipper");
    assert.deepEqual(new Set(records.map(({ log }) => log)), new Set(numbers(3000)));
    await engine.ok("rm", "shipper");
  });

  test("a service that takes nothing holds up neither its container nor its removal, and what was lost is counted", async () => {
    const lines: string[] = [];
    await using service = syslogService(lines);
    service.isDeaf = true;
    await service.start();
    const options = [`syslog-address=tcp://127.0.0.1:${service.port}`, "cache-max-size=2m", "cache-max-file=4"];
    const script =
      "x=$(printf %0990d 0); i=0; while [ $i -lt 30000 ]; do echo line $i $x; i=$((i+1)); [ $((i%500)) = 0 ] && sleep 0.03; done";
    const from = engine.log.length;
    await run("deaf", "syslog", options, script);
    assert.equal(await engine.ok("wait", "deaf"), "0");
    assert.match((await engine.docker("logs", "--tail", "1", "deaf")).stdout, /^line 29999 0+\n$/);
    service.hear();
    await shipped("deaf");
    await until("the last line", () => lines.at(-1)?.startsWith("line 29999 ") === true);
    const dropped = [...engine.log.slice(from).matchAll(/"(\d+) lines of a container's log were given up/g)];
    const lost = dropped.reduce((sum, [, number]) => sum + Number(number), 0);
    assert.ok(lost > 1000, `${lost} lines were lost; ${new Set(lines).size} came; ${engine.log.slice(from)}`);
    assert.equal(new Set(lines).size + lost, 30_000);
    const events = await engine.request(
      "GET",
      `/events?since=0&until=${Math.ceil(Date.now() / 1000)}&filters=${encodeURIComponent('{"event":["log-dropped"]}')}`,
    );
    assert.match(events.text, /"lines":"\d+"/);
    service.isDeaf = true;
    await engine.ok("rm", "deaf");
    await run("gone", "syslog", options, `${script}; sleep 600`);
    await delay(1000);
    const begun = Date.now();
    await engine.ok("rm", "-f", "gone");
    assert.ok(Date.now() - begun < 4000, `the removal took ${Date.now() - begun} ms`);
    const other = await engine.docker("run", "--rm", "--network", "none", "busybox", "echo", "unmoved");
    assert.equal(other.stdout, "unmoved\n");
  });

  test("a hundred megabytes go through while the local copy rotates", async () => {
    const state = { lines: 0, bytes: 0, isInOrder: true };
    let tail = Buffer.alloc(0);
    await using service = await new Service((bytes) => {
      const all = Buffer.concat([tail, bytes]);
      let from = 0;
      for (let end = all.indexOf(0); end >= 0; end = all.indexOf(0, from)) {
        const text = JSON.parse(all.toString("utf8", from, end)).short_message as string;
        state.isInOrder &&= text.startsWith(`${state.lines} `);
        state.lines++;
        state.bytes += text.length + 1;
        from = end + 1;
      }
      tail = all.subarray(from);
    }).start();
    const options = [`gelf-address=tcp://127.0.0.1:${service.port}`, "cache-max-size=8m", "cache-max-file=20"];
    const script = `awk 'BEGIN { x = sprintf("%01040d", 0); for (i = 0; i < 100000; i++) print i, x }'`;
    await run("much", "gelf", options, script);
    await until("all is there", () => state.lines >= 100_000, 120_000);
    assert.deepEqual([state.lines, state.isInOrder], [100_000, true]);
    assert.ok(state.bytes > 100_000_000);
    assert.doesNotMatch(engine.log, /much.*given up/);
    await engine.ok("rm", "-f", "much");
  });

  test("lines of a container with --rm are sent before it is forgotten", async () => {
    const lines: string[] = [];
    await using service = await syslogService(lines).start();
    await engine.ok(
      ...["run", "--rm", "--network", "none", "--log-driver", "syslog"],
      ...["--log-opt", `syslog-address=tcp://127.0.0.1:${service.port}`, "busybox", "sh", "-c", count(500)],
    );
    await until("all lines", () => lines.length >= 500);
    assert.deepEqual(lines, numbers(500));
  });
});
