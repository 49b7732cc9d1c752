import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import packet from "dns-packet";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { makeTestRoot, removeTestRoot } from "../leftovers.ts";

const IDLE = ["busybox", "sleep", "600"];

/**
 * Asks for names without a pause until its input ends. Says "ready" once the first one has been answered, at last how
 * many answers there were and which of them came to a question that was asked when the name's process had ended.
 */
const HAMMER = `
  const { readFileSync } = require("node:fs");
  const targets = JSON.parse(process.argv[1]);
  const socket = require("node:dgram").createSocket("udp4");
  const isGone = (pid) => {
    try { return /\\) [ZX]/.test(readFileSync("/proc/" + pid + "/stat", "utf8")); } catch { return true; }
  };
  const label = (text) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
  const asked = new Map();
  let id = 0, answers = 0, told = false;
  const stale = [];
  const ask = () => {
    const { name, pid } = targets[id % targets.length];
    id = (id + 1) & 0xffff;
    const head = Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    asked.set(id, { name, wasGone: isGone(pid) });
    socket.send(Buffer.concat([head, label(name), Buffer.from([0, 0, 1, 0, 1])]), 53, "127.0.0.11");
  };
  socket.on("message", (reply) => {
    const query = asked.get(reply.readUInt16BE(0));
    if (query !== undefined && reply.readUInt16BE(6) > 0) {
      answers++;
      if (query.wasGone) stale.push(query.name);
      if (!told) { told = true; console.log("ready"); }
    }
    ask();
  });
  // What was lost is asked again.
  setInterval(ask, 20);
  ask();
  process.stdin.resume().on("end", () => { console.log(JSON.stringify({ answers, stale })); process.exit(); });
`;

