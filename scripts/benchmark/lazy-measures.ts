import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { lazyRefusal } from "../../src/lazy/lazy-layers.ts";
import { finish } from "../../test/command.ts";
import { imageOf, randomBytesOf } from "../../test/oci-image.ts";
import { registryMissing } from "../../test/registry.ts";
import { annotateLayers, estargzLayerOf } from "../../test/seekable-layer.ts";
import { REGISTRY } from "./bench-registry.ts";
import type { Measure } from "./measure.ts";
import type { Peer } from "./peer.ts";
import { registry } from "./pull-measures.ts";

const MEGABYTE = 1_000_000;
const SIZE = 60 * MEGABYTE;
const PORT = 5001;
const LINE = { mbit: 100, rttMs: 20 };
const READY_MS = 20_000;
const NAME = "bench/seekable";
const SLOW = `127.0.0.1:${PORT}/${NAME}`;

const lines = new WeakSet<Peer>();

/** How long it takes to hear of an image that is far away: of an engine with `lazy-pull` and of one without. */
export const LAZY_MEASURES: readonly Measure[] = [
  {
    name: `first output of an image of ${SIZE / MEGABYTE} MB that comes by ${LINE.mbit} Mbit/s (Gantry: \`lazy-pull\`)`,
    unit: "ms",
    rounds: 5,
    warmUp: 0,
    skip: lazyRefusal() ?? registryMissing(),
    before: offerFarAway,
    once: async (peer) => {
      const ms = peer.time(["run", "--rm", SLOW, "/bin/busybox", "echo", "here"]);
      await peer.output("rmi", "--force", SLOW);
      return ms;
    },
  },
];

async function offerFarAway(peer: Peer): Promise<void> {
  await registry.offer(peer, NAME, () => {
    const layer = estargzLayerOf([
      { name: "bin/", type: "directory" },
      { name: "bin/busybox", body: readFileSync("/bin/busybox"), mode: 0o755 },
      { name: "etc/", type: "directory" },
      { name: "etc/passwd", body: "root:x:0:0::/:/bin/sh\n" },
      { name: "rest", body: randomBytesOf("rest", SIZE) },
    ]);
    return imageOf({ layers: [layer], editManifest: annotateLayers([layer]) });
  });
  if (lines.has(peer)) return;
  lines.add(peer);
  const inside = ["-t", String(peer.pid), "-n"];
  const script = fileURLToPath(new URL("line.ts", import.meta.url));
  const [, target = ""] = REGISTRY.split(":");
  const words = [script, String(PORT), target, String(LINE.mbit), String(LINE.rttMs)];
  const child = spawn("nsenter", [...inside, process.execPath, ...words], { stdio: "ignore" });
  peer.defer(async () => {
    const exit = new Promise((resolve) => child.once("exit", resolve));
    if (child.exitCode === null && child.kill("SIGKILL")) await exit;
  });
  const deadline = Date.now() + READY_MS;
  while ((await finish("nsenter", [...inside, "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/${PORT}`])).code !== 0) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error("the bench's line does not answer");
    await after(50);
  }
}
