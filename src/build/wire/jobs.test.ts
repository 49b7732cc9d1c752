import assert from "node:assert/strict";
import { test } from "node:test";
import type { BuildEvent } from "../progress.ts";
import { Job, Jobs } from "./jobs.ts";

const signal = new AbortController().signal;

function line(text: string): BuildEvent {
  return { type: "log", log: { vertex: "v", stream: 1, data: Buffer.from(text), timestamp: 0 } };
}

async function told(job: Job): Promise<string> {
  let text = "";
  for await (const group of job.told.listen(signal)) {
    for (const event of group) if (event.type === "log") text += Buffer.from(event.log.data).toString();
  }
  return text;
}

test("who follows a build before, while and after it runs has all of it", async () => {
  const jobs = new Jobs();
  const early = jobs.get("a", signal).then(told);
  const job = new Job("a");
  jobs.start(job);
  void job.told.add(line("1"));
  const during = told(await jobs.get("a", signal));
  void job.told.add(line("2"));
  jobs.end(job);
  assert.deepEqual([await early, await during, await told(await jobs.get("a", signal))], ["12", "12", "12"]);
});

test("a name is taken while its build runs, and free again after it", () => {
  const jobs = new Jobs();
  const job = new Job("a");
  jobs.start(job);
  assert.throws(() => jobs.start(new Job("a")), { kind: "conflict" });
  assert.throws(() => jobs.start(new Job("")), { kind: "invalid" });
  jobs.end(job);
  jobs.start(new Job("a"));
  assert.equal(jobs.find("a")!.hasEnded, false);
});

test("who reads slowly holds up who prints, until it reads or leaves", async () => {
  const job = new Job("a");
  const listener = job.told.listen(signal)[Symbol.asyncIterator]();
  void job.told.add(line("x"));
  await listener.next();
  const big = "y".repeat(600 << 10);
  assert.equal(job.told.add(line(big)), undefined);
  const held = job.told.add(line(big));
  assert.ok(held instanceof Promise);
  await listener.next();
  await held;
  void job.told.add(line(big));
  const again = job.told.add(line(big));
  await listener.return!();
  await again;
  assert.equal(job.told.add(line(big)), undefined, "nobody listens any more");
});

test("of what nobody has asked for only the last output is kept", async () => {
  const job = new Job("a");
  for (let count = 0; count < 100; count++) void job.told.add(line(String(count % 10).repeat(100 << 10)));
  job.told.end();
  const text = await told(job);
  assert.ok(text.length <= 1 << 20 && text.endsWith("9"), `${text.length} bytes`);
});
