import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { receiveDatagrams } from "../kernel/datagram.fixture.ts";
import { listenUnix } from "../kernel/unix-socket.ts";

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));

interface Daemon {
  readonly child: ChildProcess;
  /** Waits for a line of the log; the engine's end before it is an error. */
  line(part: string): Promise<string>;
  stop(): Promise<number | null>;
}

/** As systemd starts a service: with a listening socket as descriptor 3, and a socket to tell its state to. */
interface Given {
  readonly socketFd: number;
  readonly notifySocket: string;
}

/** An engine in network and mount namespaces of its own: nothing of it reaches the host. */
function startDaemon(t: TestContext, args: readonly string[], given?: Given): Daemon {
  // LISTEN_PID names the process that the sockets are for, which only that process knows beforehand.
  const program = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", process.execPath, MAIN, ...args];
  const child = spawn("unshare", ["--net", "--mount", "--propagation", "private", ...program], {
    stdio: ["ignore", "ignore", "pipe", ...(given === undefined ? [] : [given.socketFd])],
    env: given === undefined ? process.env : { ...process.env, LISTEN_FDS: "1", NOTIFY_SOCKET: given.notifySocket },
  });
  const ended = once(child, "exit") as Promise<[number | null]>;
  const lines: string[] = [];
  const reader: Interface = createInterface({ input: child.stderr! });
  reader.on("line", (text) => lines.push(text));
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
  });
  return {
    child,
    line: (part) => {
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const look = () => {
        const found = lines.find((text) => text.includes(part));
        if (found !== undefined) resolve(found);
      };
      const closed = () => reject(new Error(`no line with ${part} in:\n${lines.join("\n")}`));
      reader.on("line", look).once("close", closed);
      look();
      return promise.finally(() => reader.off("line", look).off("close", closed));
    },
    stop: async () => {
      child.kill("SIGTERM");
      return (await ended)[0];
    },
  };
}

function cmdline(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

function ask(socketPath: string, path: string): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, agent: false }, async (answer) => {
      let text = "";
      for await (const piece of answer) text += String(piece);
      resolve(JSON.parse(text) as Record<string, unknown>);
    });
    sent.on("error", reject).end();
  });
}

test("the engine starts, refuses a second one, reloads, and ends leaving nothing", { timeout: 60_000 }, async (t) => {
  if (process.getuid?.() !== 0) return t.skip("an engine needs root");
  const root = mkdtempSync(join(tmpdir(), "gantry-main-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const file = join(root, "daemon.json");
  writeFileSync(file, '{"labels":["a=b"]}');
  const execRoot = join(root, "exec");
  const args = ["--data-root", join(root, "data"), "--exec-root", execRoot, "--config-file", file];
  const daemon = startDaemon(t, args);
  await daemon.line('"msg":"ready"');
  const socket = join(execRoot, "gantry.sock");
  assert.equal((await ask(socket, "/version")).ApiVersion, "1.51");
  const before = await ask(socket, "/info");
  assert.deepEqual(before.Labels, ["a=b"]);
  assert.equal(before.Containers, 0);
  assert.equal(readFileSync(join(execRoot, "gantryd.pid"), "utf8"), String(daemon.child.pid));

  const second = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
  assert.equal(second.status, 1);
  assert.match(second.stderr, new RegExp(`another engine \\(pid ${daemon.child.pid}\\) is using it`));

  writeFileSync(file, '{"labels":["a=c"],"mtu":1400}');
  daemon.child.kill("SIGHUP");
  assert.match(await daemon.line("need a restart"), /mtu/);
  assert.deepEqual((await ask(socket, "/info")).Labels, ["a=c"]);

  assert.equal(await daemon.stop(), 0);
  assert.equal(existsSync(socket), false);
  assert.equal(existsSync(join(execRoot, "gantryd.pid")), false);
  const left = spawnSync("ps", ["-eo", "args"], { encoding: "utf8" }).stdout.split("\n");
  assert.deepEqual(
    left.filter((line) => line.includes(execRoot)),
    [],
  );
});

test("an engine that systemd starts serves the socket it is given and says when it is ready", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("an engine needs root");
  const root = mkdtempSync(join(tmpdir(), "gantry-main-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const execRoot = join(root, "exec");
  const notifySocket = join(root, "notify");
  const states = await receiveDatagrams(t, notifySocket);
  if (states === undefined) return t.skip("no python3 to receive the notifications with");
  const socket = join(root, "given.sock");
  const socketFd = listenUnix(socket);
  const args = ["--data-root", join(root, "data"), "--exec-root", execRoot, "--config-file", join(root, "none.json")];
  writeFileSync(join(root, "none.json"), "{}");
  const daemon = startDaemon(t, [...args, "-H", "fd://"], { socketFd, notifySocket });
  closeSync(socketFd);
  // systemd holds connections back till then, a client of the socket is served as soon as the engine can.
  assert.equal((await ask(socket, "/version")).ApiVersion, "1.51");
  assert.equal((await states.next()).value, "READY=1");
  assert.equal(existsSync(join(execRoot, "gantry.sock")), false);

  // What the engine was given is its own: neither the supervisor nor a container's runtime sees it.
  const supervisor = readdirSync("/proc").find((pid) => cmdline(pid).includes(`supervisor/main.ts\0${execRoot}`));
  const environment = readFileSync(`/proc/${supervisor}/environ`, "utf8");
  assert.doesNotMatch(environment, /(^|\0)(LISTEN_FDS|LISTEN_PID|NOTIFY_SOCKET)=/);
  const inode = (pid: number | string, fd: string) => readlinkSync(`/proc/${pid}/fd/${fd}`);
  const given = inode(daemon.child.pid!, "3");
  assert.match(given, /^socket:/);
  const held = readdirSync(`/proc/${supervisor}/fd`).map((fd) => inode(supervisor!, fd));
  assert.equal(held.includes(given), false);

  assert.equal(await daemon.stop(), 0);
  assert.equal((await states.next()).value, "STOPPING=1");
  assert.equal(existsSync(socket), true, "the socket is whoever opened it's to remove");
});

test("what only asks needs no folders, and what can't be is one sentence and status 1", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-main-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const run = (...args: string[]) => spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
  const validated = run("--validate", "--data-root", join(folder, "data"));
  assert.equal(validated.stdout, "configuration OK\n");
  assert.equal(existsSync(join(folder, "data")), false);
  const refused = run("--validate", "--bogus");
  assert.equal(refused.status, 1);
  assert.equal(refused.stderr, "gantryd: unknown flag: --bogus\nSee 'gantryd --help'.\n");
});
