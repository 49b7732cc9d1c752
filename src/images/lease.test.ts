import assert from "node:assert/strict";
import { test } from "node:test";
import { openMemory } from "../state/memory.ts";
import { BlobSources } from "./blob-sources.ts";
import { Leases } from "./lease.ts";

const DAY = 24 * 3600_000;
const lease = (name: string) => ({ name, blobs: [`${name}-blob`], chains: [`${name}-chain`] });

test("a lease keeps blobs and chains for a day, also over a restart", () => {
  const store = openMemory();
  let now = 1000;
  const leases = new Leases(store, () => now);
  leases.hold("m", lease("a"))[Symbol.dispose]();
  assert.deepEqual([...new Leases(store).needed()], ["a-blob", "a-chain"]);
  now += DAY - 1;
  assert.deepEqual(leases.dropMany("expired"), []);
  now += 1;
  assert.deepEqual(
    leases.dropMany("expired").map(({ name }) => name),
    ["a"],
  );
  assert.deepEqual([...leases.needed(), ...new Leases(store).needed()], []);
});

test("a lease of a pull under way is given up by nobody else", () => {
  const leases = new Leases(openMemory());
  const first = leases.hold("m", lease("a"));
  const second = leases.hold("m", lease("a"));
  first[Symbol.dispose]();
  assert.deepEqual(leases.dropMany("all"), []);
  second[Symbol.dispose]();
  assert.equal(leases.dropMany("all").length, 1);
  assert.equal(leases.drop("m"), undefined);
});

test("the repositories of a blob are kept latest first, sixteen at most", () => {
  const sources = new BlobSources(openMemory());
  for (let n = 0; n < 20; n++) sources.add(["d"], { domain: "host", path: `p${n}` });
  sources.add(["d"], { domain: "host", path: "p10" });
  const paths = sources.of("d").map(({ path }) => path);
  assert.equal(paths.length, 16);
  assert.deepEqual(paths.slice(0, 3), ["p10", "p19", "p18"]);
  assert.equal(new Set(paths).size, 16);
  sources.remove("d", { domain: "host", path: "p10" });
  assert.equal(sources.of("d")[0]?.path, "p19");
  sources.forget(["d"]);
  assert.deepEqual(sources.of("d"), []);
});
