import assert from "node:assert/strict";
import { test } from "node:test";
import type { Word } from "./threads.fixture.ts";
import { Threads } from "./threads.ts";

const SCRIPT = new URL("./threads.fixture.ts", import.meta.url).pathname;
const open = () => new Threads<string, string, Word, string>({ script: SCRIPT, failure: "cannot speak" });

test("each job hears its own words and ends by itself, many at once", async () => {
  const threads = open();
  const news: string[] = [];
  const jobs = Array.from({ length: 9 }, (_, index) => threads.begin(`job ${index}`, (text) => news.push(text)));
  for (const job of jobs.toReversed()) job.tell({ do: "say", text: "hello" });
  const results = await Promise.all(jobs.map(({ done }) => done));
  assert.deepEqual(
    results,
    jobs.map((_, index) => `job ${index}: hello`),
  );
  assert.deepEqual(
    news.sort(),
    jobs.map((_, index) => `job ${index} has begun`),
  );
  await threads.close();
});

test("a failure comes with its code; a thread's death fails its jobs, and the next one has another", async () => {
  const threads = open();
  const failing = threads.begin("a", () => {});
  failing.tell({ do: "say", text: "fail" });
  await assert.rejects(failing.done, { message: "no room", code: "ENOSPC" });
  const dying = threads.begin("b", () => {});
  dying.tell({ do: "say", text: "die" });
  await assert.rejects(dying.done, { kind: "internal", message: "cannot speak: the thread has ended: dead" });
  const next = threads.begin("c", () => {});
  next.tell({ do: "say", text: "still here" });
  assert.equal(await next.done, "c: still here");
  await threads.close();
});

test("an abort ends its job and no other; what is said to one that has ended is passed over", async () => {
  const threads = open();
  const [first, second] = ["a", "b"].map((name) => threads.begin(name, () => {}));
  first!.tell({ do: "abort" });
  await assert.rejects(first!.done, { kind: "cancelled" });
  first!.tell({ do: "say", text: "late" });
  second!.tell({ do: "say", text: "hello" });
  assert.equal(await second!.done, "b: hello");
  await threads.close();
});

test("what is under way when all is closed is cancelled", async () => {
  const threads = open();
  const { done } = threads.begin("a", () => {});
  await threads.close();
  await assert.rejects(done, { kind: "cancelled" });
});
