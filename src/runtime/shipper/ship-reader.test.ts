import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { LogTarget } from "../process.ts";
import { openLogWriter } from "../supervisor/log-writer.ts";
import { chunk, DATA } from "../supervisor/transfer.ts";
import { BEGINNING, type ShipMark, ShipReader } from "./ship-reader.ts";

class Log implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "gantry-ship-"));
  readonly target: LogTarget;
  readonly #writer: ReturnType<typeof openLogWriter>;
  constructor(limits: Partial<LogTarget> = {}) {
    this.target = { path: join(this.#folder, "log"), maxSize: 0, maxFiles: 1, ...limits };
    this.#writer = openLogWriter(this.target);
  }
  say(stream: 1 | 2, text: string): void {
    this.#writer.append(stream, chunk.bytes.write(text, DATA));
  }
  [Symbol.dispose](): void {
    this.#writer.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const said = (lines: readonly { stream: number; data: Buffer }[]) =>
  lines.map(({ stream, data }) => `${stream}:${data.toString()}`);

test("reading goes on at a mark exactly, also in the middle of a chunk and of a line", async () => {
  using log = new Log();
  const { reader } = ShipReader.open(log.target, BEGINNING);
  using _ = reader;
  log.say(1, "a\nb\npro");
  log.say(2, "x\ny\n");
  const first = await reader.next();
  assert.deepEqual(said(first.lines), ["1:a", "1:b", "2:x", "2:y"]);
  log.say(1, "mpt\nc\n");
  assert.deepEqual(said((await reader.next()).lines), ["1:prompt", "1:c"]);
  using again = ShipReader.open(log.target, first.mark).reader;
  assert.deepEqual(said((await again.next()).lines), ["1:prompt", "1:c"]);
  log.say(1, "end");
  assert.deepEqual(said((await again.next()).lines), []);
  assert.deepEqual(said(again.rest().lines), ["1:end"]);
});

test("a long line goes in numbered pieces of 16 KiB", async () => {
  using log = new Log();
  using reader = ShipReader.open(log.target, BEGINNING).reader;
  log.say(1, "z".repeat(40_000));
  log.say(1, "\nshort\n");
  const { lines } = await reader.next();
  assert.deepEqual(
    lines.map(({ data, part }) => [data.length, part?.ordinal, part?.isLast]),
    [
      [16_384, 1, false],
      [16_384, 2, false],
      [7232, 3, true],
      [5, undefined, undefined],
    ],
  );
  assert.equal(new Set(lines.slice(0, 3).map(({ part }) => part?.id)).size, 1);
});

test("every batch's mark is a place to go on at, across rotations", async () => {
  using log = new Log({ maxSize: 64 * 1024, maxFiles: 100 });
  for (let index = 0; index < 20_000; index++) log.say(index % 3 === 0 ? 2 : 1, `line ${index}\n`);
  let mark: ShipMark = BEGINNING;
  const all: string[] = [];
  for (;;) {
    // Another reader for each batch, as if the process had been killed behind it.
    const { reader, isLost } = ShipReader.open(log.target, mark);
    using _ = reader;
    assert.equal(isLost, false);
    const batch = await reader.next();
    if (batch.lines.length === 0) break;
    all.push(...batch.lines.map(({ data }) => data.toString()));
    mark = batch.mark;
  }
  assert.deepEqual(
    all,
    Array.from({ length: 20_000 }, (_, index) => `line ${index}`),
  );
});

test("what is rotated away while it waits is counted to the line", async () => {
  using log = new Log({ maxSize: 4096, maxFiles: 3 });
  using reader = ShipReader.open(log.target, BEGINNING).reader;
  let dropped = 0;
  log.say(1, "line 0\n");
  const got = (await reader.next()).lines.length;
  for (let index = 1; index < 5000; index++) {
    log.say(1, `line ${index}\n`);
    if (index % 20 === 0) dropped += (await reader.keepUp()) ?? Number.NaN;
  }
  dropped += (await reader.keepUp()) ?? Number.NaN;
  const rest: string[] = [];
  for (let batch = await reader.next(); batch.lines.length > 0; batch = await reader.next()) {
    rest.push(...batch.lines.map(({ data }) => data.toString()));
  }
  assert.ok(dropped > 0 && rest.length > 0);
  assert.equal(got + dropped + rest.length, 5000);
  assert.equal(rest.at(-1), "line 4999");
});

test("a mark of a file that is gone says that lines were lost", async () => {
  using log = new Log({ maxSize: 1000, maxFiles: 2 });
  log.say(1, "line 0\n");
  let mark: ShipMark;
  {
    using reader = ShipReader.open(log.target, BEGINNING).reader;
    mark = (await reader.next()).mark;
  }
  for (let index = 1; index < 200; index++) log.say(1, `line ${index}\n`);
  const { reader, isLost } = ShipReader.open(log.target, mark);
  using _ = reader;
  assert.equal(isLost, true);
  assert.equal((await reader.next()).lines.length > 0, true);
});

test("what waits beyond a limit is left out from its oldest on, to the line", async () => {
  for (const [limits, kept] of [
    [{ lines: 3, bytes: undefined }, ["1:l2997", "1:l2998", "1:l2999"]],
    [{ lines: undefined, bytes: 12 }, ["1:l2998", "1:l2999"]],
    [{ lines: undefined, bytes: 11 }, ["1:l2999"]],
    [{ lines: 0, bytes: undefined }, []],
  ] as const) {
    using log = new Log({ maxSize: 4096, maxFiles: 100, compress: true });
    using reader = ShipReader.open(log.target, BEGINNING).reader;
    for (let index = 0; index < 3000; index++) log.say(1, `l${index}\n`);
    const { lost, batch } = (await reader.skipBeyond(limits))!;
    assert.deepEqual(said(batch.lines), kept);
    assert.equal(lost, 3000 - kept.length);
    log.say(2, "more\n");
    using again = ShipReader.open(log.target, batch.mark).reader;
    assert.deepEqual(said((await again.next()).lines), ["2:more"]);
    assert.equal(await again.skipBeyond({ lines: 1, bytes: 1 }), undefined);
  }
});
