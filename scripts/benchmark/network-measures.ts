import { IMAGE, type Measure } from "./measure.ts";
import { processesOf, pssOf } from "./memory.ts";
import type { Peer } from "./peer.ts";
import { type From, iperf, OUTSIDE, PORTS, SERVER, Stage } from "./stage.ts";

const CROWD = 100;
const AT_ONCE = 8;
const NETWORKS = ["a", "b", "c"] as const;
let crowds = 0;
const FIRST_PORT = 20_000;
const MANY_PORTS = 1_000;
const LOAD_MS = 1_000;
const CONNECTIONS = 16;
const QUERIES = 16;
const RESOLVER = "127.0.0.11";

type Figures = Readonly<Record<string, number>>;

/** One run that several measures tell of: each takes a figure of its own, and who comes first in a round makes it. */
class Together {
  readonly #make: (peer: Peer) => Promise<Figures>;
  readonly #runs = new Map<string, Figures[]>();
  readonly #told = new Map<string, number>();

  constructor(make: (peer: Peer) => Promise<Figures>) {
    this.#make = make;
  }

  async figure(peer: Peer, name: string): Promise<number> {
    const runs = this.#runs.get(peer.name) ?? [];
    this.#runs.set(peer.name, runs);
    const key = `${peer.name} ${name}`;
    const round = this.#told.get(key) ?? 0;
    this.#told.set(key, round + 1);
    runs[round] ??= await this.#make(peer);
    return runs[round][name] ?? Number.NaN;
  }
}

const elapsed = async (act: () => Promise<unknown>): Promise<number> => {
  const began = performance.now();
  await act();
  return performance.now() - began;
};

const crowd = new Together(measureCrowd);
const ports = new Together(measurePorts);
const stages = new Map<Peer, Stage>();

/** What is told of a load through a published port. */
function publishedMeasures(from: From, host: string, where: string): Measure[] {
  const busy = new Together((peer) => staged(peer).load(from, "ask", host, PORTS.answers, CONNECTIONS, LOAD_MS));
  const single = new Together((peer) => staged(peer).load(from, "ask", host, PORTS.answers, 1, LOAD_MS));
  const of = { group: "networks", rounds: 3, warmUp: 0, before: setStage } as const;
  const request = `a request through a published port from ${where}`;
  return [
    {
      ...of,
      name: `requests through a published port from ${where}, ${CONNECTIONS} connections`,
      unit: "/s",
      once: (peer) => busy.figure(peer, "rate"),
    },
    {
      ...of,
      name: `${request} among those of ${CONNECTIONS} connections, 99 of 100 within`,
      unit: "ms",
      once: (peer) => busy.figure(peer, "p99"),
    },
    { ...of, name: `${request}, one at a time, median`, unit: "ms", once: (peer) => single.figure(peer, "p50") },
    {
      ...of,
      name: `${request}, one at a time, 99 of 100 within`,
      unit: "ms",
      once: (peer) => single.figure(peer, "p99"),
    },
    {
      ...of,
      name: `requests through a published port from ${where}, a new connection for each`,
      unit: "/s",
      once: async (peer) =>
        (await staged(peer).load(from, "ask", host, PORTS.answers, CONNECTIONS, LOAD_MS, "fresh")).rate ?? Number.NaN,
    },
  ];
}

/** A change of networks, measured by the tool and by the API. */
interface Change {
  readonly name: string;
  readonly words: readonly string[];
  readonly call: readonly [method: string, path: string, body?: object];
  /** What comes before each and after it, and isn't counted. */
  readonly prepare?: readonly string[];
  readonly undo?: readonly string[];
  readonly before?: (peer: Peer) => Promise<unknown>;
  readonly after?: (peer: Peer) => Promise<unknown>;
}

const CREATE = ["network", "create", "made"] as const;
const REMOVE = ["network", "rm", "made"] as const;
const CONNECT = ["network", "connect", "joined", "member"] as const;
const DISCONNECT = ["network", "disconnect", "joined", "member"] as const;

