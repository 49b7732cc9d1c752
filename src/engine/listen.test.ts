import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, get, type Server } from "node:http";
import { createServer as createHttpsServer, request } from "node:https";
import { type AddressInfo, createServer as createNetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { TlsOptions } from "node:tls";
import { Logger } from "../base/log.ts";
import { bindSocket } from "../kernel/bound-socket.ts";
import { listenUnix } from "../kernel/unix-socket.ts";
import { closeAll, listenAll, readTls } from "./listen.ts";

function scratch(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "gantry-listen-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const warnings: string[] = [];

function open(hosts: readonly string[], tls?: TlsOptions, passed: readonly number[] = []): Promise<readonly Server[]> {
  return listenAll({
    hosts,
    passed,
    group: "0",
    tls,
    createServer: (options) => {
      const answer = (_: unknown, response: { end(text: string): void }) => response.end("hi");
      return (options === undefined ? createHttpServer(answer) : createHttpsServer(options, answer)) as Server;
    },
    log: new Logger("debug", (line) => warnings.push(line)),
  });
}

test("a unix socket is its group's alone, replaces a stale one, and goes with the server", async (t) => {
  const path = join(scratch(t), "a.sock");
  // A process that dies leaves its socket behind.
  spawnSync(process.execPath, [
    "-e",
    `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`,
  ]);
  assert.ok(statSync(path).isSocket());
  const servers = await open([`unix://${path}`]);
  assert.equal(statSync(path).mode & 0o777, 0o660);
  await assert.rejects(open([`unix://${path}`]), {
    kind: "conflict",
    message: `cannot listen on ${path}: another process serves it`,
  });
  await closeAll(servers);
  assert.equal(existsSync(path), false);
});

test("a file in a socket's place stays, and a path that is too long is refused", async (t) => {
  const path = join(scratch(t), "file");
  writeFileSync(path, "precious");
  await assert.rejects(open([`unix://${path}`]), { kind: "conflict", message: /no socket/ });
  assert.equal(readFileSync(path, "utf8"), "precious");
  await assert.rejects(open([`unix:///${"x".repeat(120)}`]), { kind: "invalid", message: /107 bytes/ });
});

test("if one address can't be had, none is kept", async (t) => {
  const path = join(scratch(t), "a.sock");
  const busy = createNetServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => busy.once("listening", resolve));
  t.after(() => busy.close());
  const { port } = busy.address() as AddressInfo;
  await assert.rejects(open([`unix://${path}`, `tcp://127.0.0.1:${port}`]), {
    kind: "unavailable",
    message: /EADDRINUSE/,
  });
  assert.equal(existsSync(path), false);
  await assert.rejects(open(["fd://"]), { kind: "unavailable", message: /no sockets were passed/ });
});

test("each socket has the access that its address names", async (t) => {
  const folder = scratch(t);
  const made: string[] = [];
  const servers = await listenAll({
    hosts: [`unix://${folder}/all`, `unix://${folder}/read?access=read`, "tcp://127.0.0.1:0?access=read"],
    passed: [],
    group: "0",
    tls: undefined,
    createServer: (_tls, access) => {
      made.push(access);
      return createHttpServer();
    },
    log: new Logger("debug", (line) => warnings.push(line)),
  });
  await closeAll(servers);
  assert.deepEqual(made, ["all", "read", "read"]);
  assert.match(warnings.at(-1) ?? "", /without TLS: whoever reaches it reads all that the containers hold and print/);
});

test("plain tcp is warned of", async () => {
  warnings.length = 0;
  const servers = await open(["tcp://127.0.0.1:0"]);
  await closeAll(servers);
  assert.match(warnings.join(""), /without TLS: whoever reaches it is root on this machine/);
});

test("sockets that were passed are served, all or the one named, the network's by TLS if that is asked for", async (t) => {
  const [first, second] = ["first", "second"].map((name) => join(scratch(t), name)) as [string, string];
  const passed = [listenUnix(first), listenUnix(second)] as const;
  const ask = (socketPath: string) =>
    new Promise<string>((resolve, reject) => {
      get({ socketPath, agent: false }, (answer) => answer.setEncoding("utf8").once("data", resolve)).once(
        "error",
        reject,
      );
    });
  const one = await open([`fd://${passed[1]}`], undefined, passed);
  assert.equal(await ask(second), "hi");
  await closeAll(one);
  await assert.rejects(ask(second), { code: "ECONNREFUSED" });
  await assert.rejects(open(["fd://99"], undefined, passed), {
    kind: "unavailable",
    message: /no sockets were passed/,
  });

  const network = bindSocket("tcp", "127.0.0.1", 0);
  const all = await open(["fd://"], { requestCert: true }, [passed[0], network]);
  t.after(() => closeAll(all));
  assert.equal(await ask(first), "hi");
  const { port } = all[1]!.address() as AddressInfo;
  await assert.rejects(
    new Promise((resolve, reject) => get({ host: "127.0.0.1", port, agent: false }, resolve).once("error", reject)),
    { code: "ECONNRESET" },
    "a plain request to a socket that asks for TLS",
  );
});

test("with tlsverify only clients of the CA are served", async (t) => {
  const folder = scratch(t);
  const path = (name: string) => join(folder, name);
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
  } catch {
    return t.skip("no openssl to make certificates with");
  }
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2");
  for (const name of ["server", "client"]) {
    openssl("req", ...curve, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
    writeFileSync(path("ext"), "subjectAltName=IP:127.0.0.1\n");
    openssl(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      "-CAcreateserial",
      "-out",
      `${name}.pem`,
      "-days",
      "2",
      "-extfile",
      "ext",
    );
  }
  const files = {
    tls: true,
    tlsVerify: true,
    tlsCaCert: path("ca.pem"),
    tlsCert: path("server.pem"),
    tlsKey: path("server.key"),
  };
  assert.throws(() => readTls({ ...files, tlsKey: path("none") }), { kind: "invalid", message: /cannot use TLS/ });
  const servers = await open(["tcp://127.0.0.1:0"], readTls(files));
  t.after(() => closeAll(servers));
  const { port } = servers[0]!.address() as AddressInfo;
  const ask = (identity: object) =>
    new Promise<string>((resolve, reject) => {
      const sent = request(
        { host: "127.0.0.1", port, ca: readFileSync(path("ca.pem")), agent: false, ...identity },
        (answer) => {
          answer.setEncoding("utf8").on("data", resolve);
        },
      );
      sent.on("error", reject).end();
    });
  assert.equal(await ask({ cert: readFileSync(path("client.pem")), key: readFileSync(path("client.key")) }), "hi");
  await assert.rejects(ask({}));
});
