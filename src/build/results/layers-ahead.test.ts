import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { openResults, outputOf, type ResultsFixture, requestOf } from "./results.fixture.ts";

function blobsOf({ root }: ResultsFixture): string[] {
  const folder = join(root, "content/blobs/sha256");
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Two steps that ran one after the other, the first's layer packed when this resolves. */
async function begun(t: TestContext) {
  const fixture = openResults(t);
  const names = await fixture.steps({ a: "one" }, { b: "two" });
  const target = fixture.target(names);
  const request = requestOf({ session: fixture.session, outputs: [outputOf("image", { name: "made" })] });
  const ahead = fixture.results.ahead(request, [target.target]);
  const [first, second] = target.target.history;
  const root = fixture.roots.snapshot(names[0]!);
  ahead.made(first!.vertex!, root);
  await root[Symbol.asyncDispose]();
  for (let turn = 0; turn < 500 && blobsOf(fixture).length === 0; turn++) await setTimeout(10);
  return { fixture, target, ahead, second, [Symbol.asyncDispose]: () => ahead[Symbol.asyncDispose]() };
}

test("a layer is packed while other steps run, and the image has it", async (t) => {
  await using prepared = await begun(t);
  const { fixture, target, ahead } = prepared;
  const packed = blobsOf(fixture);
  assert.equal(packed.length, 1);
  ahead.end();
  const { imageId } = await fixture.export([target], [outputOf("image", { name: "made" })]);
  await ahead[Symbol.asyncDispose]();
  const { diff_ids } = fixture.images.resolve(imageId!).config.rootfs;
  assert.equal(diff_ids.length, 2);
  assert.equal(diff_ids[0], `sha256:${packed[0]}`);
  assert.ok(blobsOf(fixture).includes(packed[0]!));
});

test("a build that fails keeps nothing of what was packed for it", async (t) => {
  const { ahead, fixture } = await begun(t);
  await ahead[Symbol.asyncDispose]();
  assert.deepEqual(blobsOf(fixture), []);
});

test("where the results are being made nothing is begun any more, and steps of no layer are passed over", async (t) => {
  await using prepared = await begun(t);
  const { ahead, second, target } = prepared;
  const root = target.root!;
  ahead.made("sha256:another", root);
  assert.equal(root.isShared, false);
  ahead.made(second!.vertex!, root);
  assert.equal(root.isShared, true, "it is held until it is packed");
  ahead.end();
  while (root.isShared) await setTimeout(10);
  ahead.made(second!.vertex!, root);
  assert.equal(root.isShared, false);
});
