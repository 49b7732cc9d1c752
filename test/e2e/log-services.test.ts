import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { unpack } from "../../src/runtime/shipper/msgpack.ts";
import { findProgram } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

const JOURNALD = "/usr/lib/systemd/systemd-journald";
const PYTHON = findProgram("python3");

/** A service that listens where it is told, and keeps what it is sent. */
class Listener implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #received: Buffer[] = [];
  connections = 0;

  private constructor(server: Server) {
    this.#server = server;
    server.on(
      server instanceof Object && "setSecureContext" in server ? "secureConnection" : "connection",
      (socket) => {
        this.connections++;
        this.#sockets.add(socket as Socket);
        (socket as Socket).on("error", () => undefined);
        (socket as Socket).on("data", (bytes: Buffer) => this.#received.push(bytes));
        (socket as Socket).on("end", () => (socket as Socket).end());
      },
    );
    server.on("tlsClientError", () => undefined);
  }

  static async on(place: number | string, tls?: TlsOptions): Promise<Listener> {
    const server = tls === undefined ? createServer({ allowHalfOpen: true }) : createTlsServer(tls);
    const listener = new Listener(server);
    if (typeof place === "string") server.listen(place);
    else server.listen(place, "127.0.0.1");
    await once(server, "listening");
    return listener;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get text(): string {
    return Buffer.concat(this.#received).toString();
  }

  /** The lines of a syslog, without their heads. */
  get lines(): string[] {
    const rows = this.text.split("\n").slice(0, -1);
    return rows.map((row) => row.replace(/^.*?\]: /, ""));
  }

  /** The records of a fluentd's messages. */
  get records(): Record<string, string>[] {
    const records: Record<string, string>[] = [];
    let rest = Buffer.concat(this.#received);
    for (let found = unpack(rest); found !== undefined; found = unpack(rest)) {
      rest = rest.subarray(found.size);
      const [, entries] = found.value as [string, [unknown, Record<string, string>][]];
      records.push(...entries.map(([, record]) => record));
    }
    return records;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function until(what: string, isSo: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await delay(20);
  }
}

const count = (lines: number) => `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); done`;

describe("log services", { skip: NO_DOCKER }, () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-services-"));
  const file = (name: string) => join(folder, name);
  const NO_OPENSSL = findProgram("openssl") === undefined ? "no openssl to make certificates with" : false;
  let engine: TestEngine;

  before(async () => {
    if (NO_OPENSSL === false) makeCertificates();
    // What the machine trusts is, for this engine, the one authority of the test.
    engine = await startEngine({ env: { SSL_CERT_FILE: file("ca.pem"), SSL_CERT_DIR: folder } });
  });
  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  function makeCertificates(): void {
    const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    writeFileSync(file("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    for (const authority of ["ca", "other"]) {
      openssl(
        "req",
        "-x509",
        ...curve,
        "-keyout",
        `${authority}.key`,
        "-out",
        `${authority}.pem`,
        "-subj",
        `/CN=${authority}`,
        "-days",
        "2",
      );
    }
    for (const name of ["server", "client"]) {
      openssl("req", ...curve, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
      const sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"];
      openssl("x509", "-req", "-in", `${name}.csr`, ...sign, "-out", `${name}.pem`);
    }
  }
  const serverTls = (more: TlsOptions = {}): TlsOptions => ({
    key: readFileSync(file("server.key")),
    cert: readFileSync(file("server.pem")),
    ca: readFileSync(file("ca.pem")),
    ...more,
  });

  const run = (name: string, driver: string, options: readonly string[], script: string, to = engine) =>
    to.docker(
      ...["run", "-d", "--network", "none", "--name", name, "--log-driver", driver],
      ...options.flatMap((option) => ["--log-opt", option]),
      ...["busybox", "sh", "-c", script],
    );
  const shipped = async (name: string, of = engine) => {
    const id = await of.ok("inspect", "-f", "{{.Id}}", name);
    const cursor = join(of.dataRoot, "containers", id, "shipped.json");
    await until(`${name} is shipped`, () => existsSync(cursor) && JSON.parse(readFileSync(cursor, "utf8")).done);
  };
  const metric = async (name: string) => {
    const { text } = await engine.request("GET", "/metrics");
    return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]);
  };
  const dropped = (from: number) => {
    const told = [
      ...engine.log.slice(from).matchAll(/"(?:more than )?(\d+) lines of a container's log were given up/g),
    ];
    return told.reduce((sum, [, lines]) => sum + Number(lines), 0);
  };

  test("syslog over TLS trusts the authority it is given, and shows its own certificate", {
    skip: NO_OPENSSL,
  }, async () => {
    await using service = await Listener.on(0, serverTls({ requestCert: true, rejectUnauthorized: true }));
    const address = `syslog-address=tcp+tls://localhost:${service.port}`;
    const own = [`syslog-tls-cert=${file("client.pem")}`, `syslog-tls-key=${file("client.key")}`];
    const started = await run("tls", "syslog", [address, `syslog-tls-ca-cert=${file("ca.pem")}`, ...own], count(500));
    assert.equal(started.code, 0, started.stderr);
    await shipped("tls");
    assert.deepEqual(
      service.lines,
      Array.from({ length: 500 }, (_, index) => `line ${index}`),
    );
    const wrong = await run("wrong", "syslog", [address, `syslog-tls-ca-cert=${file("other.pem")}`, ...own], "true");
    assert.match(
      wrong.stderr,
      /failed to initialize logging driver: tls: failed to verify certificate: x509: certificate signed by unknown authority/,
    );
    const missing = await run("missing", "syslog", [address, "syslog-tls-ca-cert=/nope.pem"], "true");
    assert.match(
      missing.stderr,
      /could not read CA certificate "\/nope.pem": open \/nope.pem: no such file or directory/,
    );
    const blind = [address, `syslog-tls-ca-cert=${file("other.pem")}`, "syslog-tls-skip-verify=true", ...own];
    assert.equal((await run("blind", "syslog", [...blind, "syslog-format=rfc5424"], "echo counted")).code, 0);
    await shipped("blind");
    const [, length = "0", message = ""] = /(\d+) (<30>1 .* - counted\n)$/s.exec(service.text) ?? [];
    assert.equal(Number(length), message.length, service.text.slice(-200));
    await engine.ok("rm", "tls", "wrong", "missing", "blind");
  });

  test("fluentd over TLS trusts what the machine trusts", { skip: NO_OPENSSL }, async () => {
    await using service = await Listener.on(0, serverTls());
    const started = await run("tls", "fluentd", [`fluentd-address=tls://localhost:${service.port}`], count(3));
    assert.equal(started.code, 0, started.stderr);
    await shipped("tls");
    assert.deepEqual(
      service.records.map(({ log }) => log),
      ["line 0", "line 1", "line 2"],
    );
    await engine.ok("rm", "tls");
  });

  test("syslog and fluentd take Unix sockets", async () => {
    await using syslog = await Listener.on(file("syslog"));
    await using fluentd = await Listener.on(file("fluentd"));
    assert.equal((await run("by-unix", "syslog", [`syslog-address=unix://${file("syslog")}`], count(3))).code, 0);
    assert.equal(
      (await run("by-unix-too", "fluentd", [`fluentd-address=unix://${file("fluentd")}`], count(3))).code,
      0,
    );
    await Promise.all([shipped("by-unix"), shipped("by-unix-too")]);
    assert.deepEqual(syslog.lines, ["line 0", "line 1", "line 2"]);
    assert.deepEqual(
      fluentd.records.map(({ log }) => log),
      ["line 0", "line 1", "line 2"],
    );
    await engine.ok("rm", "by-unix", "by-unix-too");
  });

  // Node has no Unix datagram sockets, so Python plays the syslog.
  test("syslog takes a Unix datagram socket, and waits for one that is full", {
    skip: PYTHON === undefined && "no python3",
  }, async () => {
    const script = `
import socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
time.sleep(1)
while True:
    print(s.recv(65536).decode().rstrip(), flush=True)
`;
    const python = spawn(PYTHON ?? "", ["-c", script, file("datagrams")], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const lines: string[] = [];
      createInterface(python.stdout).on("line", (line) => lines.push(line.replace(/^.*?\]: /, "")));
      await until("the socket is bound", () => lines.includes("bound"));
      assert.equal(
        (await run("grams", "syslog", [`syslog-address=unixgram://${file("datagrams")}`], count(2000))).code,
        0,
      );
      await shipped("grams");
      await until("the last line", () => lines.at(-1) === "line 1999");
      assert.equal(lines.length, 2001);
      await engine.ok("rm", "grams");
    } finally {
      python.kill("SIGKILL");
    }
  });

  test("lines are given up after as many tries as fluentd-max-retries says", async () => {
    const from = engine.log.length;
    let service = await Listener.on(0);
    const { port } = service;
    const options = [`fluentd-address=127.0.0.1:${port}`, "fluentd-max-retries=2", "fluentd-retry-wait=50ms"];
    try {
      const script = `echo first; while [ ! -e /go ]; do sleep 0.05; done; ${count(10)}; while [ ! -e /on ]; do sleep 0.05; done; echo last`;
      assert.equal((await run("gives-up", "fluentd", options, script)).code, 0);
      await until("the first line", () => service.records.length === 1);
      // What went out a moment ago might be sent again.
      await delay(1200);
      await service[Symbol.asyncDispose]();
      await engine.ok("exec", "gives-up", "touch", "/go");
      await delay(1000);
      service = await Listener.on(port);
      await engine.ok("exec", "gives-up", "touch", "/on");
      await shipped("gives-up");
      assert.deepEqual(
        service.records.map(({ log }) => log),
        ["last"],
      );
      await until("what was given up is told", () => dropped(from) === 10);
      assert.equal(
        await engine.ok("logs", "gives-up"),
        `first\n${Array.from({ length: 10 }, (_, n) => `line ${n}`).join("\n")}\nlast`,
      );
    } finally {
      await service[Symbol.asyncDispose]();
    }
    await engine.ok("rm", "-f", "gives-up");
  });

  for (const [what, driver, options, most] of [
    ["fluentd-buffer-limit entries", "fluentd", ["fluentd-async=true", "fluentd-buffer-limit=100"], 100],
    ["max-buffer-size bytes", "fluentd", ["fluentd-async=true", "mode=non-blocking", "max-buffer-size=1k"], 102],
  ] as const) {
    test(`no more than ${what} wait for a service that is away, the newest`, async () => {
      const from = engine.log.length;
      const before_ = await metric("gantry_log_dropped_lines_total");
      const free = await Listener.on(0);
      const { port } = free;
      await free[Symbol.asyncDispose]();
      const address = [`fluentd-address=127.0.0.1:${port}`, "fluentd-retry-wait=100ms"];
      assert.equal(
        (await run("waits", driver, [...address, ...options], `echo on its way; sleep 0.7; ${count(5000)}`)).code,
        0,
      );
      await engine.ok("wait", "waits");
      await using service = await Listener.on(port);
      await shipped("waits");
      assert.deepEqual(
        service.records.map(({ log }) => log),
        ["on its way", ...Array.from({ length: most }, (_, n) => `line ${5000 - most + n}`)],
      );
      await until("what was left out is told", () => dropped(from) === 5000 - most);
      assert.equal((await metric("gantry_log_dropped_lines_total")) - before_, 5000 - most);
      await engine.ok("rm", "waits");
    });
  }

  test("GELF's reconnects are as many, and as far apart, as its options say", async () => {
    const from = engine.log.length;
    const service = await Listener.on(0);
    const options = [
      `gelf-address=tcp://127.0.0.1:${service.port}`,
      "gelf-tcp-max-reconnect=1",
      "gelf-tcp-reconnect-delay=1",
    ];
    const script = "echo first; while [ ! -e /go ]; do sleep 0.05; done; echo second";
    assert.equal((await run("gelf", "gelf", options, script)).code, 0);
    await until("the first line", () => service.text.includes("first"));
    await delay(1200);
    await service[Symbol.asyncDispose]();
    const began = Date.now();
    await engine.ok("exec", "gelf", "touch", "/go");
    await shipped("gelf");
    assert.ok(Date.now() - began > 900, "it was tried again after a second");
    await until("what was given up is told", () => dropped(from) === 1);
    await engine.ok("rm", "gelf");
  });

  test("an asynchronous fluentd is connected to anew as often as it says, and misses nothing", async () => {
    await using service = await Listener.on(0);
    const options = [
      `fluentd-address=127.0.0.1:${service.port}`,
      "fluentd-async=true",
      "fluentd-async-reconnect-interval=200ms",
    ];
    const sent = await metric("gantry_log_shipped_bytes_total");
    assert.equal(
      (await run("anew", "fluentd", options, "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.03; done"))
        .code,
      0,
    );
    await shipped("anew");
    assert.ok(service.connections >= 4, `${service.connections} connections`);
    assert.deepEqual(
      service.records.map(({ log }) => log),
      Array.from({ length: 60 }, (_, index) => `line ${index}`),
    );
    await until(
      "the bytes are counted",
      async () => (await metric("gantry_log_shipped_bytes_total")) - sent === 60 * 7 - 10,
    );
    await engine.ok("rm", "anew");
  });

  test("the journal of systemd has each line with its fields", {
    skip: !existsSync(JOURNALD) && "no systemd-journald",
  }, async () => {
    // A journal of its own: /run is the engine's alone here, and nothing of the kernel's goes into it.
    const script = `
      mount -t tmpfs tmpfs /run
      mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
      printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\n' >/run/systemd/journald.conf.d/test.conf
      ${JOURNALD} </dev/null >/dev/null 2>&1 &
      echo $! >"$0"
      while [ ! -S /run/systemd/journal/socket ]; do sleep 0.05; done
      exec "$@"`;
    const pidFile = file("journald.pid");
    const journaled = await startEngine({ wrap: ["unshare", "-m", "sh", "-c", script, pidFile] });
    try {
      const long = `x=$(printf %020000d 7); echo $x; echo plain; echo wrong >&2`;
      const options = ["tag={{.Name}}", "labels=tier"];
      const { code, stderr } = await journaled.docker(
        ...["run", "--network", "none", "--name", "noted", "-l", "tier=a b", "--log-driver", "journald"],
        ...options.flatMap((option) => ["--log-opt", option]),
        ...["busybox", "sh", "-c", long],
      );
      assert.equal(code, 0, stderr);
      await shipped("noted", journaled);
      const rows = execFileSync(
        "nsenter",
        [
          "-m",
          "-t",
          String(journaled.pid),
          "journalctl",
          "--directory=/run/log/journal",
          "-o",
          "json",
          "--all",
          "CONTAINER_NAME=noted",
        ],
        { encoding: "utf8", maxBuffer: 1 << 24 },
      )
        .trim()
        .split("\n")
        .map((row) => JSON.parse(row) as Record<string, string>);
      const id = await journaled.ok("inspect", "-f", "{{.Id}}", "noted");
      const said = rows.map(({ MESSAGE = "", PRIORITY, CONTAINER_PARTIAL_MESSAGE: partial }) => [
        MESSAGE.length,
        PRIORITY,
        partial,
      ]);
      assert.deepEqual(
        said.toSorted(([a], [b]) => Number(b) - Number(a)),
        [
          [16_384, "6", "true"],
          [3616, "6", undefined],
          ...[
            [5, "6", undefined],
            [5, "3", undefined],
          ].toSorted(() =>
            rows.findIndex(({ MESSAGE }) => MESSAGE === "plain") < rows.findIndex(({ MESSAGE }) => MESSAGE === "wrong")
              ? 0
              : -1,
          ),
        ],
      );
      for (const row of rows) {
        assert.deepEqual(
          [row.CONTAINER_ID_FULL, row.CONTAINER_TAG, row.SYSLOG_IDENTIFIER, row.TIER, row.IMAGE_NAME],
          [id, "noted", "noted", "a b", "busybox"],
        );
      }
      assert.match((await journaled.docker("logs", "noted")).stdout, /plain\n$/);
    } finally {
      await journaled[Symbol.asyncDispose]();
      process.kill(Number(readFileSync(pidFile, "utf8")), "SIGKILL");
    }
  });
});
