import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parseDetachKeys } from "./detach-keys.ts";
import { parseExtraHost } from "./files.ts";
import { encodeLines, logStream } from "./log.ts";
import { checkName, randomName } from "./name.ts";
import { rfc3339Nano } from "./record.ts";
import { nextBackoff } from "./restart-policy.ts";
import { parsePs } from "./top.ts";
import { Waiters } from "./waiters.ts";

describe("a container's name", () => {
  it("may be words, digits, dots, dashes and underscores, with or without a slash before", () => {
    assert.equal(checkName("/web-1.a_b"), "web-1.a_b");
    for (const bad of ["", "a", "-a", "a b", "a/b", "é1", "a\n"]) {
      assert.throws(() => checkName(bad), /Invalid container name .*, only \[a-zA-Z0-9\]/s);
    }
  });

  it("is made up when none is given, and never one that is taken", () => {
    const taken = new Set<string>();
    for (let i = 0; i < 500; i++) {
      const name = randomName((candidate) => taken.has(candidate));
      assert.ok(!taken.has(name) && checkName(name) === name);
      taken.add(name);
    }
  });
});

describe("detach keys", () => {
  it("are ctrl-p ctrl-q unless others are given", () => {
    assert.deepEqual([...parseDetachKeys(undefined)], [16, 17]);
    assert.deepEqual([...parseDetachKeys("ctrl-a,x,ctrl-@,ctrl-_")], [1, 120, 0, 31]);
  });
  it("that make no sense are refused by name", () => {
    assert.throws(() => parseDetachKeys("ctrl-1"), /Invalid detach keys \(ctrl-1\) provided/);
  });
});

describe("ps's table", () => {
  it("keeps the container's rows and the last column whole", () => {
    const table = "UID PID PPID CMD\nroot 7 1 sh -c  'a b'\nroot 8 1 other\n";
    assert.deepEqual(parsePs(table, new Set([7])), {
      Titles: ["UID", "PID", "PPID", "CMD"],
      Processes: [["root", "7", "1", "sh -c 'a b'"]],
    });
  });
  it("without a PID column is refused", () => {
    assert.throws(() => parsePs("CMD\nsh\n", new Set()), /Couldn't find PID field in ps output/);
  });
});

describe("restart back-off", () => {
  it("doubles from 100 ms to a minute and starts over after a steady run", () => {
    const waits: number[] = [];
    for (let i = 0; i < 12; i++) waits.push(nextBackoff(waits.at(-1) ?? 0, 0));
    assert.deepEqual(waits.slice(0, 4), [100, 200, 400, 800]);
    assert.equal(waits.at(-1), 60_000);
    assert.equal(nextBackoff(60_000, 10_000), 100);
  });
});

describe("waiters", () => {
  it("are told once, all of them, and leave when they give up", async () => {
    const waiters = new Waiters();
    const stop = new AbortController();
    const given = waiters.next("a", stop.signal);
    const [one, two] = [waiters.next("a", undefined), waiters.next("a", undefined)];
    stop.abort();
    await assert.rejects(given, { kind: "cancelled" });
    waiters.notify("a", 3);
    assert.deepEqual(await Promise.all([one, two]), [3, 3]);
  });
});

describe("log lines on the wire", () => {
  const chunk = { stream: 2 as const, timeNano: 1_000_000_005n, data: Buffer.from("one\n\ntail") };
  it("are a frame each, also when many come at once", () => {
    const framed = Buffer.from(encodeLines(chunk, true, false, ""));
    const frame = (text: string) => `\x02\0\0\0\0\0\0${String.fromCharCode(text.length)}${text}`;
    assert.equal(framed.toString("latin1"), [frame("one\n"), frame("\n"), frame("tail")].join(""));
  });
  it("carry their time and details each, and no frame for a terminal", () => {
    const text = Buffer.from(encodeLines(chunk, false, true, "a=1 ")).toString();
    const prefix = "1970-01-01T00:00:01.000000005Z a=1 ";
    assert.equal(text, `${prefix}one\n${prefix}\n${prefix}tail`);
    assert.equal(Buffer.from(encodeLines(chunk, false, false, "")).toString(), "one\n\ntail");
  });
});

describe("a log on the wire", () => {
  const line = (stream: string, log: string) =>
    `${JSON.stringify({ log, stream, time: "2024-01-02T03:04:05.000000006Z" })}\n`;
  const options = { since: undefined, until: undefined, tail: undefined, follow: false, details: false };
  const read = async (text: string, wish: { joined: boolean; timestamps?: boolean; tty?: boolean }) => {
    const folder = mkdtempSync(join(tmpdir(), "gantry-log-"));
    try {
      writeFileSync(join(folder, "log"), text);
      const target = { path: join(folder, "log"), maxSize: 0, maxFiles: 1, compress: false, json: { attributes: {} } };
      const { signal } = new AbortController();
      const rest = { stdout: true, stderr: true, timestamps: wish.timestamps ?? false, joined: wish.joined, signal };
      const stream = logStream(target, wish.tty ?? false, { ...options, ...rest }, "", Promise.resolve());
      return Buffer.concat(await Array.fromAsync(stream)).toString("latin1");
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
  const frame = (stream: number, text: string) => {
    const head = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
    head.writeUInt32BE(text.length, 4);
    return head.toString("latin1") + text;
  };
  const text = line("stdout", "a\n") + line("stdout", "b\n") + line("stderr", "c\n");

  it("has a frame a line, and as few as there can be only for who asks for it", async () => {
    assert.equal(await read(text, { joined: false }), frame(1, "a\n") + frame(1, "b\n") + frame(2, "c\n"));
    assert.equal(await read(text, { joined: true }), frame(1, "a\nb\n") + frame(2, "c\n"));
    assert.equal(await read(text, { joined: true, tty: true }), "a\nb\nc\n");
    const time = "2024-01-02T03:04:05.000000006Z";
    const stamped = frame(1, `${time} a\n${time} b\n`) + frame(2, `${time} c\n`);
    assert.equal(await read(text, { joined: true, timestamps: true }), stamped);
  });
  it("is whole however long it is, in either form", async () => {
    const count = 20_000;
    const long = Array.from({ length: count }, (_, n) => line("stdout", `${n} ${"x".repeat(n % 200)}\n`)).join("");
    const plain = await read(long, { joined: true, tty: true });
    assert.equal(plain.match(/\n/g)?.length, count);
    const framed = await read(long, { joined: false });
    assert.equal(framed.length, plain.length + 8 * count);
    assert.equal(
      framed,
      plain.replace(/[^\n]*\n/g, (each) => frame(1, each)),
    );
    const joined = await read(long, { joined: true });
    assert.ok(joined.length > plain.length && joined.length < plain.length + 8 * 20);
  });
});

describe("small parsers", () => {
  it("read --add-host in each form", () => {
    assert.deepEqual(parseExtraHost("db:10.0.0.1"), { name: "db", address: "10.0.0.1" });
    assert.deepEqual(parseExtraHost("db=[::1]"), { name: "db", address: "::1" });
    assert.deepEqual(parseExtraHost("h:host-gateway"), { name: "h", address: "host-gateway" });
    assert.throws(() => parseExtraHost("db"), /bad format for add-host: "db"/);
    assert.throws(() => parseExtraHost("db:nowhere"), /invalid IP address in add-host: "nowhere"/);
  });
  it("write nanoseconds in full", () => {
    assert.equal(rfc3339Nano(1_000_000_005n), "1970-01-01T00:00:01.000000005Z");
  });
});
