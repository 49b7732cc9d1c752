import { imageArchive } from "../../test/archive.ts";
import { randomImage } from "../../test/oci-image.ts";
import { registryMissing } from "../../test/registry.ts";
import { REGISTRY } from "./bench-registry.ts";
import type { Measure } from "./measure.ts";
import type { Peer } from "./peer.ts";
import { haveMixed, mixedFiles, registry } from "./pull-measures.ts";

const LAYERS = 10;
const MADE = `${REGISTRY}/bench/made`;
const MIXED = `${REGISTRY}/bench/mixed`;
const PASSED = `${REGISTRY}/bench/passed`;
const KNOWN = `${REGISTRY}/bench/known`;

/** Pushes to Debian's registry, which has the same storage for both, each in its own network namespace. */
export const PUSH_MEASURES: readonly Measure[] = [
  {
    name: `\`push\` of 1 GB in ${LAYERS} layers that were made here`,
    unit: "ms",
    rounds: 3,
    warmUp: 0,
    skip: registryMissing(),
    before: async (peer) => {
      await registry.offer(peer, "bench/base", () => randomImage("base", { layers: 1, size: 1000 }));
      const layers = Array.from({ length: LAYERS }, (_, layer) => mixedFiles(layer));
      await peer.call("POST", "/images/load", imageArchive(`${MADE}:latest`, layers));
      // An earlier measure pulled the same layers from it, and Docker would have them mounted.
      await registry.forget("bench/mixed");
    },
    once: (peer) => freshPush(peer, MADE),
    after: async (peer) => {
      await peer.output("rmi", MADE);
      // Its layers could be mounted from there.
      await registry.forget("bench/made");
    },
  },
  {
    name: `\`push\` of 1 GB in ${LAYERS} layers that were pulled`,
    unit: "ms",
    rounds: 3,
    warmUp: 0,
    skip: registryMissing(),
    before: async (peer) => {
      await haveMixed(peer);
      await peer.output("tag", MIXED, PASSED);
      // It could be mounted from there.
      await registry.forget("bench/mixed");
    },
    once: (peer) => freshPush(peer, PASSED),
    after: (peer) => peer.output("rmi", PASSED, MIXED),
  },
  {
    name: "`push` with nothing to upload",
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    skip: registryMissing(),
    before: offerKnown,
    once: async (peer) => peer.time(["push", "-q", KNOWN]),
    after: (peer) => peer.output("rmi", KNOWN),
  },
  {
    name: "`push` with nothing to upload, over the API",
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    skip: registryMissing(),
    before: offerKnown,
    once: async (peer) => {
      const began = performance.now();
      const { text } = await peer.call("POST", `/images/${KNOWN}/push?tag=latest`, {});
      if (text.includes('"error"')) throw new Error(`${peer.name}: ${text}`);
      return performance.now() - began;
    },
    after: (peer) => peer.output("rmi", KNOWN),
  },
];

async function offerKnown(peer: Peer): Promise<void> {
  await registry.offer(peer, "bench/known", () => randomImage("known", { layers: LAYERS, size: 10_000 }));
  await peer.output("pull", "-q", KNOWN);
  await peer.output("push", "-q", KNOWN);
}

/** To a repository that is empty. */
async function freshPush(peer: Peer, name: string): Promise<number> {
  await registry.forget(name.slice(REGISTRY.length + 1));
  return peer.time(["push", "-q", name]);
}
