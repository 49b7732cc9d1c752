import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import type { ContainerPorts } from "./ports.ts";
import { StepNetworks } from "./step-networks.ts";
import type { StepShape } from "./step-spec.ts";

/** Whoever is on a network now. */
const joined = new Set<string>();
let networks: StepNetworks;

beforeEach(() => {
  joined.clear();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  const ports = {
    networks: {
      createSandbox: () => ({ path: "/net" }),
      find: (name: string) => ({ id: name, name }),
      connect: async (id: string) => void joined.add(id),
      publish: async () => ({}),
      state: () => ({ networks: {}, hasResolver: false }),
      release: async (id: string) => void joined.delete(id),
    },
    settings: () => ({ dns: { servers: [], searches: [], options: [] } }),
  };
  networks = new StepNetworks(ports as unknown as ContainerPorts, (error) => assert.fail(String(error)));
});

afterEach(() => mock.timers.reset());

const SHAPE = {
  config: { Hostname: "h" },
  hostConfig: { NetworkMode: "bridge", Dns: [], DnsSearch: [], DnsOptions: [] },
} as unknown as StepShape;

/** Until nothing more is done that waits for no timer. */
async function settled(): Promise<void> {
  for (let at = 0; at < 5; at++) await new Promise((resolve) => setImmediate(resolve));
}

async function step(): Promise<{ readonly id: string; end(): Promise<void> }> {
  const undo = new AsyncDisposableStack();
  const { id } = await networks.join(SHAPE, undo);
  const began = networks.began(SHAPE);
  await settled();
  return {
    id,
    end: async () => {
      began[Symbol.dispose]();
      await undo.disposeAsync();
    },
  };
}

test("the step after another has the network that was made meanwhile, and none is left at the end", async () => {
  await (await step()).end();
  const second = await step();
  const [, spare] = [...joined];
  assert.equal(joined.size, 2);
  await second.end();
  const third = await step();
  assert.equal(third.id, spare);
  await third.end();
  mock.timers.tick(1000);
  await settled();
  assert.deepEqual([...joined], []);
});

test("next to a step that takes long no network waits", async () => {
  await (await step()).end();
  const long = await step();
  assert.equal(joined.size, 2);
  mock.timers.tick(10_000);
  await settled();
  assert.deepEqual([...joined], [long.id]);
  await long.end();
  await networks.quiet();
  assert.deepEqual([...joined], []);
});
