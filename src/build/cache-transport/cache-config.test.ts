import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GantryError } from "../../base/errors.ts";
import { finished } from "../../dockerfile/parse.ts";
import { sha256Of } from "../../oci/digest.ts";
import {
  type CacheConfig,
  cacheConfigOf,
  type RecordedStep,
  readCacheConfig,
  chainsOf as stepsOfChains,
} from "./cache-config.ts";

const chainsOf = (config: CacheConfig) => finished(stepsOfChains(config));
const parseCacheConfig = (bytes: Uint8Array) => finished(readCacheConfig(bytes));
const blob = (name: string): string => sha256Of(name);

function step(name: string, blobs: readonly string[], inputs: readonly string[] = []): RecordedStep {
  return {
    ...{ key: blob(`key ${name}`), inputs: inputs.map((each) => blob(`key ${each}`)), definitions: [] },
    ...{ createdAt: 1_000, blobs: blobs.map(blob) },
  };
}

test("writes steps as BuildKit's table, layers once, and reads them again", () => {
  const steps = [step("a", ["1"]), step("b", ["1", "2"], ["a"]), step("c", ["1", "2", "2"], ["b", "elsewhere"])];
  const config = cacheConfigOf(steps);
  assert.deepEqual(config.layers, [
    { blob: blob("1"), parent: -1 },
    { blob: blob("2"), parent: 0 },
    { blob: blob("2"), parent: 1 },
  ]);
  assert.deepEqual(config.records[1], {
    layers: [{ layer: 1, createdAt: "1970-01-01T00:00:01.000Z" }],
    digest: blob("key b"),
    inputs: [[{ link: 0 }]],
  });
  const chains = chainsOf(parseCacheConfig(Buffer.from(JSON.stringify(config))));
  assert.deepEqual(
    [...chains.values()].map(({ layers }) => layers),
    [[0], [0, 1], [0, 1, 2]],
  );
});

test("has no result for numbers that lead nowhere, in a circle or too deep", () => {
  const digest = blob("key");
  const createdAt = "never";
  const layers = [
    { blob: blob("1"), parent: 1 },
    { blob: blob("2"), parent: 0 },
    { blob: blob("3"), parent: 9 },
    { blob: blob("4"), parent: -2 },
  ];
  for (const layer of [0, 1, 2, 3, 4, -1, -5]) {
    assert.equal(chainsOf({ layers, records: [{ digest, layers: [{ layer, createdAt }] }] }).size, 0, `${layer}`);
  }
  for (const numbers of [[], [4], [-2], Array<number>(501).fill(0)]) {
    assert.equal(chainsOf({ layers, records: [{ digest, chains: [{ layers: numbers, createdAt }] }] }).size, 0);
  }
  const chained = chainsOf({ layers, records: [{ digest, chains: [{ layers: [3, -1, 0], createdAt }] }] });
  assert.deepEqual(chained.get(digest), { layers: [3, -1, 0], createdAt: 0 });
});

test("keeps the layers of a result once, however many keys it has", () => {
  const layers = Array.from({ length: 400 }, (_, at) => ({ blob: `sha256:${"a".repeat(64)}`, parent: at - 1 }));
  const records = ["one", "other"].map((key) => ({ digest: key, layers: [{ layer: 399, createdAt: "" }] }));
  const chains = chainsOf({ layers, records });
  assert.deepEqual(
    chains.get("one")?.layers,
    layers.map((_, at) => at),
  );
  assert.equal(chains.get("other")?.layers, chains.get("one")?.layers);
});

test("reads a table of thousands of steps without a long one of its own", () => {
  const steps = Array.from({ length: 5000 }, (_, at) => ({
    ...step(`${at}`, [`${at % 100}`, `${at}`], at === 0 ? [] : [`${at - 1}`]),
    definitions: [blob(`way ${at}`)],
  }));
  const bytes = Buffer.from(JSON.stringify(cacheConfigOf(steps)));
  assert.ok(bytes.length > 1_500_000);
  const least = { whole: Number.POSITIVE_INFINITY, longest: Number.POSITIVE_INFINITY };
  // The machine may take its time from any one of them.
  for (let round = 0; round < 10; round++) {
    let whole = 0;
    let longest = 0;
    const timed = <T>(generator: Generator<void, T>): T => {
      for (;;) {
        const began = performance.now();
        const { done, value } = generator.next();
        const took = performance.now() - began;
        whole += took;
        longest = Math.max(longest, took);
        if (done) return value;
      }
    };
    assert.equal(timed(stepsOfChains(timed(readCacheConfig(bytes)))).size, 10_000);
    least.whole = Math.min(least.whole, whole);
    least.longest = Math.min(least.longest, longest);
  }
  // What can't be cut is the parser's own.
  assert.ok(least.longest < least.whole / 2, JSON.stringify(least));
});

test("says which record is none", () => {
  const good = { digest: blob("key"), layers: [{ layer: 0, createdAt: "" }] };
  const records = [...Array<object>(450).fill(good), { digest: blob("bad"), layers: [{ layer: "0" }] }];
  assert.throws(() => parseCacheConfig(Buffer.from(JSON.stringify({ records }))), {
    kind: "invalid",
    message: /^invalid cache config: record 450: layers\.0\.layer: /,
  });
});

test("takes or refuses whatever it is given", () => {
  const value = fc.anything({ maxDepth: 5 });
  const shaped = fc.record(
    {
      layers: fc.array(
        fc.record({ blob: fc.oneof(fc.constant(blob("1")), value), parent: fc.oneof(fc.integer(), value) }),
      ),
      records: fc.array(
        fc.record({
          digest: fc.oneof(fc.string(), value),
          layers: fc.array(fc.record({ layer: fc.oneof(fc.integer(), value), createdAt: value })),
          inputs: value,
        }),
      ),
      mounts: value,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(shaped, value), (document) => {
      const text = JSON.stringify(document, (_, each) => (typeof each === "bigint" ? `${each}` : each));
      try {
        for (const { layers } of chainsOf(parseCacheConfig(Buffer.from(text ?? ""))).values()) {
          assert.ok(layers.every(Number.isSafeInteger));
        }
      } catch (error) {
        assert.ok(error instanceof GantryError && error.kind === "invalid", String(error));
      }
    }),
    { numRuns: 300 },
  );
});
