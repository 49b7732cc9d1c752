import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Logger } from "../../base/log.ts";
import { EventBus } from "../../events/bus.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { CacheUsage, PruneOptions } from "../builder.ts";
import type { Graph } from "../graph.ts";
import { GraphMaker, TestSolver } from "../solver/solver.fixture.ts";
import type { GcPolicy } from "./policy.ts";
import { Upkeep } from "./upkeep.ts";

const MANY = 5000;
const ALL: PruneOptions = { all: false, filters: [], reservedSpace: 0, maxUsedSpace: 0, minFreeSpace: 0 };

/** The cache of a solver whose images have the snapshots in `shared`. */
function upkeepOf(test: TestSolver, policy?: GcPolicy, mostEntries?: number) {
  const shared = new Set<string>();
  const events = new EventBus();
  const held: CacheUsage[] = [];
  const upkeep = new Upkeep({
    cache: test.cache,
    holders: [
      {
        usage: async () => held,
        remove: async (id) =>
          held.splice(
            held.findIndex((row) => row.id === id),
            1,
          )[0]?.size,
      },
    ],
    roots: test.roots,
    snapshots: test.snapshots,
    // As the images' store does: what nobody needs goes, from the top.
    images: {
      chains: () => shared,
      collectSnapshots: async () => {
        for (;;) {
          const all = test.snapshots.list();
          const needed = new Set([
            ...shared,
            ...test.cache.snapshots(),
            ...test.roots.held(),
            ...all.map((one) => one.parent),
          ]);
          const free = all.find(({ id, kind }) => kind === "committed" && !needed.has(id));
          if (free === undefined) return;
          await test.snapshots.remove(free.id);
        }
      },
    },
    events,
    log: new Logger("error", () => {}),
    dataRoot: test.root,
    policy: () => policy ?? { enabled: false, rules: [] },
    ...(mostEntries !== undefined && { mostEntries }),
  });
  return { upkeep, shared, events, held };
}

function chain(test: TestSolver, ...names: readonly string[]): Graph {
  const maker = new GraphMaker();
  let last = maker.image("sha256:base");
  for (const name of names) {
    test.commands.set(name, (root) => writeFileSync(join(root, name), "x".repeat(1000)));
    last = maker.run(last, name);
  }
  return maker.graph();
}

