import assert from "node:assert/strict";
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { EventBus } from "../events/bus.ts";
import { openMemory } from "../state/memory.ts";
import { LAYERS, openImages } from "./image-store.fixture.ts";
import { ImageStore } from "./image-store.ts";

const hasBusybox = existsSync("/bin/busybox") && !readFileSync("/bin/busybox").subarray(0, 4096).includes("ld-linux");

test("busybox is made of the machine's own, twice the same", { skip: !hasBusybox }, async (t) => {
  const one = openImages(t);
  const two = openImages(t);
  const id = await one.images.bootstrap("busybox", {});
  assert.equal(await two.images.bootstrap("busybox:latest", {}), id);
  const image = one.images.inspect("busybox");
  assert.deepEqual(image.Config?.Cmd, ["sh"]);
  assert.deepEqual(image.RepoTags, ["busybox:latest"]);
});

test("a busybox that needs shared libraries is refused", async (t) => {
  const fixture = openImages(t);
  const bootstrap = { aptRoot: "", mmdebstrap: "", busybox: "/usr/bin/ls", tempRoot: join(fixture.root, "temp") };
  const ports = {
    ...fixture,
    ...LAYERS,
    store: openMemory(),
    events: new EventBus(),
    inUse: () => new Map(),
    bootstrap,
  };
  await assert.rejects(new ImageStore(ports).bootstrap("busybox", {}), /needs shared libraries/);
});

test("what cannot be made is refused", async (t) => {
  const { images } = openImages(t);
  await assert.rejects(images.bootstrap("fedora:40", {}), {
    kind: "invalid",
    message: /must be busybox or debian:SUITE/,
  });
  await assert.rejects(images.bootstrap("debian:../x", {}), { kind: "invalid", message: /the tag must be a suite/ });
});

test("a failing mmdebstrap gives its last words, and leaves neither image nor folder", async (t) => {
  const fixture = openImages(t);
  const tempRoot = join(fixture.root, "temp");
  const mmdebstrap = join(fixture.root, "mmdebstrap");
  const script = (body: string): void => {
    writeFileSync(mmdebstrap, `#!/bin/sh\n${body}\n`);
    chmodSync(mmdebstrap, 0o755);
  };
  const images = new ImageStore({
    content: fixture.content,
    snapshots: fixture.snapshots,
    registries: fixture.registries,
    ...LAYERS,
    store: openMemory(),
    events: new EventBus(),
    inUse: () => new Map(),
    bootstrap: { aptRoot: "/etc/apt", mmdebstrap, busybox: "/nowhere/busybox", tempRoot },
  });
  script(
    'touch "$TMPDIR/left"; head -c 100000 /dev/zero; echo "I: installing" >&2; echo "E: no such suite" >&2; exit 1',
  );
  const statuses: string[] = [];
  const onProgress = ({ status }: { status?: string }) => statuses.push(status ?? "");
  await assert.rejects(images.bootstrap("debian:nosuch", { onProgress }), {
    kind: "unavailable",
    message: "cannot make debian:nosuch: mmdebstrap: no such suite",
  });
  assert.deepEqual(statuses, ["installing"]);
  script("exec sleep 1000");
  const abort = new AbortController();
  const waiting = images.bootstrap("debian:stuck", { signal: abort.signal });
  setImmediate(() => abort.abort());
  await assert.rejects(waiting, { kind: "cancelled" });
  await assert.rejects(images.bootstrap("busybox", {}), /there is no \/nowhere\/busybox/);
  assert.deepEqual(readdirSync(tempRoot), []);
  assert.deepEqual(await fixture.content.list(), []);
  assert.deepEqual(fixture.snapshots.list(), []);
});
