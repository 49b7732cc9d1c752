import { randomFillSync } from "node:crypto";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { tarOf } from "../../test/archive.ts";
import { IMAGE, type Measure } from "./measure.ts";
import { processorTimeMs } from "./memory.ts";
import type { Peer } from "./peer.ts";

const MANY = 500;
const WATCHED = 100;
const WATCH_MS = 10_000;
const MEGABYTE = 1_000_000;
/** A line of the log that is read back: with its newline, 100 bytes. */
const LINE = "the quick brown fox jumps over the lazy dog ".repeat(3).slice(0, 99);

const create = (peer: Peer, name: string, ...options: readonly string[]): Promise<string> =>
  peer.output("create", "--name", name, ...options, IMAGE, "sleep", "1000000");
const clean = (peer: Peer): Promise<void> => peer.removeContainers();
const blob = (peer: Peer): string => join(peer.root, "blob");

/**
 * Many containers, many images, much data: what an engine is asked on a machine that has been in use for a while. What
 * neighbours share is made by the first of them that is measured, and taken down after the last.
 */
export const BULK_MEASURES: readonly Measure[] = [
  {
    name: `\`inspect\` of a container among ${MANY}`,
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    before: createMany,
    once: async (peer) => peer.time(["inspect", "many-250"]),
  },
  {
    name: `\`ps -a\` with ${MANY} containers`,
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    before: createMany,
    once: async (peer) => peer.time(["ps", "-a"]),
    after: clean,
  },
  {
    name: `\`images\` with ${MANY} images`,
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    before: importMany,
    once: async (peer) => peer.time(["images"]),
  },
  {
    name: `\`system df\` with ${MANY} images`,
    unit: "ms",
    rounds: 10,
    warmUp: 2,
    before: importMany,
    once: async (peer) => peer.time(["system", "df"]),
    after: removeMany,
  },
  {
    name: `\`stats --no-stream\` of ${WATCHED} containers`,
    unit: "ms",
    rounds: 3,
    warmUp: 1,
    before: (peer) => runMany(peer, WATCHED),
    once: async (peer) => peer.time(["stats", "--no-stream"]),
  },
  {
    name: `processor time of the engine for ${WATCH_MS / 1000} s of \`stats\` of ${WATCHED} containers`,
    unit: "ms",
    rounds: 1,
    warmUp: 0,
    before: (peer) => runMany(peer, WATCHED),
    once: async (peer) => {
      await using _ = peer.background("stats", "--format", "{{.CPUPerc}}");
      await after(3_000);
      const before = processorTimeMs(peer);
      await after(WATCH_MS);
      return processorTimeMs(peer) - before;
    },
    after: clean,
  },
  {
    name: "`cp` of 1 GB into a container",
    unit: "ms",
    rounds: 3,
    warmUp: 1,
    before: makeTarget,
    once: async (peer) => peer.time(["cp", blob(peer), "target:/blob"]),
  },
  {
    name: "`cp` of 1 GB out of a container",
    unit: "ms",
    rounds: 3,
    warmUp: 1,
    before: makeTarget,
    once: async (peer) => peer.time(["cp", "target:/blob", join(peer.root, "copied")]),
    after: async (peer) => {
      rmSync(join(peer.root, "copied"), { force: true });
      await clean(peer);
    },
  },
  {
    name: "`commit` of a layer of 500 MB",
    unit: "ms",
    rounds: 3,
    warmUp: 1,
    before: makeGrown,
    once: async (peer) => {
      const ms = peer.time(["commit", "grown", "committed:latest"]);
      await peer.output("rmi", "committed:latest");
      return ms;
    },
  },
  {
    name: "`export` of 500 MB",
    unit: "ms",
    rounds: 3,
    warmUp: 1,
    before: makeGrown,
    once: async (peer) => peer.time(["export", "grown"]),
    after: async (peer) => {
      rmSync(blob(peer), { force: true });
      await clean(peer);
    },
  },
  {
    name: "`logs` of 1 GB",
    unit: "ms",
    rounds: 2,
    warmUp: 0,
    before: writeLog,
    once: async (peer) => peer.time(["logs", "talker"]),
    after: clean,
  },
];

async function createMany(peer: Peer): Promise<void> {
  if (await hasContainer(peer, "many-0")) return;
  for (let n = 0; n < MANY; n++) {
    await peer.call("POST", `/containers/create?name=many-${n}`, { Image: IMAGE, Cmd: ["true"] });
  }
}

async function runMany(peer: Peer, count: number): Promise<void> {
  if (await hasContainer(peer, "running-0")) return;
  for (let n = 0; n < count; n++) {
    const body = { Image: IMAGE, Cmd: ["sleep", "1000000"] };
    await peer.call("POST", `/containers/create?name=running-${n}`, body);
    await peer.call("POST", `/containers/running-${n}/start`);
  }
}

async function makeTarget(peer: Peer): Promise<void> {
  if (await hasContainer(peer, "target")) return;
  writeRandom(blob(peer), 1000);
  await create(peer, "target");
  await peer.output("cp", blob(peer), "target:/blob");
}

async function makeGrown(peer: Peer): Promise<void> {
  if (await hasContainer(peer, "grown")) return;
  writeRandom(blob(peer), 500);
  await create(peer, "grown");
  await peer.output("cp", blob(peer), "grown:/blob");
}

async function hasContainer(peer: Peer, name: string): Promise<boolean> {
  return (await peer.output("ps", "-aq", "--filter", `name=^${name}$`)) !== "";
}

/** Images of one small layer each, all different. */
async function importMany(peer: Peer): Promise<void> {
  if ((await peer.output("images", "-q", "many:v0")) !== "") return;
  for (let n = 0; n < MANY; n++) {
    const archive = tarOf([{ name: "n", body: `${n}\n` }]);
    await peer.call("POST", `/images/create?fromSrc=-&repo=many&tag=v${n}`, archive);
  }
}

async function removeMany(peer: Peer): Promise<void> {
  await peer.output("image", "rm", ...Array.from({ length: MANY }, (_, n) => `many:v${n}`));
}

/** One file of a gigabyte in the log of either: the default of one of them is smaller. */
async function writeLog(peer: Peer): Promise<void> {
  const script = `yes '${LINE}' | head -c 1000000000`;
  await peer.output("run", "--name", "talker", "-d", "--log-opt", "max-size=4g", IMAGE, "sh", "-c", script);
  await peer.output("wait", "talker");
}

function writeRandom(path: string, megabytes: number): void {
  const file = openSync(path, "w");
  const piece = Buffer.alloc(MEGABYTE);
  for (let n = 0; n < megabytes; n++) writeSync(file, randomFillSync(piece));
  closeSync(file);
}
