import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { tarOf } from "../../test/archive.ts";
import { finish } from "../../test/command.ts";
import { imageOf, layerOf, randomBytesOf, type TestImage, type TestLayer } from "../../test/oci-image.ts";
import { registryMissing } from "../../test/registry.ts";
import { BenchRegistry, REGISTRY } from "./bench-registry.ts";
import type { Measure } from "./measure.ts";
import { pssOf } from "./memory.ts";
import { PartsOfPulls } from "./parts.ts";
import type { Peer } from "./peer.ts";

const MEGABYTE = 1_000_000;
const LAYERS = 10;
const FILES = 100;
const CROWD = 10;
const SMALL_FILES = 100_000;
const SMALL_IMAGES = ["small1", "small2", "small3"];
/** An ext4 without a journal passes over inodes that were freed so lately, one by one, at ten times the cost of a file. */
const INODE_REST_MS = 65_000;
const LOOK_MS = 50;

/** One for all measures: each peer has one place for it. */
export const registry: BenchRegistry = new BenchRegistry();
/** What of them a peer has had, by its name. */
const pulledSmall = new Set<string>();
const partsOfPulls = new PartsOfPulls();
const referenceOf = (name: string): string => `${REGISTRY}/bench/${name}`;

/** Pulls from Debian's registry, which serves both from the same storage, each in its own network namespace. */
export const PULL_MEASURES: readonly Measure[] = [
  {
    name: `\`pull\` of 1 GB in ${LAYERS} layers`,
    unit: "ms",
    rounds: 3,
    warmUp: 1,
    skip: registryMissing(),
    before: offerMixed,
    once: async (peer) => {
      const pull = async () => peer.time(["pull", "-q", referenceOf("mixed")]);
      const registryMs = () => registry.processorTimeMs(peer);
      const ms = peer.name === "gantry" ? await partsOfPulls.watch(peer, registryMs, pull) : await pull();
      await peer.output("rmi", referenceOf("mixed"));
      return ms;
    },
    parts: () => partsOfPulls.rows(),
  },
  {
    name: "`pull` with nothing to do",
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    skip: registryMissing(),
    before: haveMixed,
    once: async (peer) => peer.time(["pull", "-q", referenceOf("mixed")]),
    after: (peer) => peer.output("rmi", referenceOf("mixed")),
  },
  {
    name: "`pull` with nothing to do, over the API",
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    skip: registryMissing(),
    before: haveMixed,
    once: async (peer) => {
      const began = performance.now();
      const { text } = await peer.call("POST", `/images/create?fromImage=${referenceOf("mixed")}&tag=latest`, {});
      if (!text.includes("up to date")) throw new Error(`${peer.name}: ${text}`);
      return performance.now() - began;
    },
    after: (peer) => peer.output("rmi", referenceOf("mixed")),
  },
  {
    name: `\`pull\` of a layer of ${SMALL_FILES} small files`,
    unit: "ms",
    rounds: SMALL_IMAGES.length,
    warmUp: 0,
    skip: registryMissing(),
    before: async (peer) => {
      for (const name of SMALL_IMAGES) await registry.offer(peer, `bench/${name}`, () => smallImage(name));
      await inodesAtRest(peer);
    },
    // Each round has an image of its own, and none is removed before the last has come.
    once: async (peer) => {
      const name = SMALL_IMAGES.find((one) => !pulledSmall.has(`${peer.name} ${one}`)) ?? "";
      pulledSmall.add(`${peer.name} ${name}`);
      return peer.time(["pull", "-q", referenceOf(name)]);
    },
    after: async (peer) => {
      const pulled = SMALL_IMAGES.filter((name) => pulledSmall.has(`${peer.name} ${name}`));
      if (pulled.length > 0) await peer.output("rmi", ...pulled.map(referenceOf));
    },
  },
  {
    name: `memory that ${CROWD} pulls at once of 1 GB each add (PSS)`,
    unit: "MiB",
    rounds: 1,
    warmUp: 0,
    skip: registryMissing(),
    before: async (peer) => {
      for (let n = 0; n < CROWD; n++) {
        await registry.offer(peer, `bench/crowd${n}`, () => imageOfLayers((layer) => easyFiles(`${n} ${layer}`)));
      }
    },
    once: memoryOfCrowd,
  },
  ...(["tar", "tar.gz"] as const).map(
    (kind): Measure => ({
      name: `extraction of ${SMALL_FILES} files of a ${kind}, times GNU tar's`,
      unit: "×",
      rounds: 3,
      warmUp: 0,
      before: (peer) => inodesAtRest(peer),
      // Another engine's extraction can't be asked for alone.
      once: async (peer) => (peer.name === "gantry" ? await extractionByTar(peer, kind) : Number.NaN),
    }),
  ),
];

function offerMixed(peer: Peer): Promise<void> {
  return registry.offer(peer, "bench/mixed", () => imageOfLayers(mixedFiles));
}

