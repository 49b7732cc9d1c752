import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { type ReadLogOptions, readLog } from "./log-reader.ts";
import type { LogTarget } from "./process.ts";
import { openLogWriter } from "./supervisor/log-writer.ts";
import type { OutputLog } from "./supervisor/ports.ts";
import { chunk, DATA } from "./supervisor/transfer.ts";

const BOTH = { stdout: true, stderr: true };

class Place implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "gantry-json-log-"));
  target(rest: Partial<LogTarget> = {}): LogTarget {
    return { path: join(this.folder, "log"), maxSize: 0, maxFiles: 1, json: { attributes: {} }, ...rest };
  }
  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function append(log: OutputLog, stream: 1 | 2, bytes: string | Uint8Array): void {
  const block = Buffer.from(bytes as string);
  chunk.bytes.set(block, DATA);
  log.append(stream, block.length);
}

function lines(path: string): { log: string; stream: string; time: string; attrs?: Record<string, string> }[] {
  const rows = readFileSync(path, "utf8").split("\n");
  assert.equal(rows.pop(), "");
  return rows.map((row) => JSON.parse(row));
}

async function texts(target: LogTarget, options: Partial<ReadLogOptions> = {}): Promise<string> {
  let all = "";
  for await (const { stream, data } of readLog(target, { ...BOTH, ...options })) {
    all += `${stream}:${Buffer.from(data).toString()}|`;
  }
  return all;
}

test("a line is written byte by byte as dockerd writes it", () => {
  using place = new Place();
  const target = place.target({ json: { attributes: { y: "&<", x: "1 2" } } });
  const log = openLogWriter(target);
  append(log, 1, Buffer.from('a\tb\r"\\<>&\x7f\x01\u2028é😀 ').subarray());
  append(log, 1, Buffer.from([0xff, 0xc3, 10]));
  log.close();
  const text = readFileSync(target.path, "utf8").replace(/"time":"[^"]*"/, '"time":"T"');
  const said = 'a\\u0009b\\r\\"\\\\\\u003c\\u003e\\u0026\x7f\\u0001\\u2028é😀 \\ufffd\\ufffd\\n';
  const attrs = '"attrs":{"x":"1 2","y":"\\u0026\\u003c"}';
  assert.equal(text, `{"log":"${said}","stream":"stdout",${attrs},"time":"T"}\n`);
});

test("lines are cut into pieces of 16 KiB, of which all but the last have no newline and all the first one's time", () => {
  using place = new Place();
  const target = place.target();
  const log = openLogWriter(target);
  append(log, 1, `${"a".repeat(16_384)}\n`);
  append(log, 1, "b".repeat(30_000));
  append(log, 2, "between\n");
  append(log, 1, `${"b".repeat(10_000)}x\n`);
  append(log, 1, "c".repeat(17_000));
  log.close();
  const rows = lines(target.path);
  const sizes = rows.map(({ log: text, stream }) => [text.length, stream.at(-1), text.endsWith("\n")]);
  assert.deepEqual(sizes, [
    [16_384, "t", false],
    [1, "t", true],
    [16_384, "t", false],
    [8, "r", true],
    [16_384, "t", false],
    [7234, "t", true],
    [16_384, "t", false],
    [616, "t", false],
  ]);
  assert.equal(new Set([2, 4, 5].map((row) => rows[row]!.time)).size, 1);
  assert.match(rows[0]!.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z$/);
});

test("what was written is read back, whole and joined, with and without times", async () => {
  using place = new Place();
  const target = place.target({ json: { attributes: { l: '"},{"log":"x\n' } } });
  const log = openLogWriter(target);
  append(log, 1, 'one\ntwo "\\\\n"\n\nthr');
  append(log, 2, "error\n");
  append(log, 1, `ee ${"€".repeat(6000)}\n`);
  append(log, 1, "\u0000\u001b[0mend");
  log.close();
  const long = `three ${"€".repeat(6000)}\n`;
  // A piece ends in the middle of a character: its bytes are replaced, as dockerd does.
  const cut = Buffer.from(long);
  const written = Buffer.concat([cut.subarray(0, 16_384), cut.subarray(16_384)]).toString();
  assert.notEqual(written, "");
  const all = await texts(target);
  assert.ok(
    all.startsWith("2:error\n|") || all.startsWith('1:one\n|1:two "\\\\n"\n|1:\n|2:error\n|1:three €'),
    all.slice(0, 80),
  );
  assert.ok(all.endsWith("|1:\u0000\u001b[0mend|"));
  const joined = await texts(target, { joined: true, timeless: true });
  assert.equal(joined.replaceAll(/[12]:|\|/g, ""), all.replaceAll(/[12]:|\|/g, ""));
  assert.equal(await texts(target, { stdout: false }), "2:error\n|");
  assert.equal(await texts(target, { tail: 1 }), "1:\u0000\u001b[0mend|");
  assert.equal(await texts(target, { tail: 2, stdout: false }), "2:error\n|");
  assert.equal(await texts(target, { tail: 0 }), "");
});

