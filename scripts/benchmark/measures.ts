import { BUILD_MEASURES } from "./build-measures.ts";
import { BULK_MEASURES } from "./bulk-measures.ts";
import { LAZY_MEASURES } from "./lazy-measures.ts";
import { IMAGE, type Measure } from "./measure.ts";
import { pssOf } from "./memory.ts";
import { NETWORK_MEASURES } from "./network-measures.ts";
import type { Peer } from "./peer.ts";
import { PULL_MEASURES } from "./pull-measures.ts";
import { PUSH_MEASURES } from "./push-measures.ts";

const CROWD = 50;
const IDLE = 10;
const IDLE_CROWD = 40;

const timed = async (act: () => Promise<unknown>): Promise<number> => {
  const began = process.hrtime.bigint();
  await act();
  return Number(process.hrtime.bigint() - began) / 1e6;
};

const keepOne = (peer: Peer): Promise<string> => peer.output("run", "-d", "--name", "kept", IMAGE, "sleep", "1000000");
const clean = (peer: Peer): Promise<void> => peer.removeContainers();
const crowd = async (peer: Peer, count: number): Promise<number> =>
  peer.time(["run", "-d", IMAGE, "sleep", "1000000"], count);

export const MEASURES: readonly Measure[] = [
  {
    name: "engine and its helpers, idle, no container (PSS)",
    unit: "MiB",
    rounds: 1,
    warmUp: 0,
    once: async (peer) => pssOf(peer) / 1024,
  },
  {
    name: `\`run --rm ${IMAGE} true\`, bridge`,
    unit: "ms",
    rounds: 15,
    warmUp: 3,
    once: async (peer) => peer.time(["run", "--rm", IMAGE, "true"]),
  },
  {
    name: `\`run --rm --network host ${IMAGE} true\``,
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    once: async (peer) => peer.time(["run", "--rm", "--network", "host", IMAGE, "true"]),
  },
  {
    name: "`exec` of true",
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    before: keepOne,
    once: async (peer) => peer.time(["exec", "kept", "true"]),
    after: clean,
  },
  {
    name: `${CROWD} × \`run -d\` at once`,
    unit: "ms",
    rounds: 3,
    warmUp: 0,
    once: async (peer) => {
      const ms = await crowd(peer, CROWD);
      await peer.removeContainers();
      return ms;
    },
  },
  {
    name: "500 MB of standard output through `run`, logged",
    unit: "ms",
    rounds: 3,
    warmUp: 0,
    once: async (peer) =>
      peer.time(["run", "--rm", IMAGE, "dd", "if=/dev/zero", "bs=1000000", "count=500", "status=none"]),
  },
  {
    name: `\`ps\` with ${IDLE} containers`,
    unit: "ms",
    rounds: 15,
    warmUp: 2,
    before: (peer) => crowd(peer, IDLE),
    once: async (peer) => peer.time(["ps"]),
    after: clean,
  },
  {
    name: "create, start, wait, remove over one API connection",
    unit: "ms",
    rounds: 20,
    warmUp: 3,
    once: (peer) =>
      timed(async () => {
        const { text } = await peer.call("POST", "/containers/create", { Image: IMAGE, Cmd: ["true"] });
        const { Id } = JSON.parse(text) as { Id: string };
        await peer.call("POST", `/containers/${Id}/start`);
        await peer.call("POST", `/containers/${Id}/wait`);
        await peer.call("DELETE", `/containers/${Id}`);
      }),
  },
  {
    name: "exec of true over the API",
    unit: "ms",
    rounds: 20,
    warmUp: 3,
    before: keepOne,
    once: (peer) =>
      timed(async () => {
        const { text } = await peer.call("POST", "/containers/kept/exec", { Cmd: ["true"], AttachStdout: true });
        const { Id } = JSON.parse(text) as { Id: string };
        await peer.call("POST", `/exec/${Id}/start`, { Detach: false, Tty: false }, true);
        await peer.call("GET", `/exec/${Id}/json`);
      }),
    after: clean,
  },
  {
    name: "each further idle container, without its own process (PSS)",
    unit: "MiB",
    rounds: 3,
    warmUp: 0,
    once: async (peer) => {
      const before = pssOf(peer);
      await crowd(peer, IDLE_CROWD);
      const each = (pssOf(peer) - before) / 1024 / IDLE_CROWD;
      await clean(peer);
      return each;
    },
  },
  ...BULK_MEASURES,
  ...PULL_MEASURES,
  ...LAZY_MEASURES,
  ...PUSH_MEASURES,
  ...NETWORK_MEASURES,
  ...BUILD_MEASURES,
];
