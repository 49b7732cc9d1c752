import assert from "node:assert/strict";
import { appendFileSync, existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type ReadLogOptions, readLog } from "./log-reader.ts";
import type { LogTarget } from "./process.ts";
import { LogWriter } from "./supervisor/log-writer.ts";
import { chunk, DATA } from "./supervisor/transfer.ts";

const BOTH = { stdout: true, stderr: true };

class Place implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "gantry-log-"));
  target(maxSize = 0, maxFiles = 1): LogTarget {
    return { path: join(this.folder, "log"), maxSize, maxFiles };
  }
  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function append(writer: LogWriter, stream: 1 | 2, text: string): void {
  writer.append(stream, chunk.bytes.write(text, DATA));
}

async function texts(target: LogTarget, options: Partial<ReadLogOptions> = {}): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of readLog(target, { ...BOTH, ...options })) {
    lines.push(`${line.stream}:${Buffer.from(line.data).toString()}`);
  }
  return lines;
}

test("lines are put together from chunks of two streams, a last one without its newline included", async () => {
  using place = new Place();
  const writer = new LogWriter(place.target());
  for (const [stream, text] of [
    [1, "a\nb"],
    [2, "x\n"],
    [1, "c\nd\n"],
    [2, "\xff\0no end"],
  ] as const) {
    append(writer, stream, text);
  }
  writer.close();
  assert.deepEqual(await texts(place.target()), ["1:a\n", "2:x\n", "1:bc\n", "1:d\n", "2:\xff\0no end"]);
  assert.deepEqual(await texts(place.target(), { stderr: false, tail: 2 }), ["1:bc\n", "1:d\n"]);
  assert.deepEqual(await texts(place.target(), { stdout: false, tail: 1 }), ["2:\xff\0no end"]);
  assert.deepEqual(await texts(place.target(), { tail: 0 }), []);
  const joined = ["1:a\n", "2:x\n", "1:bc\n", "1:d\n", "2:\xff\0no end"];
  assert.deepEqual(await texts(place.target(), { joined: true }), joined);
});

test("without times, frames of one stream that follow each other come as one piece, in every file of the log", async () => {
  using place = new Place();
  const target = place.target(100_000, 3);
  const writer = new LogWriter(target);
  let written = "";
  for (let index = 0; index < 3000; index++) {
    const text = `line ${index}\n`;
    append(writer, index % 1000 === 999 ? 2 : 1, text);
    written += text;
  }
  writer.close();
  const lines = await texts(target, { joined: true, timeless: true });
  const text = lines.map((line) => line.slice(2)).join("");
  assert.ok(written.endsWith(text) && text.length > written.length / 2);
  assert.ok(lines.length < 15, `${lines.length} pieces`);
  assert.deepEqual(lines.filter((line) => line.startsWith("2:")).slice(-2), ["2:line 1999\n", "2:line 2999\n"]);
});

test("a line has the time of the chunk in which it began, and times limit what is read", async () => {
  using place = new Place();
  const writer = new LogWriter(place.target());
  append(writer, 1, "one");
  append(writer, 1, " line\ntwo\n");
  writer.close();
  const lines = await Array.fromAsync(readLog(place.target(), BOTH));
  assert.equal(lines.length, 2);
  assert.ok(lines[0]!.timeNano < lines[1]!.timeNano);
  assert.deepEqual(await texts(place.target(), { sinceNano: lines[1]!.timeNano }), ["1:two\n"]);
  assert.deepEqual(await texts(place.target(), { untilNano: lines[0]!.timeNano }), ["1:one line\n"]);
});

test("a log keeps the newest lines in at most maxFiles files of maxSize bytes", async () => {
  using place = new Place();
  const target = place.target(1000, 3);
  const writer = new LogWriter(target);
  for (let index = 0; index < 500; index++) append(writer, 1, `line ${index}\n`);
  writer.close();
  const lines = await texts(target);
  const first = Number(lines[0]?.slice(7));
  assert.ok(first > 300);
  assert.deepEqual(
    lines,
    Array.from({ length: 500 - first }, (_, index) => `1:line ${first + index}\n`),
  );
  assert.deepEqual(await texts(target, { tail: 60 }), lines.slice(-60));
  assert.ok(!existsSync(`${target.path}.3`));
  assert.ok(statSync(target.path).size <= 1000 && statSync(`${target.path}.2`).size <= 1000);
});

test("a torn end is passed over by readers and cut off by the next writer", async () => {
  using place = new Place();
  const target = place.target();
  const writer = new LogWriter(target);
  append(writer, 1, "whole\n");
  append(writer, 1, "also\n");
  writer.close();
  const { size } = statSync(target.path);
  appendFileSync(target.path, Buffer.from([9, 0, 0, 0, 1, 0xc7, 0x47, 0x4c, 1, 2, 3]));
  assert.deepEqual(await texts(target), ["1:whole\n", "1:also\n"]);
  assert.deepEqual(await texts(target, { tail: 1 }), ["1:also\n"]);
  const again = new LogWriter(target);
  assert.equal(statSync(target.path).size, size);
  append(again, 1, "on\n");
  again.close();
  assert.deepEqual(await texts(target), ["1:whole\n", "1:also\n", "1:on\n"]);
});

test("following sees what is written meanwhile, through rotations, and ends with the process", async () => {
  using place = new Place();
  const target = place.target(2000, 4);
  const writer = new LogWriter(target);
  append(writer, 1, "first\n");
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const got: string[] = [];
  for await (const line of readLog(target, { ...BOTH, follow: true, ended })) {
    got.push(Buffer.from(line.data).toString());
    if (got.length < 200) append(writer, 1, `line ${got.length}\n`);
    else if (got.length === 200) {
      append(writer, 2, "the end");
      writer.close();
      end();
    }
  }
  assert.equal(got.length, 201);
  assert.deepEqual(got.slice(-2), ["line 199\n", "the end"]);
  assert.ok(existsSync(`${target.path}.1`));
});

test("an abort ends following", async () => {
  using place = new Place();
  const abort = new AbortController();
  const lines = readLog(place.target(), { ...BOTH, follow: true, signal: abort.signal });
  const next = lines.next();
  abort.abort();
  assert.equal((await next).done, true);
});