const CHANGES: readonly Change[] = [
  {
    name: "`network create`",
    words: CREATE,
    call: ["POST", "/networks/create", { Name: "made", CheckDuplicate: true }],
    undo: REMOVE,
  },
  { name: "`network rm`", words: REMOVE, call: ["DELETE", "/networks/made"], prepare: CREATE },
  {
    name: "`network connect` of a running container",
    words: CONNECT,
    call: ["POST", "/networks/joined/connect", { Container: "member" }],
    undo: DISCONNECT,
    before: makeMember,
  },
  {
    name: "`network disconnect` of a running container",
    words: DISCONNECT,
    call: ["POST", "/networks/joined/disconnect", { Container: "member" }],
    prepare: CONNECT,
    before: makeMember,
    after: removeMember,
  },
];

function changeMeasure(by: "the tool" | "the API", change: Change): Measure {
  const { name, words, call, prepare, undo, before, after } = change;
  return {
    group: "networks",
    name: `${name}, by ${by}`,
    unit: "ms",
    rounds: 6,
    warmUp: 1,
    ...(before && { before }),
    once: async (peer) => {
      if (prepare !== undefined) await peer.output(...prepare);
      const ms = by === "the tool" ? peer.time([...words]) : await elapsed(() => peer.call(...call));
      if (undo !== undefined) await peer.output(...undo);
      return ms;
    },
    ...(after && { after }),
  };
}

const ON_NETWORKS = `${CROWD} containers on ${NETWORKS.length} networks each`;
const ON_NETWORKS_RUNNING = `${CROWD} running containers on ${NETWORKS.length} networks each`;

const FIGURES: readonly (readonly [name: string, unit: Measure["unit"], of: Together, figure: string])[] = [
  [`${ON_NETWORKS}, created and started over the API, ${AT_ONCE} at once`, "ms", crowd, "start"],
  [`removal of ${ON_NETWORKS_RUNNING}, ${AT_ONCE} at once`, "ms", crowd, "remove"],
  [`memory that ${ON_NETWORKS} add (PSS)`, "MiB", crowd, "memory"],
  [`\`run -d\` of a container with ${MANY_PORTS} published ports`, "ms", ports, "start"],
  [`\`rm -f\` of a container with ${MANY_PORTS} published ports`, "ms", ports, "remove"],
  [`memory that ${MANY_PORTS} published ports add (PSS)`, "MiB", ports, "memory"],
  [`processes that ${MANY_PORTS} published ports add`, "processes", ports, "processes"],
];

const WAYS: readonly (readonly [way: string, from: From, host: string])[] = [
  ["container to container on one bridge", "neighbour", SERVER],
  ["from another machine through a published port", "outside", OUTSIDE],
  ["from the host's loopback through a published port", "host", "127.0.0.1"],
];

/** Containers' networks: making and joining them, published ports, what goes through them, and names. */
export const NETWORK_MEASURES: readonly Measure[] = [
  ...(["the tool", "the API"] as const).flatMap((by) => CHANGES.map((change) => changeMeasure(by, change))),
  ...FIGURES.map(
    ([name, unit, of, figure]): Measure => ({
      group: "networks",
      name,
      unit,
      rounds: 1,
      warmUp: 0,
      once: (peer) => of.figure(peer, figure),
    }),
  ),
  ...publishedMeasures("outside", OUTSIDE, "another machine"),
  ...publishedMeasures("host", "127.0.0.1", "the host's loopback"),
  ...WAYS.map(
    ([way, from, host]): Measure => ({
      group: "networks",
      name: `throughput ${way} (${iperf === undefined ? "own sender" : "iperf3"})`,
      unit: "Gbit/s",
      rounds: 3,
      warmUp: 0,
      before: setStage,
      once: (peer) => throughput(staged(peer), from, host),
    }),
  ),
  ...nameMeasures(),
];

