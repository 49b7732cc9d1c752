import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProgressMessage } from "../../api/image.ts";
import { bar } from "./bar.ts";
import { Screen } from "./screen.ts";

/** What a terminal shows of what is written to it, with all that moved out at its top. */
class FakeTerminal {
  readonly gone: string[] = [];
  columns: number;
  rows: number;
  writes = 0;
  #lines: string[] = [""];
  #row = 0;
  #column = 0;

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
  }

  size(): { readonly columns: number; readonly rows: number } {
    return { columns: this.columns, rows: this.rows };
  }

  write(text: string): void {
    this.writes++;
    for (const [token] of text.matchAll(/\x1b\[(\d*)([A-Z])|[^\x1b]/g)) {
      const [, count = "", letter] = /^\x1b\[(\d*)([A-Z])$/.exec(token) ?? [];
      if (letter === "A") this.#row = Math.max(0, this.#row - Number(count || 1));
      else if (letter === "K") this.#lines[this.#row] = "";
      else if (letter === "J") this.#lines.splice(this.#row, this.#lines.length, "");
      else if (letter !== undefined) assert.fail(`unknown sequence ${JSON.stringify(token)}`);
      else if (token === "\r") this.#column = 0;
      else if (token === "\n") this.#feed();
      else this.#put(token);
    }
  }

  /** All that can be seen by scrolling back, without what is empty at the end. */
  get text(): readonly string[] {
    const lines = [...this.gone, ...this.#lines];
    while (lines.at(-1) === "") lines.pop();
    return lines;
  }

  get screen(): readonly string[] {
    return this.#lines;
  }

  /** Lines of the screen move out at the top as its user makes it smaller. */
  shrink(rows: number): void {
    this.rows = rows;
    while (this.#lines.length > rows) {
      this.gone.push(this.#lines.shift() ?? "");
      this.#row = Math.max(0, this.#row - 1);
    }
  }

  #put(character: string): void {
    assert.ok(this.#column < this.columns, "no line is longer than the terminal is wide");
    const line = (this.#lines[this.#row] ?? "").padEnd(this.#column);
    this.#lines[this.#row] = line.slice(0, this.#column) + character + line.slice(this.#column + 1);
    this.#column++;
  }

  #feed(): void {
    this.#column = 0;
    this.#row++;
    if (this.#row < this.rows) {
      this.#lines[this.#row] ??= "";
      return;
    }
    this.gone.push(this.#lines.shift() ?? "");
    this.#lines.push("");
    this.#row = this.rows - 1;
  }
}

class Clock {
  at = 0;
  readonly now = (): number => this.at;
}

function layer(number: number): string {
  return `${number}`.padStart(12, "a");
}

function downloading(id: string, current: number, total: number): ProgressMessage {
  return { id, status: "Downloading", progressDetail: { current, total } };
}

test("a line an id is redrawn in place, and what has none stays below", () => {
  const terminal = new FakeTerminal(100, 24);
  const clock = new Clock();
  terminal.write("$ gantry pull x\n");
  using screen = new Screen(terminal, { now: clock.now });
  screen.show({ status: "Pulling from x", id: "1" });
  for (const status of ["Pulling fs layer", "Waiting", "Download complete", "Pull complete"]) {
    clock.at += 100;
    screen.show({ status, id: layer(1) });
    screen.show({ status, id: layer(2) });
  }
  screen.show({ status: "Digest: sha256:aa" });
  screen.show({ status: "Status: Downloaded newer image for x:1" });
  assert.deepEqual(terminal.text, [
    "$ gantry pull x",
    "1: Pulling from x",
    `${layer(1)}: Pull complete`,
    `${layer(2)}: Pull complete`,
    "Digest: sha256:aa",
    "Status: Downloaded newer image for x:1",
  ]);
});

test("sixty layers on a terminal of 24 lines touch nothing above them, and all are there at the end", () => {
  const terminal = new FakeTerminal(80, 24);
  const clock = new Clock();
  terminal.write("before\n$ gantry pull x\n");
  using screen = new Screen(terminal, { now: clock.now, sums: true });
  screen.show({ status: "Pulling from x", id: "1" });
  for (let n = 0; n < 60; n++) screen.show({ status: "Waiting", id: layer(n) });
  for (let n = 0; n < 60; n++) {
    for (let step = 1; step <= 4; step++) {
      clock.at += 60;
      screen.show(downloading(layer(n), step * 1000, 4000));
      assert.ok(
        terminal.screen.some((line) => line.startsWith(`${layer(n)}: Downloading`)),
        "what moves is shown",
      );
      assert.ok(
        terminal.screen.some((line) => /^and 3\d more; \d+ of 60 done/.test(line)),
        terminal.screen.join("\n"),
      );
    }
    screen.show({ status: "Pull complete", id: layer(n) });
  }
  screen.show({ status: "Status: Downloaded newer image for x:1" });
  assert.deepEqual(terminal.text, [
    "before",
    "$ gantry pull x",
    "1: Pulling from x",
    ...Array.from({ length: 60 }, (_, n) => `${layer(n)}: Pull complete`),
    "Status: Downloaded newer image for x:1",
  ]);
});

test("a line that is not drawn again is whole on a terminal however narrow", () => {
  const written: string[] = [];
  using screen = new Screen({ write: (text) => void written.push(text), size: () => ({ columns: 20, rows: 5 }) });
  screen.show(downloading("layer", 1, 2));
  screen.show({ status: `Digest: sha256:${"a".repeat(64)}` });
  assert.equal(written.at(-1), `Digest: sha256:${"a".repeat(64)}\n`);
});

test("drawing is bounded however fast messages come", async () => {
  const terminal = new FakeTerminal(80, 24);
  const clock = new Clock();
  using screen = new Screen(terminal, { now: clock.now });
  for (let n = 0; n < 10_000; n++) screen.show(downloading(layer(1), n, 10_000));
  assert.equal(terminal.writes, 1, "the rest waits for its time");
  screen.finish();
  assert.equal(terminal.writes, 2);
  assert.match(terminal.text.join("\n"), /9\.999kB\/10kB$/);
});

test("what waits to be drawn is drawn though nothing follows", async () => {
  const terminal = new FakeTerminal(80, 24);
  using screen = new Screen(terminal);
  screen.show({ status: "Waiting", id: "a" });
  screen.show({ status: "Verifying Checksum", id: "a" });
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.deepEqual(terminal.text, ["a: Verifying Checksum"]);
});

test("a terminal made smaller in the middle loses nothing of what was there before", () => {
  const terminal = new FakeTerminal(120, 24);
  const clock = new Clock();
  const ids = Array.from({ length: 10 }, (_, n) => layer(n));
  terminal.write("before\n");
  using screen = new Screen(terminal, { now: clock.now });
  const round = (current: number): void => {
    clock.at += 100;
    for (const id of ids) screen.show(downloading(id, current, 1000));
    clock.at += 100;
    for (const id of ids) screen.show(downloading(id, current, 1000));
  };
  round(100);
  terminal.columns = 40;
  round(200);
  terminal.shrink(6);
  round(300);
  for (const id of ids) screen.show({ status: "Pull complete", id });
  screen.finish();
  assert.equal(terminal.text[0], "before");
  assert.deepEqual(
    terminal.text.slice(-10),
    ids.map((id) => `${id}: Pull complete`),
  );
});

test("the last line has the sums while something moves, and is gone when nothing does", () => {
  const terminal = new FakeTerminal(100, 24);
  const clock = new Clock();
  using screen = new Screen(terminal, { now: clock.now, sums: true });
  screen.show({ status: "Already exists", id: "a" });
  screen.show({ status: "Waiting", id: "b" });
  screen.show({ status: "Pulling fs layer", id: "c" });
  clock.at = 1000;
  screen.show(downloading("b", 0, 2_000_000));
  clock.at = 2000;
  screen.show(downloading("b", 1_000_000, 2_000_000));
  assert.equal(terminal.text.at(-1), "1 of 3 done, 1MB, 1MB/s");
  clock.at = 3000;
  screen.show(downloading("c", 2_000_000, 4_000_000));
  assert.equal(terminal.text.at(-1), "1 of 3 done, 3MB of 6MB, 500kB/s, 6s left", "what c had before is no speed");
  screen.show({ status: "Download complete", id: "b" });
  clock.at = 4000;
  screen.show({ status: "Extracting", id: "b", progressDetail: { current: 1, total: 2_000_000 } });
  assert.match(terminal.text.at(-1) ?? "", /^1 of 3 done, 4MB of 6MB/);
  screen.show({ status: "Pull complete", id: "b" });
  clock.at = 5000;
  screen.show({ status: "Pull complete", id: "c" });
  assert.deepEqual(terminal.text, ["a: Already exists", "b: Pull complete", "c: Pull complete"]);
});

test("words of a registry steer no terminal and make no further lines", () => {
  const terminal = new FakeTerminal(40, 24);
  using screen = new Screen(terminal);
  screen.show({ id: "a\x1b[2J", status: "b\r\n\x1b]0;title\x07c" });
  screen.finish();
  assert.deepEqual(terminal.text, ["a[2J: b ]0;titlec"]);
});

test("a bar is as wide as there is room, and is left out where there is none", () => {
  assert.equal(bar({ current: 500, total: 1000 }, 200), `[${"=".repeat(25)}>${" ".repeat(25)}]     500B/1kB`);
  assert.equal(bar({ current: 500, total: 1000 }, 30), `[${"=".repeat(7)}>${" ".repeat(7)}]     500B/1kB`);
  assert.equal(bar({ current: 500, total: 1000 }, 25), "    500B/1kB");
  assert.equal(bar({ current: 1500, total: 1000 }, 80).slice(-12), "]    1.5kB/?");
  assert.equal(bar({ current: 1500 }, 80), "   1.5kB");
});

test("a figure for which there is no room is left out, not cut", () => {
  const detail = { current: 2_130_000, total: 20_980_000 };
  const shown = (room: number): string => bar(detail, room);
  assert.deepEqual([16, 15, 14, 12, 11, 10, 6, 5].map(shown), [
    "  2.13MB/20.98MB",
    "2.13MB/20.98MB",
    "2.13MB/20.98MB",
    "2.13MB/21MB",
    "2.13MB/21MB",
    "2.13MB",
    "2.13MB",
    "",
  ]);
  assert.equal(bar({ current: 2_130_000 }, 7), "2.13MB");
  const terminal = new FakeTerminal(40, 24);
  const clock = new Clock();
  using screen = new Screen(terminal, { now: clock.now, sums: true });
  screen.show(downloading("3a190589f5bc", 0, 85_000_000));
  clock.at = 1000;
  screen.show(downloading("3a190589f5bc", 17_090_000, 85_000_000));
  assert.deepEqual(terminal.text, ["3a190589f5bc: Downloading  17.09MB/85MB", "0 of 1 done, 17.1MB of 85MB, 17.1MB/s"]);
});
