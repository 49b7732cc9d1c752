import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));

interface Daemon {
  readonly child: ChildProcess;
  /** Waits for a line of the log; the engine's end before it is an error. */
  line(part: string): Promise<string>;
  stop(): Promise<number | null>;
}

/** An engine in network and mount namespaces of its own: nothing of it reaches the host. */
function startDaemon(t: TestContext, args: readonly string[]): Daemon {
  const command = ["--net", "--mount", "--propagation", "private", process.execPath, MAIN, ...args];
  const child = spawn("unshare", command, { stdio: ["ignore", "ignore", "pipe"] });
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
