import assert from "node:assert/strict";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { isKind } from "../../base/errors.ts";
import { listMounts } from "../../kernel/mount.ts";
import { StepError } from "../step-error.ts";
import { GraphMaker, TestSolver } from "./solver.fixture.ts";

/** A command that waits until it is let go of, and tells when it has begun. */
function gated() {
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  return {
    begun: begun.promise,
    go: () => go.resolve(),
    run: async (_root: string, { signal }: { readonly signal: AbortSignal }) => {
      begun.resolve();
      const aborted = Promise.withResolvers<never>();
      signal.addEventListener("abort", () => aborted.reject(new Error("ended")));
      await Promise.race([go.promise, aborted.promise]);
    },
  };
}

function chain(...names: readonly string[]): GraphMaker {
  const maker = new GraphMaker();
  let last = maker.image("sha256:base");
  for (const name of names) last = maker.run(last, name);
  return maker;
}

describe("solving a graph", () => {
  it("runs each step once, and finds it again without running anything", async () => {
    await using test = new TestSolver();
    const first = await test.solve(chain("one", "two").graph());
    assert.deepEqual(first.files, ["one", "two"]);
    assert.deepEqual([first.done, first.cached], [["RUN one", "RUN two"], []]);
    const second = await test.solve(chain("one", "two").graph());
    assert.deepEqual([second.done, second.cached], [[], ["RUN one", "RUN two"]]);
    const third = await test.solve(chain("one", "three").graph());
    assert.deepEqual([third.done, third.cached], [["RUN three"], ["RUN one"]]);
    assert.deepEqual(third.files, ["one", "three"]);
    assert.deepEqual(test.ran, ["one", "two", "three"]);
  });

  it("solves a graph that is deeper than the stack", async () => {
    await using test = new TestSolver();
    test.commands.set("0", () => Promise.reject(new Error("the lowest")));
    const graph = chain(...Array.from({ length: 10_000 }, (_, n) => String(n))).graph();
    await assert.rejects(test.solve(graph), (error) => error instanceof StepError && error.vertex.name === "RUN 0");
  });

  it("never runs what nobody asks for", async () => {
    await using test = new TestSolver();
    const maker = new GraphMaker();
    const base = maker.image("sha256:base");
    maker.run(base, "unused");
    maker.run(base, "used");
    await test.solve(maker.graph());
    assert.deepEqual(test.ran, ["used"]);
  });

  it("runs what is independent side by side, within the limit", async () => {
    for (const [limit, expected] of [
      [8, 3],
      [2, 2],
      [1, 1],
    ] as const) {
      await using test = new TestSolver(limit);
      const maker = new GraphMaker();
      const base = maker.image("sha256:base");
      let [now, most] = [0, 0];
      const wake = new Set<() => void>();
      for (const name of ["a", "b", "c"]) {
        test.commands.set(name, async () => {
          most = Math.max(most, ++now);
          // Each waits until as many run as may, or until a turn of the loop brings no more.
          if (now >= expected) for (const go of wake) go();
          else await new Promise<void>((resolve) => wake.add(resolve));
          now--;
        });
      }
      const parts = ["a", "b", "c"].map((name) => maker.run(base, name));
      test.commands.set("join", () => {});
      maker.join(base, parts);
      const solving = test.solve(maker.graph());
      // Those that came alone at the end have nobody to wait for.
      const nudge = setInterval(() => {
        for (const go of wake) go();
      }, 50);
      await solving.finally(() => clearInterval(nudge));
      assert.equal(most, expected);
    }
  });

  it("runs the same step of two builds at once, once, and both are told all of its output", async () => {
    await using test = new TestSolver();
    const gate = gated();
    test.commands.set("slow", async (root, tools) => {
      await tools.print("begin ");
      await gate.run(root, tools);
      await tools.print("end");
      writeFileSync(join(root, "made"), "");
    });
    await using first = test.begin(chain("slow").graph());
    await gate.begun;
    await using second = test.begin(chain("slow").graph());
    await new Promise((resolve) => setImmediate(resolve));
    gate.go();
    const [one, other] = await Promise.all([first.done, second.done]);
    assert.equal(one!.snapshot, other!.snapshot);
    assert.deepEqual([first.log, second.log], ["begin end", "begin end"]);
    assert.deepEqual(test.ran, ["slow"]);
  });

  it("goes on for the other build when the one that began a step gives up", async () => {
    await using test = new TestSolver();
    const gate = gated();
    test.commands.set("slow", gate.run);
    await using first = test.begin(chain("slow").graph());
    await gate.begun;
    await using second = test.begin(chain("slow").graph());
    await new Promise((resolve) => setImmediate(resolve));
    first.controller.abort();
    await assert.rejects(first.done, (error) => isKind(error, "cancelled"));
    gate.go();
    assert.ok((await second.done)!.snapshot);
    assert.deepEqual(test.ran, ["slow"]);
  });

  it("waits for who reads its output, until that one leaves", async () => {
    await using test = new TestSolver();
    const printed = Promise.withResolvers<void>();
    test.commands.set("prints", async (_root, { print }) => {
      const waits = print("much");
      printed.resolve();
      await waits;
    });
    await using first = test.begin(chain("prints").graph(), { onEvent: () => new Promise<void>(() => {}) });
    await using second = test.begin(chain("prints").graph());
    await printed.promise;
    await new Promise((resolve) => setImmediate(resolve));
    first.controller.abort();
    await assert.rejects(first.done);
    assert.ok((await second.done)!.snapshot);
    assert.equal(second.log, "much");
  });

  it("begins a step again for the other build when it failed for want of the first one's client", async () => {
    await using test = new TestSolver();
    const gate = gated();
    let calls = 0;
    test.commands.set("asks", async (root, tools) => {
      if (++calls > 1) return;
      await gate.run(root, tools);
      throw new Error("the client has gone");
    });
    await using first = test.begin(chain("asks").graph());
    await gate.begun;
    await using second = test.begin(chain("asks").graph());
    await new Promise((resolve) => setImmediate(resolve));
    first.controller.abort();
    await assert.rejects(first.done);
    gate.go();
    assert.ok((await second.done)!.snapshot);
    assert.equal(calls, 2);
  });

  it("takes for the same what reads equal contents, whatever their times", async () => {
    await using test = new TestSolver();
    const graph = () => {
      const maker = new GraphMaker();
      const copied = maker.copy(maker.image("sha256:base"), maker.local(), "file");
      maker.run(copied, "use");
      return maker.graph();
    };
    writeFileSync(join(test.folder, "file"), "1");
    await test.solve(graph());
    writeFileSync(join(test.folder, "file"), "1");
    writeFileSync(join(test.folder, "other"), "not read");
    assert.deepEqual((await test.solve(graph())).cached, ["COPY file", "RUN use"]);
    writeFileSync(join(test.folder, "file"), "2");
    assert.deepEqual((await test.solve(graph())).done, ["COPY file", "RUN use"]);
    writeFileSync(join(test.folder, "file"), "1");
    assert.deepEqual((await test.solve(graph())).cached, ["COPY file", "RUN use"]);
  });

  it("finds what was copied from a stage that is made in another way with the same outcome", async () => {
    await using test = new TestSolver();
    const graph = (how: string) => {
      const maker = new GraphMaker();
      const base = maker.image("sha256:base");
      const stage = maker.run(base, how);
      maker.run(maker.copy(base, stage, "out"), "use");
      return maker.graph();
    };
    for (const how of ["make", "make quickly"]) {
      test.commands.set(how, (root) => writeFileSync(join(root, "out"), "result"));
    }
    await test.solve(graph("make"));
    const second = await test.solve(graph("make quickly"));
    assert.deepEqual(second.cached, ["COPY out", "RUN use"]);
    assert.deepEqual(second.done, ["RUN make quickly"]);
    // By now it is known by its definition as well: the stage is not even looked at.
    assert.deepEqual((await test.solve(graph("make quickly"))).done, []);
    assert.deepEqual(test.ran, ["make", "use", "make quickly"]);
  });

  it("asks for no cache where it is told so, for what stands on that, and takes the new results from then on", async () => {
    await using test = new TestSolver();
    let count = 0;
    test.commands.set("clock", (root) => writeFileSync(join(root, `tick${++count}`), ""));
    const graph = (ignoreCache: boolean) => {
      const maker = new GraphMaker();
      const one = maker.run(maker.image("sha256:base"), "one");
      maker.run(maker.run(one, "clock", { ignoreCache }), "two");
      return maker.graph();
    };
    await test.solve(graph(false));
    const anew = await test.solve(graph(true));
    assert.deepEqual([anew.cached, anew.done], [["RUN one"], ["RUN clock", "RUN two"]]);
    assert.deepEqual(anew.files, ["one", "tick2", "two"]);
    const after = await test.solve(graph(false));
    assert.deepEqual(after.done, []);
    assert.deepEqual(after.files, ["one", "tick2", "two"]);
    assert.deepEqual((await test.solve(graph(false), { noCache: true })).cached, []);
  });

  it("asks for no cache of a stage, and finds what reads the same of it as before", async () => {
    await using test = new TestSolver();
    test.commands.set("make", (root) => writeFileSync(join(root, "out"), String(outcome)));
    let outcome = 1;
    const graph = (ignoreCache: boolean) => {
      const maker = new GraphMaker();
      const base = maker.image("sha256:base");
      const stage = maker.run(base, "make", { ignoreCache });
      maker.copy(base, stage, "out");
      return maker.graph();
    };
    await test.solve(graph(false));
    assert.deepEqual((await test.solve(graph(true))).cached, ["COPY out"]);
    outcome = 2;
    assert.deepEqual((await test.solve(graph(true))).done, ["RUN make", "COPY out"]);
    outcome = 3;
    const last = await test.solve(graph(false));
    assert.deepEqual(last.done, []);
  });

  it("ends the others when a step fails, says which it was, and leaves nothing", async () => {
    await using test = new TestSolver();
    const gate = gated();
    test.commands.set("waits", gate.run);
    test.commands.set("fails", async () => {
      await gate.begun;
      throw new Error("exit code: 1");
    });
    const maker = new GraphMaker();
    const base = maker.image("sha256:base");
    maker.join(base, [maker.run(base, "waits"), maker.run(base, "fails")]);
    await using begun = test.begin(maker.graph());
    await assert.rejects(begun.done, (error) => {
      assert.ok(error instanceof StepError);
      assert.equal(error.vertex.name, "RUN fails");
      assert.equal(error.message, "exit code: 1");
      return true;
    });
    const { vertices } = begun.told();
    assert.equal(vertices.get("RUN fails")!.error, "exit code: 1");
    assert.equal(vertices.get("RUN waits")!.error, "context canceled");
    assert.deepEqual(listMounts(test.root), []);
    assert.deepEqual(test.snapshots.list(), []);
    assert.deepEqual(readdirSync(join(test.root, "places")), []);
  });

  it("tells the first failure in the graph's order where several fail at once", async () => {
    for (let round = 0; round < 5; round++) {
      await using test = new TestSolver();
      const both = Promise.withResolvers<void>();
      let begun = 0;
      for (const name of ["b", "a"]) {
        test.commands.set(name, async () => {
          if (++begun === 2) both.resolve();
          await both.promise;
          throw new Error(name);
        });
      }
      const maker = new GraphMaker();
      const base = maker.image("sha256:base");
      const [a, b] = [maker.run(base, "a"), maker.run(base, "b")];
      maker.join(base, round % 2 === 0 ? [a, b] : [b, a]);
      await using building = test.begin(maker.graph());
      await assert.rejects(building.done, { message: "a" });
    }
  });

  it("attributes a file that is missing to the step that copies it", async () => {
    await using test = new TestSolver();
    const maker = new GraphMaker();
    maker.run(maker.copy(maker.image("sha256:base"), maker.local(), "missing"), "use");
    await using begun = test.begin(maker.graph());
    await assert.rejects(begun.done, (error) => error instanceof StepError && error.vertex.name === "COPY missing");
  });

  it("ends what runs when the build is cancelled, and leaves nothing", async () => {
    await using test = new TestSolver();
    const gate = gated();
    test.commands.set("waits", gate.run);
    await using begun = test.begin(chain("one", "waits").graph());
    await gate.begun;
    begun.controller.abort();
    await assert.rejects(begun.done, (error) => isKind(error, "cancelled"));
    assert.deepEqual(listMounts(test.root), []);
    assert.deepEqual(
      test.snapshots.list().map(({ kind }) => kind),
      ["committed"],
    );
  });

  it("gives up at once what waits for its turn when the build is cancelled", async () => {
    await using test = new TestSolver(1);
    const gate = gated();
    test.commands.set("waits", gate.run);
    await using first = test.begin(chain("waits").graph());
    await gate.begun;
    await using second = test.begin(chain("queued").graph());
    await new Promise((resolve) => setImmediate(resolve));
    second.controller.abort();
    await assert.rejects(second.done, (error) => isKind(error, "cancelled"));
    await using third = test.begin(chain("third").graph());
    gate.go();
    await Promise.all([first.done, third.done]);
    assert.deepEqual(test.ran, ["waits", "third"]);
  });

  it("finds its results after a restart, but none that a power loss may have cut", async () => {
    await using test = new TestSolver();
    await test.solve(chain("one").graph());
    await test.cache.settle();
    await test.solve(chain("one", "two").graph());
    // As if another boot had begun before the sync.
    const records = test.store.collection<{ unsynced?: string; description: string }>("build-steps");
    for (const { key, value } of records.list()) {
      if (value.description === "RUN two") records.put(key, { ...value, unsynced: "another boot" });
    }
    test.open();
    const again = await test.solve(chain("one", "two").graph());
    assert.deepEqual([again.cached, again.done], [["RUN one"], ["RUN two"]]);
  });

  it("takes a result whose files are lost for none", async () => {
    await using test = new TestSolver();
    await test.solve(chain("one", "two").graph());
    const folders = readdirSync(join(test.root, "snapshots/l"));
    rmSync(join(test.root, "snapshots/l", folders.sort().at(-1)!, "fs"), { recursive: true });
    const again = await test.solve(chain("one", "two").graph());
    assert.deepEqual([again.cached, again.done], [["RUN one"], ["RUN two"]]);
  });

  it("knows a result by its new name when the snapshot got one, also after a crash in between", async () => {
    await using test = new TestSolver();
    await test.solve(chain("one", "two").graph());
    const snapshotOf = (name: string) =>
      [...test.cache.all()].find(([, step]) => step.description === name)![1].snapshot;
    await test.cache.rename(snapshotOf("RUN one"), "sha256:1");
    assert.deepEqual((await test.solve(chain("one", "two").graph())).files, ["one", "two"]);
    assert.deepEqual((await test.solve(chain("one").graph())).cached, ["RUN one"]);
    // The record says what it is to become; the snapshot has the new name already.
    const two = snapshotOf("RUN two");
    const records = test.store.collection<{ becomes?: string; snapshot: string }>("build-steps");
    for (const { key, value } of records.list()) {
      if (value.snapshot === two) records.put(key, { ...value, becomes: "sha256:2" });
    }
    await test.snapshots.rename(two, "sha256:2");
    test.open();
    assert.deepEqual((await test.solve(chain("one", "two").graph())).done, []);
    assert.equal(snapshotOf("RUN two"), "sha256:2");
  });

  it("takes what another cache has, and asks it no second time", async () => {
    await using test = new TestSolver();
    await using elsewhere = new TestSolver();
    await elsewhere.solve(chain("one").graph());
    const [[key] = []] = [...elsewhere.cache.all()];
    await test.snapshots.prepare("key", undefined);
    await test.snapshots.commit("sha256:fetched", "key");
    const asked: string[] = [];
    let ended = 0;
    const imports = [
      {
        lookup: async (wanted: string) => {
          asked.push(wanted);
          return wanted === key ? test.roots.snapshot("sha256:fetched") : undefined;
        },
        [Symbol.asyncDispose]: async () => void ended++,
      },
    ];
    const cacheFrom = [{ type: "registry" as const, attributes: new Map() }];
    for (let round = 0; round < 2; round++) {
      await using begun = test.begin(chain("one").graph(), { imports, cacheFrom });
      assert.equal((await begun.done)!.snapshot, "sha256:fetched");
      assert.deepEqual(begun.told().cached, ["RUN one"]);
    }
    assert.equal(asked[0], key);
    assert.equal(asked.length, 1);
    assert.equal(ended, 1);
    assert.deepEqual(test.ran, []);
  });

  it("takes no result of a step that saw another network or other hosts", async () => {
    await using test = new TestSolver();
    const extraHosts = [{ name: "far", address: "192.0.2.1" }];
    await test.solve(chain("one").graph());
    assert.deepEqual((await test.solve(chain("one").graph(), { network: "none" })).done, ["RUN one"]);
    assert.deepEqual((await test.solve(chain("one").graph(), { extraHosts })).done, ["RUN one"]);
    assert.deepEqual((await test.solve(chain("one").graph(), { extraHosts })).done, []);
    assert.deepEqual((await test.solve(chain("one").graph())).done, []);
  });

  it("keeps no proxy of a step, which does not count", async () => {
    await using test = new TestSolver();
    const graph = (proxyEnv: readonly string[]) => {
      const maker = new GraphMaker();
      maker.run(maker.image("sha256:base"), "one", { proxyEnv });
      return maker.graph();
    };
    await test.solve(graph(["HTTP_PROXY=http://user:canary@proxy"]));
    assert.deepEqual((await test.solve(graph([]))).done, []);
    for (const name of ["build-steps", "build-ingredients"]) {
      const records = test.store.collection(name).list();
      assert.equal(records.length, 1);
      assert.doesNotMatch(JSON.stringify(records), /canary/);
    }
  });

  it("lays a step's layer on another root, and again when that changes", async () => {
    await using test = new TestSolver();
    const graph = (on: string) => {
      const maker = new GraphMaker();
      const layer = maker.copy(maker.image("sha256:nothing"), maker.local(), "file");
      maker.merge(maker.run(maker.image("sha256:base"), on), layer);
      return maker.graph();
    };
    writeFileSync(join(test.folder, "file"), "1");
    assert.deepEqual((await test.solve(graph("one"))).files, ["file", "one"]);
    const second = await test.solve(graph("two"));
    assert.deepEqual(second.files, ["file", "two"]);
    assert.deepEqual(second.cached, ["COPY file"]);
  });

  it("says why a step was not in the cache", async () => {
    await using test = new TestSolver();
    const graph = (env: string, name = "use", ignoreCache = false) => {
      const maker = new GraphMaker();
      const copied = maker.copy(maker.image("sha256:base"), maker.local(), "file");
      maker.run(copied, name, { env: [`A=${env}`, "B=1"], ignoreCache });
      return maker.graph();
    };
    const why = async (...args: Parameters<typeof graph>) => {
      const { vertices } = await test.solve(graph(...args), { explain: true });
      return [...vertices.values()].flatMap(({ explanation }) =>
        explanation === undefined ? [] : [[explanation.reason, ...explanation.diff]],
      );
    };
    writeFileSync(join(test.folder, "file"), "1");
    assert.deepEqual(await why("1"), [["never"], ["never"]]);
    assert.deepEqual(await why("1"), []);
    assert.deepEqual(await why("2"), [["definition", "- ENV A=1", "+ ENV A=2"]]);
    writeFileSync(join(test.folder, "file"), "2");
    assert.deepEqual(await why("2"), [
      ["files", "~ file"],
      ["input", "~ COPY file"],
    ]);
    assert.deepEqual(await why("2", "use", true), [["ignored"]]);
    // What was found at another place of a Dockerfile is known there from then on.
    const moved = (env: string) => {
      const maker = new GraphMaker();
      maker.run(maker.image("sha256:base"), "move", { env: [env], site: env === "C=1" ? "first" : "second" });
      return maker.graph();
    };
    const movedTo = (site: string) => ({
      vertices: moved("C=1").vertices.map((vertex) =>
        vertex.operation.kind === "exec" ? { ...vertex, site } : vertex,
      ),
    });
    await test.solve(moved("C=1"));
    assert.deepEqual((await test.solve(movedTo("second"))).cached, ["RUN move"]);
    const last = (await test.solve(moved("C=2"), { explain: true })).vertices.get("RUN move");
    assert.deepEqual(last!.explanation!.diff, ["- ENV C=1", "+ ENV C=2"]);
    test.cache.remove([...test.cache.all()].map(([key]) => key));
    assert.deepEqual(await why("2"), [["pruned"], ["pruned"]]);
  });
});
