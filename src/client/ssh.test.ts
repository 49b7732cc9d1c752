import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type Endpoint, EngineClient, parseEndpoint } from "./client.ts";
import { sshArguments } from "./ssh.ts";

const folder = mkdtempSync(join(tmpdir(), "gantry-ssh-"));
const socket = join(folder, "engine.sock");
const path = process.env.PATH;
const server = createServer((request, response) => {
  let size = 0;
  request.on("data", (chunk: Buffer) => {
    size += chunk.length;
  });
  request.on("end", () => response.setHeader("Api-Version", "1.51").end(JSON.stringify({ url: request.url, size })));
});

/** A program `name` on the PATH. */
function program(name: string, script: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, name), 0o755);
}

before(async () => {
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  process.env.PATH = `${folder}:${path}`;
  const main = new URL("../cli/main.ts", import.meta.url).pathname;
  // As a login shell of the other side does with what follows the host.
  program("ssh", `printf '%s\\n' "$@" >"${folder}/arguments"; eval "shift $(($# - 1))"; exec sh -c "$1"`);
  program("gantry", `exec ${process.execPath} ${main} "$@"`);
});
after(() => {
  process.env.PATH = path;
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

function ssh(url: string): Endpoint & { kind: "ssh" } {
  const endpoint = parseEndpoint(url);
  assert.equal(endpoint.kind, "ssh");
  return endpoint as Endpoint & { kind: "ssh" };
}

test("an engine is reached through the ssh program and gantry on the other side", async () => {
  const client = new EngineClient(ssh(`ssh://me@box:2222${socket}`));
  assert.deepEqual(await client.json("GET", "/info"), { url: "/v1.51/info", size: 0 });
  const given = readFileSync(join(folder, "arguments"), "utf8").split("\n");
  assert.deepEqual(given.slice(0, 9), ["-o", "ConnectTimeout=30", "-T", "-l", "me", "-p", "2222", "--", "box"]);
});

test("what is sent and answered passes whole", async () => {
  const client = new EngineClient(ssh(`ssh://box${socket}`));
  async function* body(): AsyncGenerator<Uint8Array> {
    for (let part = 0; part < 40; part++) yield Buffer.alloc(100_000, part);
  }
  assert.deepEqual(await client.json("POST", "/load", { upload: body() }), { url: "/v1.51/load", size: 4_000_000 });
});

test("where gantry is missing docker is asked", () => {
  const [command = ""] = sshArguments(ssh("ssh://box")).slice(-1);
  assert.match(command, /exec gantry system dial-stdio; else exec docker system dial-stdio/);
});

test("a path that would be a command on the other side stays a path", () => {
  const [command = ""] = sshArguments(ssh("ssh://box/$(touch%20x)'`y`")).slice(-1);
  program("show", `for word in "$@"; do printf '<%s>' "$word"; done`);
  assert.ok(!command.includes(" $(touch"), command);
  assert.match(command, /unix:\/\/\/\$\(touch x\)/);
});

test("the words of an ssh program that fails are told", async () => {
  program("ssh", "echo 'Permission denied (publickey).' >&2; exit 255");
  const client = new EngineClient(ssh("ssh://box"));
  await assert.rejects(client.json("GET", "/info"), {
    kind: "unavailable",
    message: /ssh has exited with exit status 255.*stderr=Permission denied \(publickey\)\.$/,
  });
});

const BAD: readonly (readonly [string, RegExp])[] = [
  ["ssh://", /no host specified/],
  ["ssh://me@", /no host specified/],
  ["ssh://me:secret@box", /plain-text password is not supported/],
  ["ssh://box?x=y", /extra query after the host: x=y/],
  ["ssh://box#f", /extra fragment after the host: f/],
  ["ssh://box:99999", /port 99999 is none/],
  ["ssh://box:x", /cannot parse/],
];

for (const [url, expected] of BAD) {
  test(`${url} is refused`, () => assert.throws(() => parseEndpoint(url), { message: expected }));
}