function nameMeasures(): Measure[] {
  const ask = (outstanding: number) =>
    new Together((peer) => staged(peer).load("neighbour", "resolve", RESOLVER, SERVER, outstanding, LOAD_MS));
  const single = ask(1);
  const busy = ask(QUERIES);
  const of = { group: "networks", rounds: 3, warmUp: 0, before: setStage } as const;
  const query = `a query for a container's name at ${RESOLVER}, one at a time`;
  return [
    { ...of, name: `${query}, median`, unit: "ms", once: (peer) => single.figure(peer, "p50") },
    { ...of, name: `${query}, 99 of 100 within`, unit: "ms", once: (peer) => single.figure(peer, "p99") },
    {
      ...of,
      name: `queries for a container's name at ${RESOLVER}, ${QUERIES} at once`,
      unit: "/s",
      once: (peer) => busy.figure(peer, "rate"),
      after: endStage,
    },
  ];
}

async function throughput(stage: Stage, from: From, host: string): Promise<number> {
  if (iperf !== undefined) return stage.iperf(from, host, LOAD_MS / 1000);
  return (await stage.load(from, "send", host, PORTS.counts, LOAD_MS)).gigabits ?? Number.NaN;
}

async function makeMember(peer: Peer): Promise<void> {
  if ((await peer.output("ps", "-q", "--filter", "name=^member$")) !== "") return;
  await peer.output("network", "create", "joined");
  await peer.output("run", "-d", "--name", "member", IMAGE, "sleep", "1000000");
}

async function removeMember(peer: Peer): Promise<void> {
  await peer.output("rm", "-f", "member");
  await peer.output("network", "rm", "joined");
}

async function setStage(peer: Peer): Promise<void> {
  if (stages.has(peer)) return;
  stages.set(peer, await Stage.set(peer));
  peer.defer(() => endStage(peer));
}

async function endStage(peer: Peer): Promise<void> {
  const stage = stages.get(peer);
  stages.delete(peer);
  await stage?.[Symbol.asyncDispose]();
}

function staged(peer: Peer): Stage {
  const stage = stages.get(peer);
  if (stage === undefined) throw new Error(`${peer.name} has no stage`);
  return stage;
}

/** By requests that both engines know: one network at creation, the others before the start. */
async function measureCrowd(peer: Peer): Promise<Figures> {
  const turn = ++crowds;
  const networks = NETWORKS.map((name) => `crowd-${turn}-${name}`);
  const [first, ...others] = networks;
  for (const network of networks) await peer.output("network", "create", network);
  const names = Array.from({ length: CROWD }, (_, n) => `joiner-${n}`);
  const before = pssOf(peer);
  const start = await elapsed(() =>
    inParallel(names, async (name) => {
      const body = { Image: IMAGE, Cmd: ["sleep", "1000000"], HostConfig: { NetworkMode: first } };
      await peer.call("POST", `/containers/create?name=${name}`, body, true);
      for (const network of others) {
        await peer.call("POST", `/networks/${network}/connect`, { Container: name }, true);
      }
      await peer.call("POST", `/containers/${name}/start`, undefined, true);
    }),
  );
  const memory = (pssOf(peer) - before) / 1024;
  const remove = await elapsed(() =>
    inParallel(names, (name) => peer.call("DELETE", `/containers/${name}?force=1`, undefined, true)),
  );
  // Docker now and then keeps an endpoint of a container that is gone, and its network with it.
  await peer.output("network", "rm", ...networks).catch((error: unknown) => console.error(`bench: ${error}`));
  return { start, memory, remove };
}

async function measurePorts(peer: Peer): Promise<Figures> {
  const range = `${FIRST_PORT}-${FIRST_PORT + MANY_PORTS - 1}`;
  // What a container costs that publishes none is not the ports'.
  await peer.output("run", "-d", "--name", "plain", IMAGE, "sleep", "1000000");
  const before = { memory: pssOf(peer), processes: processesOf(peer) };
  await peer.output("rm", "-f", "plain");
  const start = peer.time(["run", "-d", "--name", "publisher", "-p", `${range}:${range}`, IMAGE, "sleep", "1000000"]);
  const memory = (pssOf(peer) - before.memory) / 1024;
  const processes = processesOf(peer) - before.processes;
  const remove = peer.time(["rm", "-f", "publisher"]);
  return { start, memory, processes, remove };
}

async function inParallel<T>(items: readonly T[], act: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items.values();
  const work = async (): Promise<void> => {
    for (const item of rest) await act(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}
