import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { StatsSampler, type Subject } from "./sampler.ts";

/** A container whose cgroup is a folder of files. */
function subject(t: TestContext): { state: Subject; looks: number; readonly of: (id: string) => Subject } {
  const folder = mkdtempSync(join(tmpdir(), "gantry-sampler-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "cpuacct.usage"), "1000\n");
  const running = {
    id: "c1",
    folders: { version: 1, folders: { cpuacct: folder } },
    pid: process.pid,
    ownNetwork: false,
    run: "first",
  } as const;
  const made = {
    state: { name: "one", running } as Subject,
    looks: 0,
    of: () => {
      made.looks++;
      return made.state;
    },
  };
  return made;
}

test("however many watch, a container is looked at once a round", async (t) => {
  const container = subject(t);
  const sampler = new StatsSampler(container.of);
  using one = sampler.watch("c1");
  using other = sampler.watch("c1");
  const firsts = await Promise.all([one.next(), other.next()]);
  assert.equal(firsts[0], firsts[1]);
  const seconds = await Promise.all([one.next(), other.next()]);
  assert.equal(seconds[0], seconds[1]);
  assert.equal(container.looks, 2);
  assert.equal(seconds[0]?.preread, firsts[0]?.read);
  assert.equal(firsts[0]?.precpu_stats.system_cpu_usage, undefined);
  assert.equal(seconds[0]?.precpu_stats.system_cpu_usage, firsts[0]?.cpu_stats.system_cpu_usage);
});

test("who does not read has the newest sample, not all of them", async (t) => {
  const container = subject(t);
  const sampler = new StatsSampler(container.of);
  using slow = sampler.watch("c1");
  using quick = sampler.watch("c1");
  await quick.next();
  await quick.next();
  const newest = await quick.next();
  assert.equal(await slow.next(), newest);
});

test("a new run is not compared with the one before, and what stands still is zeros", async (t) => {
  const container = subject(t);
  const sampler = new StatsSampler(container.of);
  using watcher = sampler.watch("c1");
  await watcher.next();
  const { running } = container.state;
  container.state = { name: "one", running: running && { ...running, run: "second" } };
  assert.equal((await watcher.next())?.preread, "0001-01-01T00:00:00Z");
  container.state = { name: "renamed", running: undefined };
  const stopped = await watcher.next();
  assert.equal(stopped?.read, "0001-01-01T00:00:00Z");
  assert.equal(stopped?.name, "/renamed");
  assert.deepEqual(stopped?.memory_stats, {});
});

test("an end is told to who waits, and nobody is looked at any more", async (t) => {
  const container = subject(t);
  const sampler = new StatsSampler(container.of);
  const watcher = sampler.watch("c1");
  await watcher.next();
  const waiting = watcher.next();
  watcher[Symbol.dispose]();
  assert.equal(await waiting, undefined);
  assert.equal(await watcher.next(), undefined);
  const { looks } = container;
  // No timer of the sampler is left: this process ends by itself then, and a new watch begins anew.
  using again = sampler.watch("c1");
  assert.equal((await again.next())?.preread, "0001-01-01T00:00:00Z");
  assert.equal(container.looks, looks + 1);
});
