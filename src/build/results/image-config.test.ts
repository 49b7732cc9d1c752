import assert from "node:assert/strict";
import { test } from "node:test";
import type { PlannedHistory, PlannedTarget } from "../graph.ts";
import { type ConfigLayer, imageConfigOf } from "./image-config.ts";

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

function targetOf(history: readonly PlannedHistory[], config: Partial<PlannedTarget["config"]> = {}): PlannedTarget {
  const platform = { architecture: "amd64", os: "linux" };
  return {
    platform,
    root: undefined,
    config: { ...platform, rootfs: { type: "layers", diff_ids: [] }, ...config },
    history,
  };
}

function layer(name: string, more: Partial<ConfigLayer> = {}): ConfigLayer {
  return { diffId: `sha256:${name}`, created: NOW, isEmpty: false, ...more };
}

const PLAIN = { base: [], added: [], labels: new Map<string, string>(), epoch: undefined };

test("gives rows without a layer the time of the first layer after them", () => {
  const history = [{ createdBy: "ARG a" }, { createdBy: "RUN x", vertex: "1" }, { createdBy: "CMD" }];
  const config = imageConfigOf(targetOf(history), { ...PLAIN, added: [layer("x")] });
  assert.deepEqual(
    config.history?.map(({ created, empty_layer }) => [created, empty_layer]),
    [
      ["2026-01-02T03:04:05.678Z", true],
      ["2026-01-02T03:04:05.678Z", undefined],
      ["2026-01-02T03:04:05.678Z", true],
    ],
  );
  assert.equal(config.created, "2026-01-02T03:04:05.678Z");
});

test("leaves an image of metadata as old as its base, and the base's rows as they are", () => {
  const base = { createdBy: "base", created: "2001-01-01T00:00:00.5Z" };
  const history = [base, { ...base, createdBy: "ENV b", emptyLayer: true }, { createdBy: "ENV a=1" }];
  const config = imageConfigOf(targetOf(history), { ...PLAIN, base: [layer("b")] });
  assert.deepEqual(config.history, [
    { created: base.created, created_by: "base" },
    { created: base.created, created_by: "ENV b", empty_layer: true },
    { created: base.created, created_by: "ENV a=1", empty_layer: true },
  ]);
  assert.equal(config.created, base.created);
});

test("takes a base image's row that says nothing of time or layer for one with a layer", () => {
  const history = [{ createdBy: "old" }, { createdBy: "new" }];
  const config = imageConfigOf(targetOf(history), { ...PLAIN, base: [layer("b")] });
  assert.deepEqual(
    config.history?.map(({ empty_layer }) => empty_layer),
    [undefined, true],
  );
  assert.equal(config.created, undefined);
});

test("has the epoch's time, whenever its layers were made, and none of the base's config", () => {
  const history = [
    { createdBy: "base", created: "2030-01-01T00:00:00Z" },
    { createdBy: "RUN", vertex: "1" },
  ];
  const planned = targetOf(history, { created: "2030-01-01T00:00:00Z", config: { Labels: { a: "1", b: "1" } } });
  const labels = new Map([["b", "2"]]);
  const config = imageConfigOf(planned, { base: [layer("b")], added: [layer("x")], labels, epoch: 60 });
  assert.equal(config.created, "1970-01-01T00:01:00Z");
  assert.deepEqual(
    config.history?.map(({ created }) => created),
    ["2030-01-01T00:00:00Z", "1970-01-01T00:01:00Z"],
  );
  assert.deepEqual(config.config, { Labels: { a: "1", b: "2" } });
  assert.deepEqual(config.rootfs.diff_ids, ["sha256:b", "sha256:x"]);
});

test("refuses a plan whose steps are not its layers", () => {
  assert.throws(() => imageConfigOf(targetOf([{ createdBy: "RUN", vertex: "1" }]), PLAIN), { kind: "internal" });
});
