import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { isKind } from "../base/errors.ts";
import { sha256Of } from "../oci/digest.ts";
import { ContentStore } from "./content-store.ts";

const hello = Buffer.from("hello");
const digest = sha256Of(hello);

describe("a partial blob", () => {
  let root: string;
  let store: ContentStore;
  const left = (): string[] => readdirSync(join(root, "ingest"));
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "gantry-content-"));
    store = new ContentStore({ root });
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it("is gone on from after its taker and the process have ended", async () => {
    {
      await using partial = await store.openPartial(digest);
      await partial.append([hello.subarray(0, 1), hello.subarray(1, 3)]);
    }
    const again = new ContentStore({ root });
    again.recover();
    await using partial = await again.openPartial(digest);
    assert.equal(partial.size, 3);
    await partial.append([hello.subarray(3)]);
    assert.equal(again.has(digest), false);
    assert.deepEqual(await partial.publish(), { digest, size: 5 });
    assert.deepEqual(await again.readBlob(digest, 5), hello);
    assert.deepEqual(left(), []);
  });

  it("forgets its bytes when it begins again, and leaves nothing when it is discarded or empty", async () => {
    {
      await using partial = await store.openPartial(digest);
      await partial.append([Buffer.from("wrong")]);
      await partial.restart();
      assert.equal(partial.size, 0);
      await partial.append([hello]);
      assert.deepEqual(readFileSync(partial.path), hello);
      await partial.discard();
    }
    assert.deepEqual(left(), []);
    {
      await using _ = await store.openPartial(digest);
    }
    assert.deepEqual(left(), []);
  });

  it("is one writer's: another waits for its end, and an abort ends that wait", async () => {
    const partial = await store.openPartial(digest);
    const controller = new AbortController();
    const waiting = store.openPartial(digest, { signal: controller.signal });
    controller.abort();
    await assert.rejects(waiting, (error) => isKind(error, "cancelled"));
    const writing = store.writeBytes(hello, { digest });
    await partial.append([hello]);
    await partial.publish();
    assert.equal(await store.removePartials(), 0);
    await partial[Symbol.asyncDispose]();
    assert.deepEqual(await writing, { digest, size: 5 });
  });

  it("is kept for a day, and removed on demand unless it is being written", async () => {
    const old = join(root, "ingest", `sha256-${"a".repeat(64)}.part`);
    const young = join(root, "ingest", `sha256-${"b".repeat(64)}.part`);
    for (const path of [old, young]) writeFileSync(path, "1234567");
    const before = Date.now() / 1000 - 25 * 60 * 60;
    utimesSync(old, before, before);
    store.recover();
    assert.deepEqual(left(), [`sha256-${"b".repeat(64)}.part`]);
    await using partial = await store.openPartial(digest);
    await partial.append([hello]);
    assert.equal(await store.removePartials(), 7);
    assert.deepEqual(left(), [`${digest.replace(":", "-")}.part`]);
  });
});
