import assert from "node:assert/strict";
import { test } from "node:test";
import type { BuildEvent } from "../progress.ts";
import { Audience } from "./audience.ts";

function line(text: string): BuildEvent {
  return { type: "log", log: { vertex: "sha256:1", stream: 1, data: Buffer.from(text), timestamp: 0 } };
}

/** Has room only while nothing is closed. */
class Reader {
  text = "";
  #gate: PromiseWithResolvers<void> | undefined;

  readonly onEvent = (event: BuildEvent): Promise<void> | undefined => {
    if (event.type === "log") this.text += Buffer.from(event.log.data).toString();
    return this.#gate?.promise;
  };

  stop(): void {
    this.#gate ??= Promise.withResolvers();
  }

  go(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }
}

test("one that reads nothing holds up nobody else, and is told what it missed", async () => {
  const audience = new Audience(1);
  const [quick, stuck] = [new Reader(), new Reader()];
  using _quick = audience.join(quick.onEvent, []);
  using _stuck = audience.join(stuck.onEvent, []);
  stuck.stop();
  for (const text of ["a", "bc", "def"]) await audience.tell(line(text));
  assert.deepEqual([quick.text, stuck.text], ["abcdef", "a"]);
  await audience.tell({ type: "status", status: { id: "", vertex: "", name: "", current: 0, total: 0, timestamp: 0 } });
  stuck.go();
  await new Promise(setImmediate);
  await audience.tell(line("g"));
  assert.equal(quick.text, "abcdefg");
  assert.equal(stuck.text, "a\n[5 bytes of output are missing here: they were not read in time]\ng");
});

test("one that is alone is waited for and misses nothing", async () => {
  const audience = new Audience(1);
  const reader = new Reader();
  using _listening = audience.join(reader.onEvent, []);
  reader.stop();
  let isTold = false;
  const telling = audience.tell(line("a"))!.then(() => {
    isTold = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(isTold, false);
  reader.go();
  await telling;
  await audience.tell(line("b"));
  assert.equal(reader.text, "ab");
});

test("work that waits for a slow one goes on when another comes, or when the slow one leaves", async () => {
  const audience = new Audience(1);
  const [stuck, late] = [new Reader(), new Reader()];
  const leaving = audience.join(stuck.onEvent, []);
  stuck.stop();
  const first = audience.tell(line("a"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  {
    using _late = audience.join(late.onEvent, [line("a")]);
    await first;
    await audience.tell(line("b"));
    assert.deepEqual([stuck.text, late.text], ["a", "ab"]);
  }
  const second = audience.tell(line("c"));
  leaving[Symbol.dispose]();
  await second;
  assert.equal(audience.size, 0);
});