test("files rotate at lines, the older ones are packed, and all are read back in order", async () => {
  using place = new Place();
  const target = place.target({ maxSize: 2000, maxFiles: 4, compress: true });
  const log = openLogWriter(target);
  for (let index = 0; index < 200; index++) {
    append(log, 1, `line ${index}\n`);
    await delay(1);
  }
  const deadline = Date.now() + 5000;
  const packed = () => [1, 2, 3].every((index) => existsSync(`${target.path}.${index}.gz`));
  while (!packed() && Date.now() < deadline) await delay(10);
  log.close();
  assert.ok(packed(), "not all are packed");
  assert.ok(!existsSync(`${target.path}.1`) && statSync(target.path).size <= 2000);
  assert.match(gunzipSync(readFileSync(`${target.path}.1.gz`)).toString(), /^\{"log":"line \d+\\n"/);
  const got = (await texts(target)).split("|").slice(0, -1);
  const first = 200 - got.length;
  assert.ok(first > 80 && first < 150, `the first is ${first}`);
  assert.deepEqual(
    got,
    Array.from({ length: got.length }, (_, index) => `1:line ${first + index}\n`),
  );
  assert.equal(
    await texts(target, { tail: 30 }),
    got
      .slice(-30)
      .map((line) => `${line}|`)
      .join(""),
  );
});

test("no file outgrows its size, however many lines come at once", async () => {
  using place = new Place();
  const target = place.target({ maxSize: 1000, maxFiles: 3 });
  const log = openLogWriter(target);
  for (let burst = 0; burst < 4; burst++) {
    append(log, 1, Array.from({ length: 100 }, (_, index) => `line ${burst}${index}\n`).join(""));
  }
  log.close();
  const files = [target.path, `${target.path}.1`, `${target.path}.2`];
  const rows = files.toReversed().flatMap((file) => {
    assert.ok(statSync(file).size <= 1000, `${file} has ${statSync(file).size} bytes`);
    return lines(file).map((row) => row.log);
  });
  assert.ok(rows.length > 20, `${rows.length} lines are left`);
  assert.deepEqual(
    rows,
    Array.from({ length: rows.length }, (_, index) => `line 3${100 - rows.length + index}\n`),
  );
  assert.equal((await texts(target)).split("|").length - 1, rows.length);
});

test("a torn last line is left out when it is read and cut off by the next writer", async () => {
  using place = new Place();
  const target = place.target();
  const log = openLogWriter(target);
  append(log, 1, "whole\n");
  log.close();
  const { size } = statSync(target.path);
  const { appendFileSync } = await import("node:fs");
  appendFileSync(target.path, '{"log":"torn');
  assert.equal(await texts(target), "1:whole\n|");
  const again = openLogWriter(target);
  assert.equal(statSync(target.path).size, size);
  append(again, 2, "next\n");
  again.close();
  assert.equal(await texts(target), "1:whole\n|2:next\n|");
});

test("lines of other writers are read if they have the fields, and passed over if not", async () => {
  using place = new Place();
  const target = place.target();
  const { writeFileSync } = await import("node:fs");
  const foreign = [
    '{"stream":"stderr","time":"2024-01-02T03:04:05.5Z","log":"a\\n"}',
    "no json at all",
    '{"log":"\\ud83d\\ude00\\n","stream":"stdout","time":"2024-01-02T03:04:05.6Z"}',
    '{"log":5,"stream":"stdout","time":"2024-01-02T03:04:05.6Z"}',
  ];
  writeFileSync(target.path, `${foreign.join("\n")}\n`);
  assert.equal(await texts(target), "2:a\n|1:😀\n|");
  const sinceNano = BigInt(Date.parse("2024-01-02T03:04:05.55Z")) * 1_000_000n;
  assert.equal(await texts(target, { sinceNano }), "1:😀\n|");
});
