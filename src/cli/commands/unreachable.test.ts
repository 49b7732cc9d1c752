import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseEndpoint } from "../../client/endpoint.ts";
import { exchange } from "../../client/wire.ts";
import { NoAnswer, whyUnreachable } from "./unreachable.ts";

/** What an attempt at the endpoint ends with, and what is said of it. */
async function said(url: string, error?: Error): Promise<string> {
  const endpoint = parseEndpoint(url);
  const failed = error ?? (await exchange(endpoint, { method: "GET", path: "/_ping" }).catch((e: unknown) => e));
  const { Found, Mend } = await whyUnreachable(endpoint, failed);
  return `${Found} | ${Mend}`;
}

test("an engine that takes connections and says nothing is told from one that is not there", async () => {
  assert.match(
    await said("unix:///x.sock", new NoAnswer(20_000)),
    /^\/x\.sock takes connections and gives no answer within 20 seconds: .* gantryd doctor$/,
  );
  assert.match(await said("tcp://h:1", new NoAnswer(20_000)), /^tcp:\/\/h:1 gives no answer .* firewall/);
});

test("what speaks no HTTP, and what may want TLS, is named", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => void socket.end("SSH-2.0-OpenSSH_9\r\n"));
  });
  const closes = createServer((socket) => void socket.on("error", () => {}).once("data", () => void socket.destroy()));
  const port = async (of: typeof server) => {
    await new Promise<void>((resolve) => of.listen(0, "127.0.0.1", resolve));
    return (of.address() as { port: number }).port;
  };
  try {
    assert.match(await said(`tcp://127.0.0.1:${await port(server)}`), /it may want TLS \| Use TLS: --tlsverify/);
    assert.match(await said(`tcp://127.0.0.1:${await port(closes)}`), /it may want TLS \| Use TLS: --tlsverify/);
  } finally {
    server.close();
    closes.close();
  }
});

test("of a host that is reached by ssh the login to try is told", async () => {
  const failed = new Error("error during connect: ssh has exited with exit status 255");
  assert.match(await said("ssh://me@box:2222", failed), / \| Try it by hand .*: ssh -p 2222 me@box gantry version$/);
  assert.match(await said("ssh://box", failed), / \| Try it by hand .*: ssh box gantry version$/);
});

test("whom a socket keeps out is told by name which group to join", { skip: process.getuid?.() !== 0 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-unreachable-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "engine.sock");
  mkdirSync(path);
  chmodSync(folder, 0o711);
  const refused = new Error("permission denied", { cause: Object.assign(new Error("x"), { code: "EACCES" }) });
  const kept = () => said(`unix://${path}`, refused);
  assert.match(await kept(), /^root may not use .*: it is root's alone \| .*--group NAME/);
  chownSync(path, 0, 1);
  assert.match(await kept(), /only members of the group daemon may \| .* usermod -aG daemon root$/);
  chownSync(path, 0, 61_234);
  assert.match(await kept(), /the group 61234 may \| .* usermod -aG "\$\(getent group 61234 \| cut -d: -f1\)" root$/);
});
