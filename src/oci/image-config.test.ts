import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256Of } from "./digest.ts";
import { parseImageConfig, parseManifest } from "./image-config.ts";

const DIGEST = sha256Of("");

const read = (config: object, more: object = {}) =>
  parseImageConfig(
    Buffer.from(
      JSON.stringify({ architecture: "amd64", os: "linux", config, rootfs: { type: "layers", diff_ids: [] }, ...more }),
    ),
  );

test("a config as images have it is read whole, its nulls left out", () => {
  const config = {
    Env: ["PATH=/bin", "EMPTY="],
    Cmd: null,
    Entrypoint: ["/x"],
    Volumes: { "/data": {}, "relative/to/the/root": {} },
    Healthcheck: { Test: ["CMD", "x"], Interval: 1e9, Retries: 3 },
    StopTimeout: -1,
  };
  const parsed = read(config, { created: "0001-01-01T00:00:00Z", history: [{ created: null, created_by: "x" }] });
  assert.deepEqual(parsed.config, config);
  assert.deepEqual(parsed.history, [{ created_by: "x" }]);
});

test("what no process can be given, or would take the root's place, is refused by its field", () => {
  const table: readonly (readonly [object, object, RegExp])[] = [
    [{ Volumes: { "/": {} } }, {}, /config\.Volumes.*root folder$/],
    [{ Volumes: { "//.": {} } }, {}, /config\.Volumes.*root folder$/],
    [{ Volumes: { "": {} } }, {}, /config\.Volumes.*root folder$/],
    [{ Volumes: { "/a/../../etc": {} } }, {}, /config\.Volumes.*cannot have "\.\."$/],
    [{ Volumes: { "/a\0": {} } }, {}, /config\.Volumes.*NUL character$/],
    [{ Env: ["A=1", "B=\0"] }, {}, /config\.Env\.1: it has a NUL character$/],
    [{ Cmd: ["\0"] }, {}, /config\.Cmd\.0: /],
    [{ Entrypoint: ["\0"] }, {}, /config\.Entrypoint\.0: /],
    [{ User: "0\0:0" }, {}, /config\.User: /],
    [{ WorkingDir: "/\0" }, {}, /config\.WorkingDir: /],
    [{ StopTimeout: 1.5 }, {}, /config\.StopTimeout: /],
    [{ Healthcheck: { Interval: "1s" } }, {}, /config\.Healthcheck\.Interval: /],
    [{}, { created: "yesterday" }, /created: not a time$/],
    [{}, { history: [{ created: "x" }] }, /history\.0\.created: not a time$/],
    [{}, { rootfs: { type: "layers", diff_ids: Array(100_000).fill(DIGEST) } }, /max depth exceeded/],
    [{}, { rootfs: { type: "layers", diff_ids: ["sha256:../../x"] } }, /not a sha256 digest$/],
  ];
  for (const [config, more, message] of table) {
    assert.throws(() => read(config, more), { kind: "invalid", message }, JSON.stringify([config, more]).slice(0, 200));
  }
});

test("a manifest's sizes are no less than nothing, and its layers no more than can be stacked", () => {
  const descriptor = { mediaType: "x", digest: DIGEST, size: 1 };
  const of = (more: object) =>
    Buffer.from(JSON.stringify({ schemaVersion: 2, config: descriptor, layers: [], ...more }));
  assert.throws(() => parseManifest(of({ layers: [{ ...descriptor, size: -1 }] })), {
    kind: "invalid",
    message: /size/,
  });
  assert.throws(() => parseManifest(of({ layers: Array(40_000).fill(descriptor) })), /max depth exceeded/);
});

test("what a manifest refers to has a digest that can become a tag, and its annotations are texts", () => {
  const descriptor = { mediaType: "x", digest: DIGEST, size: 1 };
  const of = (more: object) =>
    Buffer.from(JSON.stringify({ schemaVersion: 2, config: descriptor, layers: [], ...more }));
  assert.throws(() => parseManifest(of({ subject: {} })), { kind: "invalid" });
  assert.throws(() => parseManifest(of({ subject: { ...descriptor, digest: "sha256:../../x" } })), { kind: "invalid" });
  assert.throws(() => parseManifest(of({ annotations: { a: 1 } })), { kind: "invalid" });
  for (const digest of [descriptor.digest, `sha512:${"ab".repeat(64)}`]) {
    assert.equal(parseManifest(of({ subject: { ...descriptor, digest } })).subject?.digest, digest);
  }
  assert.equal(parseManifest(of({ subject: null, annotations: null })).layers.length, 0);
});

test("a document that is all numbers, names or objects is refused before a parser holds the thread for seconds", () => {
  const open = '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Env":[';
  const names = Array.from({ length: 500_000 }, (_, at) => `"${at}":""`).join(",");
  const documents = [
    `${open}${"1,".repeat(4_000_000)}1]}}`,
    `${open}${"{},".repeat(2_500_000)}{}]}}`,
    `${open}],"Labels":{${names}}}}`,
    `{${names}}`,
  ].map((text) => Buffer.from(text));
  const began = performance.now();
  for (const document of documents) {
    assert.throws(() => parseImageConfig(document), /^GantryError: invalid image configuration: .* more than \d+ /);
  }
  assert.ok(performance.now() - began < 1000, `${performance.now() - began} ms`);
  // Not one complaint for each.
  const many = Buffer.from(`${open}${"1,".repeat(190_000)}1]}}`);
  assert.throws(() => parseImageConfig(many), /config\.Env\.0: Invalid type/);
});
