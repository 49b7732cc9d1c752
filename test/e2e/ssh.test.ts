import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { findProgram, finish, type RunOptions } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { Terminal } from "../terminal.ts";

const BIN = fileURLToPath(new URL("../../bin", import.meta.url));
const SSHD = findProgram("sshd");
const SSH = findProgram("ssh");
const DOCKER = findProgram("docker");
const MISSING = SSHD === undefined || SSH === undefined ? "OpenSSH's server or client is not installed" : NO_DOCKER;

describe("an engine behind OpenSSH's server", { skip: MISSING }, () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-sshd-"));
  const file = (name: string, text: string, mode = 0o600) => {
    writeFileSync(join(folder, name), text);
    chmodSync(join(folder, name), mode);
    return join(folder, name);
  };
  let engine: TestEngine;
  let server: ChildProcess;
  let port = 0;

  before(async () => {
    engine = await startEngine();
    for (const key of ["host", "own", "other"])
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, key)]);
    port = await freePort();
    const config = file(
      "sshd_config",
      `Port ${port}
ListenAddress 127.0.0.1
HostKey ${folder}/host
AuthorizedKeysFile ${folder}/own.pub
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv PATH=${folder}:${BIN}:${process.env.PATH} ${["DOCKER", "GANTRY"].map((tool) => `${tool}_HOST=unix://${engine.socket}`).join(" ")}
`,
    );
    file("known_hosts", `[127.0.0.1]:${port} ${readFileSync(join(folder, "host.pub"), "utf8")}`);
    client("own");
    // Its folder below /run, without which it does not start, in a mount namespace of its own.
    const script = 'mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && exec "$@"';
    server = spawn("unshare", ["-m", "sh", "-c", script, "sh", SSHD ?? "", "-D", "-e", "-f", config], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    for (const deadline = Date.now() + 10_000; !(await answers(port)); await delay(50)) {
      assert.ok(server.exitCode === null && Date.now() < deadline, "sshd did not start");
    }
  });
  after(async () => {
    server?.kill("SIGTERM");
    await engine?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** The ssh that both tools find first: OpenSSH's own, with a configuration that is not the machine's. */
  function client(key: string, knownHosts = "known_hosts"): void {
    const config = file(
      "ssh_config",
      `Host *
  IdentityFile ${folder}/${key}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile ${folder}/${knownHosts}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
`,
    );
    file("ssh", `#!/bin/sh\nexec ${SSH} -F ${config} "$@"\n`, 0o755);
  }

  const environment = (path = "") => ({
    PATH: `${folder}:${BIN}:${process.env.PATH}`,
    HOME: engine.root,
    DOCKER_CONFIG: join(engine.root, "config"),
    DOCKER_HOST: `ssh://root@127.0.0.1:${port}${path}`,
    GANTRY_HOST: `ssh://root@127.0.0.1:${port}${path}`,
  });
  const far = (args: readonly string[], options: RunOptions = {}, path = "") =>
    finish(join(BIN, "gantry"), args, { ...options, env: environment(path) });

  test("commands do there what they do here, with their input, output and exit codes", async () => {
    const version = await far(["version", "--format", "{{.Server.Version}}"]);
    assert.equal(
      version.stdout,
      (await engine.gantry("version", "--format", "{{.Server.Version}}")).stdout,
      version.stderr,
    );
    const ran = await far(["run", "--rm", "-i", "busybox", "sh", "-c", "tr a-z A-Z; echo problem >&2; exit 9"], {
      input: "whispered\n",
    });
    assert.deepEqual([ran.code, ran.stdout, ran.stderr], [9, "WHISPERED\n", "problem\n"]);
    const bytes = randomBytes(3 << 20);
    const back = await far(["run", "--rm", "-i", "busybox", "cat"], { input: bytes });
    assert.equal(back.bytes.length, bytes.length);
    assert.equal(digest(back.bytes), digest(bytes));
  });

  test("the socket that the address names is used there", async () => {
    const { code, stdout, stderr } = await far(["ps", "-q"], {}, engine.socket);
    assert.deepEqual([code, stdout], [0, ""], stderr);
    const none = await far(["ps"], {}, "/nowhere.sock");
    assert.equal(none.code, 1);
    assert.match(none.stderr, /nowhere\.sock/);
  });

  test("the docker CLI reaches it in the same way, through docker and through gantry on the other side", async () => {
    const ask = () => finish(DOCKER ?? "", ["run", "--rm", "busybox", "echo", "far"], { env: environment() });
    const byDocker = await ask();
    assert.deepEqual([byDocker.code, byDocker.stdout], [0, "far\n"], byDocker.stderr);
    file("docker", `#!/bin/sh\nexec ${join(BIN, "gantry")} "$@"\n`, 0o755);
    const byGantry = await ask();
    rmSync(join(folder, "docker"));
    assert.deepEqual([byGantry.code, byGantry.stdout], [0, "far\n"], byGantry.stderr);
  });

  test("a terminal there has its size, and logs that are followed end with their container", async () => {
    await using terminal = new Terminal(join(BIN, "gantry"), ["run", "--rm", "-it", "busybox", "sh"], {
      ...environment(),
      TERM: "xterm",
    });
    await terminal.shows(/# /);
    terminal.type("stty size\r");
    await terminal.shows(/30 100/);
    terminal.resize(70, 20);
    terminal.type("until stty size | grep '20 70'; do sleep 0.1; done; exit 5\r");
    assert.equal(await terminal.exit, 5);
    assert.equal(
      (await far(["run", "-d", "--name", "talks", "busybox", "sh", "-c", "echo one; sleep 1; echo two"])).code,
      0,
    );
    assert.equal((await far(["logs", "-f", "talks"])).stdout, "one\ntwo\n");
    await engine.ok("rm", "-f", "talks");
  });

  test("several at a time each have a connection, and none is left behind", async () => {
    const all = await Promise.all(
      Array.from({ length: 4 }, (_, n) => far(["run", "--rm", "busybox", "echo", String(n)])),
    );
    assert.deepEqual(
      all.map(({ stdout }) => stdout),
      ["0\n", "1\n", "2\n", "3\n"],
    );
    const sessions = () => execFileSync("sh", ["-c", `pgrep -P ${server.pid} || true`], { encoding: "utf8" }).trim();
    for (const deadline = Date.now() + 5000; sessions() !== ""; await delay(50)) {
      assert.ok(Date.now() < deadline, `sessions are left: ${sessions()}`);
    }
  });

  test("what the ssh program says of a failure is told", async () => {
    try {
      client("other");
      const denied = await far(["ps"]);
      assert.equal(denied.code, 1);
      assert.match(denied.stderr, /ssh has exited with exit status 255.*stderr=.*Permission denied \(publickey\)/s);
      client("own", "no_known_hosts");
      assert.match((await far(["ps"])).stderr, /Host key verification failed/);
    } finally {
      client("own");
    }
  });
});

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo;
    server.close(() => resolve(port));
  });
  return promise;
}

function answers(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, "127.0.0.1");
  socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}
