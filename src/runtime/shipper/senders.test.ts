import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { gunzipSync, inflateSync } from "node:zlib";
import type { GelfService, SyslogService } from "../shipment.ts";
import { FluentdSender } from "./fluentd.ts";
import { GelfSender } from "./gelf.ts";
import { JournaldSender } from "./journald.ts";
import { EventTime, PackedWriter, unpack } from "./msgpack.ts";
import type { ShippedLine } from "./sender.ts";
import { SyslogSender, syslogMessage } from "./syslog.ts";

const NEVER = new AbortController().signal;
const NANO = 1_795_309_942_563_123_456n;

function line(text: string, more: Partial<ShippedLine> = {}): ShippedLine {
  return { stream: 1, timeNano: NANO, data: Buffer.from(text), part: undefined, ...more };
}

/** What arrives at a TCP port of the test's own. */
async function listener(t: { after(act: () => void): void }, onData?: (socket: import("node:net").Socket) => void) {
  let received = Buffer.alloc(0);
  const closed = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("close", () => closed.resolve());
    socket.on("data", (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      onData?.(socket);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return { port: (server.address() as AddressInfo).port, received: () => received, closed: closed.promise };
}

test("syslog's four forms are Docker's", () => {
  const service: SyslogService = {
    driver: "syslog",
    addresses: [],
    facility: 3,
    format: "",
    hostname: "vm",
    tag: "504886a0905b",
  };
  const said = (format: SyslogService["format"], stream: 1 | 2 = 1) =>
    syslogMessage({ ...service, format }, line("hi", { stream }))
      .toString()
      .replaceAll(String(process.pid), "PID");
  const stamp = "[A-Z][a-z]{2} [ \\d]\\d \\d\\d:\\d\\d:\\d\\d";
  assert.match(said(""), new RegExp(`^<30>${stamp} 504886a0905b\\[PID\\]: hi\\n$`));
  assert.match(said("rfc3164", 2), new RegExp(`^<27>${stamp} vm 504886a0905b\\[PID\\]: hi\\n$`));
  const zone = "(Z|[+-]\\d\\d:\\d\\d)";
  const date = "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d";
  assert.match(said("rfc5424"), new RegExp(`^<30>1 ${date}${zone} vm 504886a0905b PID 504886a0905b - hi\\n$`));
  assert.match(
    said("rfc5424micro"),
    new RegExp(`^<30>1 ${date}\\.563123${zone} vm 504886a0905b PID 504886a0905b - hi\\n$`),
  );
});

test("syslog over UDP sends a datagram a line and leaves out empty lines", async (t) => {
  const receiver = createSocket("udp4");
  t.after(() => receiver.close());
  const got: string[] = [];
  const all = new Promise<void>((resolve) => {
    receiver.on("message", (bytes) => {
      if (got.push(bytes.toString()) === 2) resolve();
    });
  });
  receiver.bind(0, "127.0.0.1");
  await once(receiver, "listening");
  const sender = new SyslogSender({
    driver: "syslog",
    addresses: [{ network: "udp", host: "127.0.0.1", port: receiver.address().port }],
    facility: 16,
    format: "rfc5424",
    hostname: "h",
    tag: "t",
  });
  await sender.connect(NEVER);
  await sender.send([line("one"), line(""), line("two", { stream: 2 })], NEVER);
  await all;
  sender.close();
  assert.deepEqual(
    got.map((text) => [text.slice(0, 6), text.slice(-5)]),
    [
      ["<134>1", " one\n"],
      ["<131>1", " two\n"],
    ],
  );
});

for (const compression of ["gzip", "zlib", "none"] as const) {
  test(`a large GELF message goes in chunks, compression ${compression}`, async (t) => {
    const receiver = createSocket("udp4");
    t.after(() => receiver.close());
    const chunks: Buffer[] = [];
    const all = new Promise<void>((resolve) => {
      receiver.on("message", (bytes) => {
        chunks.push(bytes);
        if (chunks.length === bytes[11]) resolve();
      });
    });
    receiver.bind(0, "127.0.0.1");
    await once(receiver, "listening");
    const service: GelfService = {
      driver: "gelf",
      address: { network: "udp", host: "127.0.0.1", port: receiver.address().port },
      compression,
      level: 1,
      hostname: "vm",
      extra: { _tag: "t", _container_id: "c" },
    };
    const text = Array.from({ length: 1000 }, (_, index) => (index * 7919 * 104729).toString(36)).join("é");
    const sender = new GelfSender(service);
    await sender.connect(NEVER);
    await sender.send([line(text)], NEVER);
    await all;
    sender.close();
    assert.ok(chunks.length > 1 && chunks.every((chunk) => chunk.length <= 1420 && chunk.readUInt16BE(0) === 0x1e0f));
    assert.equal(new Set(chunks.map((chunk) => chunk.toString("hex", 2, 10))).size, 1);
    const packed = Buffer.concat(chunks.toSorted((a, b) => a[10]! - b[10]!).map((chunk) => chunk.subarray(12)));
    const plain = compression === "gzip" ? gunzipSync(packed) : compression === "zlib" ? inflateSync(packed) : packed;
    assert.deepEqual(JSON.parse(plain.toString()), {
      version: "1.1",
      host: "vm",
      short_message: text,
      timestamp: 1_795_309_942.563,
      level: 6,
      _container_id: "c",
      _tag: "t",
    });
  });
}

test("GELF over TCP ends each message with a zero byte", async (t) => {
  const { port, received, closed } = await listener(t);
  const sender = new GelfSender({
    driver: "gelf",
    address: { network: "tcp", host: "127.0.0.1", port },
    compression: "none",
    level: 1,
    hostname: "vm",
    extra: {},
  });
  await sender.connect(NEVER);
  await sender.send([line("one"), line("two", { stream: 2 })], NEVER);
  sender.close();
  await closed;
  const rows = received().toString().split("\0");
  assert.equal(rows.pop(), "");
  assert.deepEqual(
    rows.map((row) => [JSON.parse(row).short_message, JSON.parse(row).level]),
    [
      ["one", 6],
      ["two", 3],
    ],
  );
});

test("MessagePack is written in its shortest forms and what dockerd wrote is read", () => {
  const bytes = new PackedWriter().value({ a: [1, "x", true, null, new EventTime(1, 2), 0x1_0000] }).bytes;
  assert.equal(bytes.toString("hex"), "81a16196" + "01" + "a178" + "c3" + "c0" + "d7000000000100000002" + "ce00010000");
  const dockers = Buffer.from(
    "94a8646f636b65722e78d7006b02417729" + "68d66582a36c6f67a26869a6736f75726365a67374646f757480",
    "hex",
  );
  assert.deepEqual(unpack(dockers), {
    value: ["docker.x", new EventTime(0x6b024177, 0x2968d665), { log: "hi", source: "stdout" }, {}],
    size: dockers.length,
  });
  for (let cut = 0; cut < dockers.length; cut++) assert.equal(unpack(dockers.subarray(0, cut)), undefined);
  assert.equal(unpack(Buffer.from("ddffffffff00", "hex")), undefined);
  assert.throws(() => unpack(Buffer.from("c1", "hex")));
  for (const size of [31, 32, 255, 256, 65_535, 65_536]) {
    assert.equal(unpack(new PackedWriter().value("y".repeat(size)).bytes)?.value, "y".repeat(size));
  }
});

test("fluentd's entries are acknowledged before `send` resolves", async (t) => {
  let answered = false;
  const { port, received } = await listener(t, (socket) => {
    const message = unpack(received())?.value as [string, unknown[], { chunk: string }] | undefined;
    if (message === undefined) return;
    setTimeout(() => {
      answered = true;
      socket.write(new PackedWriter().value({ ack: message[2].chunk }).bytes);
    }, 30);
  });
  const sender = new FluentdSender({
    driver: "fluentd",
    address: { network: "tcp", host: "127.0.0.1", port },
    tag: "t",
    extra: { container_id: "c" },
    subSecond: true,
    requestAck: true,
    isAsync: false,
    reconnectMs: 0,
    writeTimeoutMs: 0,
  });
  await sender.connect(NEVER);
  const part = { id: "i", ordinal: 2, isLast: true };
  await sender.send([line("one"), line("two", { stream: 2, part })], NEVER);
  assert.ok(answered);
  sender.close();
  const [tag, entries] = unpack(received())!.value as [string, unknown[]];
  const time = new EventTime(1_795_309_942, 563_123_456);
  const piece = { partial_message: "true", partial_id: "i", partial_ordinal: "2", partial_last: "true" };
  assert.equal(tag, "t");
  assert.deepEqual(entries, [
    [time, { source: "stdout", log: "one", container_id: "c" }],
    [time, { source: "stderr", log: "two", container_id: "c", ...piece }],
  ]);
});

// Node has no Unix datagram sockets, so Python, where there is one, plays the journal.
const JOURNAL = `
import base64, os, socket, sys, array
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    data, controls, _, _ = s.recvmsg(1 << 20, socket.CMSG_SPACE(4))
    kind = "plain"
    for level, what, value in controls:
        fd = array.array("i", value[:4])[0]
        data = os.pread(fd, 1 << 24, 0)
        os.close(fd)
        kind = "file"
    print(kind + " " + base64.b64encode(data).decode(), flush=True)
`;

function fieldsOf(bytes: Buffer): Record<string, string> {
  const fields: Record<string, string> = {};
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(10, at);
    const text = bytes.toString("utf8", at, end);
    const equals = text.indexOf("=");
    if (equals >= 0) {
      fields[text.slice(0, equals)] = text.slice(equals + 1);
      at = end + 1;
    } else {
      const size = Number(bytes.readBigUInt64LE(end + 1));
      fields[text] = bytes.toString("utf8", end + 9, end + 9 + size);
      at = end + 9 + size + 1;
    }
  }
  return fields;
}

test("the journal gets a datagram of fields, or a sealed file where they are too large", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-journal-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "socket");
  const journal = spawn("python3", ["-c", JOURNAL, path], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => journal.kill("SIGKILL"));
  const failed = once(journal, "error");
  const said = createInterface({ input: journal.stdout })[Symbol.asyncIterator]();
  const first = await Promise.race([said.next(), failed]);
  if (Array.isArray(first) || first.value !== "bound") return t.skip("no python3 to receive with");
  const entry = async () => {
    const [kind = "", data = ""] = String((await said.next()).value).split(" ");
    return { kind, fields: fieldsOf(Buffer.from(data, "base64")) };
  };
  const fields = { CONTAINER_NAME: "n", CONTAINER_TAG: "two\nlines" };
  const sender = new JournaldSender({ driver: "journald", path, fields });
  await sender.connect();
  const part = { id: "i", ordinal: 1, isLast: false };
  await sender.send([line("one"), line(""), line("p", { stream: 2, part })], NEVER);
  const common = {
    CONTAINER_NAME: "n",
    CONTAINER_TAG: "two\nlines",
    SYSLOG_TIMESTAMP: "2026-11-22T01:12:22.563123456Z",
  };
  assert.deepEqual(await entry(), { kind: "plain", fields: { MESSAGE: "one", PRIORITY: "6", ...common } });
  const piece = { CONTAINER_PARTIAL_ID: "i", CONTAINER_PARTIAL_ORDINAL: "1", CONTAINER_PARTIAL_LAST: "false" };
  const expected = { MESSAGE: "p", PRIORITY: "3", ...piece, CONTAINER_PARTIAL_MESSAGE: "true", ...common };
  assert.deepEqual(await entry(), { kind: "plain", fields: expected });
  const large = "x".repeat(2_000_000);
  await sender.send([line(large)], NEVER);
  const file = await entry();
  assert.equal(file.kind, "file");
  assert.equal(file.fields.MESSAGE, large);
  sender.close();
  await assert.rejects(new JournaldSender({ driver: "journald", path: join(folder, "none"), fields: {} }).connect(), {
    message: "journald is not enabled on this host",
  });
});