describe("names", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  let root: string;
  /** Servers of the host's, as its resolv.conf says. */
  const servers: ReturnType<typeof createSocket>[] = [];
  before(async () => {
    root = makeTestRoot();
    writeFileSync(join(root, "resolv.conf"), "nameserver 127.0.77.1\n");
    const script = `mount --bind ${root}/resolv.conf /etc/resolv.conf && exec "$@"`;
    engine = await startEngine({ wrap: ["unshare", "-m", "sh", "-c", script, "sh"] });
    await engine.ok("network", "create", "names");
    await engine.ok("run", "-d", "--name", "asker", "--network", "names", ...IDLE);
  });
  after(async () => {
    for (const server of servers) server.close();
    await engine?.[Symbol.asyncDispose]();
    removeTestRoot(root);
  });

  async function inside(container: string, script: string): Promise<string> {
    const { stdout, stderr } = await engine.docker("exec", container, "sh", "-c", script);
    return `${stdout}${stderr}`.trim();
  }

  const pidOf = (name: string) => engine.ok("inspect", "-f", "{{.State.Pid}}", name);

  for (const [how, ...command] of [
    ["stopped", "stop", "-t", "1"],
    ["killed", "kill"],
    ["removed by force", "rm", "-f"],
  ]) {
    test(`a name is gone from all answers before its container is, when that is ${how}`, async () => {
      // One that goes on a signal, and one that does not.
      await engine.ok("run", "-d", "--name", "goes", "--init", "--network", "names", ...IDLE);
      await engine.ok("run", "-d", "--name", "stays", "--network", "names", ...IDLE);
      const targets = [
        { name: "goes", pid: await pidOf("goes") },
        { name: "stays", pid: await pidOf("stays") },
      ];
      const line = ["-n", "-t", await pidOf("asker"), process.execPath, "-e", HAMMER, JSON.stringify(targets)];
      const hammer = spawn("nsenter", line, { stdio: ["pipe", "pipe", "inherit"] });
      try {
        let said = "";
        hammer.stdout.on("data", (text) => (said += text));
        while (!said.startsWith("ready")) await once(hammer.stdout, "data");
        await engine.ok(...command, "goes", "stays");
        hammer.stdin.end();
        await once(hammer, "close");
        const { answers, stale } = JSON.parse(said.split("\n")[1]!);
        assert.ok(answers > 0);
        assert.deepEqual(stale, []);
      } finally {
        hammer.kill("SIGKILL");
        await engine.docker("rm", "-f", "goes", "stays");
      }
    });
  }

  test("one that is being stopped is found by no name that it gets meanwhile, and by its own when it is back", async () => {
    const { json } = await engine.request("POST", "/containers/create?name=slow", {
      Image: "busybox",
      Cmd: ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
      HostConfig: { NetworkMode: "names" },
    });
    await engine.ok("start", "slow");
    const look = (name: string) => inside("asker", `nslookup -type=a ${name}`);
    const address = await engine.ok("inspect", "-f", "{{.NetworkSettings.Networks.names.IPAddress}}", "slow");
    const found = new RegExp(`Address: ${address.replaceAll(".", "\\.")}$`, "m");
    assert.match(await look("slow"), found);
    const stopped = engine.ok("stop", "-t", "2", "slow");
    for (const deadline = Date.now() + 10_000; found.test(await look("slow")) && Date.now() < deadline; );
    await engine.ok("rename", "slow", "slower");
    for (const name of ["slow", "slower", json.Id.slice(0, 12)]) assert.doesNotMatch(await look(name), found);
    await stopped;
    await engine.ok("start", "slower");
    assert.match(await look("slower"), found);
    await engine.ok("rm", "-f", "slower");
  });

  test("the host is found by its own name from every kind of network, and by --add-host in both families", async () => {
    const server = createServer((socket) => socket.on("error", () => {}).end("host here\n"));
    server.listen(0, "0.0.0.0");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    try {
      await engine.ok("network", "create", "--internal", "walled");
      const ask = ["busybox", "sh", "-c", `nc -w 5 host.docker.internal ${port} < /dev/null`];
      for (const network of ["bridge", "names", "walled", "host"]) {
        assert.equal(await engine.ok("run", "--rm", "--network", network, ...ask), "host here", network);
      }
      const hosts = (...flags: string[]) => engine.ok("run", "--rm", ...flags, "busybox", "cat", "/etc/hosts");
      assert.doesNotMatch(await hosts("--network", "none"), /host\.docker\.internal/);
      const own = await hosts("--add-host", "host.docker.internal:192.0.2.7");
      assert.deepEqual(own.match(/.*host\.docker\.internal/g), ["192.0.2.7\thost.docker.internal"]);
      const gateway = await engine.ok("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge");
      const added = await hosts("--network", "names", "--add-host", "box=host-gateway");
      assert.match(added, new RegExp(`^${gateway.replaceAll(".", "\\.")}\tbox$`, "m"));
      await engine.ok("network", "rm", "walled");
    } finally {
      server.close();
    }
  });

  test("what the host asks is asked anew when its resolv.conf is rewritten", async () => {
    for (const [address, data] of [
      ["127.0.77.1", "192.0.2.11"],
      ["127.0.77.2", "192.0.2.12"],
    ] as const) {
      const server = createSocket("udp4", (query, from) => {
        const { id, questions } = packet.decode(query);
        const answers = [{ type: "A" as const, name: questions![0]!.name, data }];
        server.send(packet.encode({ type: "response", id, questions, answers }), from.port, from.address);
      });
      server.bind(53, address);
      await once(server, "listening");
      servers.push(server);
    }
    const look = () => inside("asker", "nslookup -type=a somewhere.example");
    assert.match(await look(), /192\.0\.2\.11/);
    writeFileSync(join(root, "resolv.conf"), "# new\nnameserver 127.0.77.2\noptions edns0\n");
    const deadline = Date.now() + 10_000;
    let seen = await look();
    while (!seen.includes("192.0.2.12") && Date.now() < deadline) seen = await look();
    assert.match(seen, /192\.0\.2\.12/);
  });
});