describe("the upkeep of the cache", () => {
  it("shows what there is, and what stands on what", async () => {
    await using test = new TestSolver();
    const { shared, upkeep } = upkeepOf(test);
    await test.solve(chain(test, "one", "two"));
    await test.cache.settle();
    const [one, two] = await upkeep.usage([]);
    assert.deepEqual(
      [one!.description, one!.size, one!.parents, one!.inUse, one!.shared],
      ["RUN one", 1000, [], false, false],
    );
    assert.deepEqual([two!.description, two!.parents], ["RUN two", [one!.id]]);
    const snapshot = [...test.cache.all()][0]![1].snapshot;
    shared.add(snapshot);
    assert.deepEqual(
      (await upkeep.usage(["shared"])).map(({ id }) => id),
      [one!.id],
    );
    const root = test.roots.snapshot([...test.cache.all()][1]![1].snapshot);
    assert.equal((await upkeep.usage(["inuse"])).length, 2);
    await root[Symbol.asyncDispose]();
  });

  it("removes what nobody needs, tells of it, and the steps run again", async () => {
    await using test = new TestSolver();
    const { events, upkeep } = upkeepOf(test);
    await test.solve(chain(test, "one", "two"));
    await test.cache.settle();
    const { deleted, spaceReclaimed } = await upkeep.prune(ALL);
    assert.deepEqual([deleted.length, spaceReclaimed], [2, 2000]);
    assert.deepEqual(test.snapshots.list(), []);
    assert.deepEqual(
      events.past(0n).map(({ Action, Actor, Type }) => [Type, Action, Actor.Attributes]),
      [["builder", "prune", { reclaimed: "2000" }]],
    );
    assert.deepEqual((await test.solve(chain(test, "one", "two"))).done, ["RUN one", "RUN two"]);
  });

  it("leaves what a build has, and what images share unless all is to go", async () => {
    await using test = new TestSolver();
    const { shared, upkeep } = upkeepOf(test);
    await test.solve(chain(test, "one", "two"));
    await using begun = test.begin(chain(test, "one"));
    await begun.done;
    const [one, two] = [...test.cache.all()].map(([, { snapshot }]) => snapshot);
    shared.add(two!);
    assert.deepEqual((await upkeep.prune(ALL)).deleted, []);
    await begun[Symbol.asyncDispose]();
    assert.deepEqual((await upkeep.prune(ALL)).deleted, []);
    const all = await upkeep.prune({ ...ALL, all: true });
    assert.deepEqual([all.deleted.length, all.spaceReclaimed], [2, 1000]);
    // The image still has its snapshots.
    assert.deepEqual(
      test.snapshots
        .list()
        .map(({ id }) => id)
        .sort(),
      [one, two].sort(),
    );
  });

  it("goes by age, by filters and by size: what others stand on goes after them", async () => {
    await using test = new TestSolver();
    const { held, upkeep } = upkeepOf(test);
    await test.solve(chain(test, "one", "two", "three"));
    await test.cache.settle();
    const row = {
      parents: [],
      description: "cache mount /c",
      inUse: false,
      shared: false,
      createdAt: 0,
      lastUsedAt: 0,
    };
    held.push({ ...row, id: "mount", type: "exec.cachemount", size: 10, usageCount: 1 });
    assert.deepEqual((await upkeep.prune({ ...ALL, filters: ["type==regular"], keepForMs: 3_600_000 })).deleted, []);
    const [first] = await upkeep.usage([]);
    assert.deepEqual((await upkeep.prune({ ...ALL, filters: [`id==${first!.id}`] })).deleted, []);
    assert.deepEqual(await upkeep.prune({ ...ALL, filters: ["type==exec.cachemount"] }), {
      deleted: ["mount"],
      spaceReclaimed: 10,
    });
    assert.deepEqual((await upkeep.prune({ ...ALL, reservedSpace: 3000 })).deleted, []);
    assert.equal((await upkeep.prune({ ...ALL, maxUsedSpace: 2500 })).deleted.length, 1);
    assert.deepEqual(
      (await upkeep.usage([])).map(({ description }) => description),
      ["RUN one", "RUN two"],
    );
  });

  it("keeps within the engine's rules after builds", async () => {
    await using test = new TestSolver();
    const space = { reservedSpace: 0, maxUsedSpace: 1500, minFreeSpace: 0 };
    const { upkeep } = upkeepOf(test, { enabled: true, rules: [{ filters: [], all: true, keepForMs: 0, space }] });
    await test.solve(chain(test, "one", "two", "three"));
    await test.cache.settle();
    await collected(test, upkeep, 1);
  });

  it("keeps no more entries than it has memory for", async () => {
    await using test = new TestSolver();
    const { upkeep } = upkeepOf(test, { enabled: true, rules: [] }, 2);
    await test.solve(chain(test, "one", "two", "three"));
    await collected(test, upkeep, 2);
    assert.deepEqual((await test.solve(chain(test, "one", "two", "three"))).done, ["RUN three"]);
  });

  it("goes through thousands of steps, many of them in one row, a few at a time", async () => {
    const longestOf: number[] = [];
    const wholes: number[] = [];
    // The machine may take its time from any one of them.
    for (let round = 0; round < 3; round++) {
      await using test = new TestSolver();
      const { upkeep } = upkeepOf(test);
      const parents = new Map(Array.from({ length: MANY }, (_, at) => [`s${at}`, at % 400 === 0 ? "" : `s${at - 1}`]));
      test.snapshots.info = (id) => {
        const parent = parents.get(id);
        return parent === undefined ? undefined : { id, kind: "committed", parent: parent || undefined };
      };
      test.snapshots.usage = async () => 10;
      test.snapshots.sync = async () => {};
      for (const [at, snapshot] of [...parents.keys()].entries()) {
        const rest = { inputs: [], definition: undefined, description: "RUN", ingredients: undefined };
        test.cache.add(sha256Of(snapshot), { ...rest, snapshot, site: `${at % 100}` });
      }
      await test.cache.settle();
      let longest = 0;
      let last = performance.now();
      const began = last;
      const turns = setInterval(() => {
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
      }, 0);
      const { deleted } = await upkeep.prune({ ...ALL, all: true });
      clearInterval(turns);
      wholes.push(performance.now() - began);
      longestOf.push(Math.max(longest, performance.now() - last));
      assert.equal(deleted.length, MANY);
    }
    assert.ok(Math.min(...longestOf) < Math.min(...wholes) / 4, JSON.stringify({ longestOf, wholes }));
  });
});

async function collected(test: TestSolver, upkeep: Upkeep, left: number): Promise<void> {
  upkeep.collectSoon();
  for (const until = Date.now() + 20_000; test.cache.count > left && Date.now() < until; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  upkeep.close();
  assert.equal(test.cache.count, left);
}