export async function haveMixed(peer: Peer): Promise<void> {
  await offerMixed(peer);
  await peer.output("pull", "-q", referenceOf("mixed"));
}

function imageOfLayers(filesOf: (layer: number) => Buffer): TestImage {
  const layers = Array.from({ length: LAYERS }, (_, layer): TestLayer => {
    const made = layerOf(filesOf(layer), { level: 6 });
    // A gigabyte of archives need not stay in memory.
    return { ...made, tar: Buffer.alloc(0) };
  });
  return imageOf({ layers });
}

/** 100 MB of which 70 are a program's code and 30 do not compress. */
export function mixedFiles(layer: number): Buffer {
  const code = readFileSync(process.execPath);
  const pieces = Math.floor(code.length / MEGABYTE) - 1;
  return tarOf(
    Array.from({ length: FILES }, (_, file) => {
      const at = ((file + layer * 7) % pieces) * MEGABYTE;
      const body =
        file % 10 < 7
          ? Buffer.concat([Buffer.from(`${layer} ${file}`), code.subarray(at, at + MEGABYTE)])
          : randomBytesOf(`mixed ${layer} ${file}`, MEGABYTE);
      return { name: `layer${layer}/file${file}`, body };
    }),
  );
}

/** 100 MB that compress well, different for each seed. */
function easyFiles(seed: string): Buffer {
  const line = Buffer.from(`${seed}: the quick brown fox jumps over the lazy dog\n`);
  return tarOf(Array.from({ length: FILES }, (_, n) => ({ name: `${seed}/${n}`, body: Buffer.alloc(MEGABYTE, line) })));
}

function smallImage(seed: string): TestImage {
  return imageOf({ layers: [{ ...layerOf(smallFiles(seed)), tar: Buffer.alloc(0) }] });
}

/** Waits until what measures before have removed makes no difference any more; once for all peers. */
async function inodesAtRest(peer: Peer): Promise<void> {
  if (peer.name !== "gantry") return;
  await ok("sync", []);
  await after(INODE_REST_MS);
}

/** Files of 500 to 3500 bytes, a hundred a folder. */
function smallFiles(seed = "file"): Buffer {
  const code = readFileSync(process.execPath);
  return tarOf(
    Array.from({ length: SMALL_FILES / FILES }, (_, folder) => [
      { name: `usr/folder${folder}/`, type: "directory" as const, mode: 0o755 },
      ...Array.from({ length: FILES }, (_, file) => {
        const at = (folder * FILES + file) * 997;
        const body = code.subarray(at, at + 500 + ((file * 31) % 3000));
        return { name: `usr/folder${folder}/${seed}${file}`, body, mode: 0o644 };
      }),
    ]).flat(),
  );
}

async function memoryOfCrowd(peer: Peer): Promise<number> {
  const names = Array.from({ length: CROWD }, (_, n) => referenceOf(`crowd${n}`));
  const before = pssOf(peer);
  let most = before;
  let isOver = false;
  const pulls = Promise.all(names.map((name) => peer.output("pull", "-q", name))).finally(() => {
    isOver = true;
  });
  pulls.catch(() => {
    // Awaited below.
  });
  while (!isOver) {
    most = Math.max(most, pssOf(peer));
    await after(LOOK_MS);
  }
  await pulls;
  await peer.output("rmi", ...names);
  return (most - before) / 1024;
}

/**
 * Each twice into fresh folders of the same file system, the faster one counts: ext4 passes over inodes that were freed
 * in the last minute, at several times the cost, and whoever comes first meets those of the measures before.
 */
async function extractionByTar(peer: Peer, kind: "tar" | "tar.gz"): Promise<number> {
  const root = mkdtempSync(join(peer.root, "extraction-"));
  try {
    const archive = join(root, `files.${kind}`);
    const tar = smallFiles();
    writeFileSync(archive, kind === "tar" ? tar : layerOf(tar).bytes);
    const script = fileURLToPath(new URL("extract.ts", import.meta.url));
    const extract = async (to: string): Promise<number> =>
      Number((await ok(process.execPath, [script, archive, join(root, to)])).trim());
    const untar = async (to: string): Promise<number> => {
      const began = performance.now();
      await ok("sh", ["-c", 'mkdir "$2" && tar -C "$2" -xpf "$1"', "sh", archive, join(root, to)]);
      return performance.now() - began;
    };
    const first = [await extract("ours"), await untar("theirs")] as const;
    const [theirs, ours] = [Math.min(first[1], await untar("theirs2")), Math.min(first[0], await extract("ours2"))];
    await ok("diff", ["-r", "--no-dereference", join(root, "ours"), join(root, "theirs")]);
    return ours / theirs;
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

async function ok(program: string, args: readonly string[]): Promise<string> {
  const end = await finish(program, args, { timeoutMs: 300_000 });
  if (end.code !== 0) throw new Error(`${program}: exit code ${end.code}: ${end.stderr.slice(0, 1000)}`);
  return end.stdout;
}
