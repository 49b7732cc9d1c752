import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Root } from "../../root.ts";
import { ScanRoot } from "./scan-root.ts";

const WORKER = fileURLToPath(new URL("worker.ts", import.meta.url));
const OPTIONS = { name: "x", created: 0 };
const { signal } = new AbortController();

/** A root that says when it was closed. */
function rootAt(t: TestContext): { readonly root: Root; readonly path: string; readonly isClosed: () => boolean } {
  const path = mkdtempSync(join(tmpdir(), "gantry-scan-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  let isClosed = false;
  const open = async () => ({
    path,
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
    },
  });
  const root: Root = {
    snapshot: undefined,
    layers: [],
    share: () => root,
    open,
    [Symbol.asyncDispose]: async () => {},
  };
  return { root, path, isClosed: () => isClosed };
}

/** A thread of another program, which is to be ended or ends by itself. */
function scanOf(path: string, program: string, longestMs?: number): ScanRoot {
  const worker = join(path, "worker.mjs");
  writeFileSync(worker, program);
  return new ScanRoot({ worker, ...(longestMs !== undefined && { longestMs: { bom: longestMs, files: longestMs } }) });
}

test("a root is read while it is open, and an empty one has a document, too", async (t) => {
  const { isClosed, path, root } = rootAt(t);
  writeFileSync(join(path, "file"), "1");
  const scan = new ScanRoot({ worker: WORKER });
  const lists = rootAt(t).path;
  const size = await scan.files(root, join(lists, "0"), signal);
  const text = readFileSync(join(lists, "0"), "utf8");
  assert.deepEqual([text.length, JSON.parse(text)[0].name], [size, "file"]);
  assert.ok(isClosed());
  assert.equal(await scan.files(undefined, join(lists, "1"), signal), 2);
  assert.deepEqual(JSON.parse(readFileSync(join(lists, "1"), "utf8")), []);
  assert.equal(JSON.parse(await scan.bom(root, OPTIONS, signal)).spdxVersion, "SPDX-2.3");
  assert.equal(JSON.parse(await scan.bom(undefined, OPTIONS, signal)).packages.length, 1);
});

test("a scan that never ends is ended: by its time, or by an abort", async (t) => {
  const { isClosed, path, root } = rootAt(t);
  const endless = "for (;;);";
  const late = /^cannot scan for an SBOM: it took longer than 0\.05 seconds$/;
  await assert.rejects(scanOf(path, endless, 50).bom(root, OPTIONS, signal), { kind: "invalid", message: late });
  assert.ok(isClosed());
  const abort = new AbortController();
  const scanning = scanOf(path, endless).bom(root, OPTIONS, abort.signal);
  setImmediate(() => abort.abort());
  await assert.rejects(scanning, { kind: "cancelled" });
});

test("a thread that fails says why", async (t) => {
  const { path, root } = rootAt(t);
  const failing = scanOf(path, 'throw new Error("no luck");');
  await assert.rejects(failing.files(root, join(path, "list"), signal), {
    kind: "invalid",
    message: "cannot attest the files: no luck",
  });
  await assert.rejects(scanOf(path, "process.exit(3);").bom(root, OPTIONS, signal), /has ended with code 3/);
});
