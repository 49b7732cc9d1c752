import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { drained } from "./drained.ts";

test("a full stream is waited for until it is read", async () => {
  const stream = new PassThrough({ highWaterMark: 1 });
  assert.equal(stream.write("one"), false);
  assert.equal(stream.write("two"), false);
  let isDrained = false;
  const wait = drained(stream).then(() => {
    isDrained = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isDrained, false);
  stream.resume();
  await wait;
});

test("a stream that is gone, or goes meanwhile, is not waited for", async () => {
  const stream = new PassThrough({ highWaterMark: 1 });
  stream.write("one");
  stream.write("two");
  const wait = drained(stream);
  stream.destroy();
  await wait;
  await drained(stream);
  assert.equal(stream.listenerCount("drain") + stream.listenerCount("close"), 0);
});
