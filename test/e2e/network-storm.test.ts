import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { createNetns, removeNetns } from "../../src/kernel/namespace.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { makeTestRoot, removeTestRoot } from "../leftovers.ts";

/** GANTRY_STORM_SECONDS=300 makes a storm of what is else a gust. */
const SECONDS = Number(process.env.GANTRY_STORM_SECONDS ?? 3);
const CONTAINERS = 100;
/** Where the engine is killed, too, which takes its time. */
const FEWER = process.env.GANTRY_STORM_SECONDS === undefined ? 40 : CONTAINERS;
const SEED = Number(process.env.GANTRY_STORM_SEED ?? Math.floor(Math.random() * 1e9));
const NETWORKS = 10;
const AT_ONCE = 8;
/** Of the engine, beyond what it held before: what a heap keeps free for later. */
const MORE_MEMORY_MB = 200;

/** Numbers that are the same in every run of one seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("a hundred containers that join and leave ten networks", () => {
  let root: string;
  let host: string;
  let engine: TestEngine;
  let containers = CONTAINERS;
  before(async () => {
    root = makeTestRoot();
    // A network namespace plays the host, for all lives of the engine.
    host = join(root, "host");
    createNetns(host);
    onHost("ip", "link", "set", "lo", "up");
    engine = await startEngine({ wrap: ["nsenter", `--net=${host}`] });
  });
  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    removeNetns(host);
    removeTestRoot(root);
  });

  const onHost = (...command: string[]) =>
    execFileSync("nsenter", [`--net=${host}`, ...command], { encoding: "utf8", maxBuffer: 64 << 20 });
  const call = async (method: string, path: string, body?: unknown) => {
    try {
      return await engine.request(method, path, body);
    } catch {
      // It was killed meanwhile.
      return undefined;
    }
  };
  const name = (kind: "box" | "net", number: number) => `${kind}-${number}`;

  function inventory(): Record<string, unknown> {
    const folder = join(engine.execRoot, "netns");
    const rules = JSON.parse(onHost("nft", "-j", "list", "ruleset")) as {
      nftables: Record<string, { handle?: number }>[];
    };
    // Whether a bridge has a carrier is a matter of who was on it last.
    const linesOf = (...command: string[]) =>
      onHost(...command)
        .replaceAll(/^\d+: | linkdown/gm, "")
        .split("\n");
    const links = JSON.parse(onHost("ip", "-j", "link")) as { ifname: string; address: string; mtu: number }[];
    return {
      links: links.map(({ ifname, address, mtu }) => `${ifname} ${address} ${mtu}`).sort(),
      addresses: linesOf("ip", "-o", "addr").sort(),
      routes: ["-4", "-6"].flatMap((family) => linesOf("ip", family, "route", "show", "table", "all")).sort(),
      rules: rules.nftables.map((row) => JSON.stringify(row, (key, value) => (key === "handle" ? 0 : value))),
      sandboxes: existsSync(folder) ? readdirSync(folder) : [],
    };
  }
  const descriptors = () => readdirSync(`/proc/${engine.pid}/fd`).length;
  const memory = () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${engine.pid}/status`, "utf8"))?.[1]) / 1024;

  /** Until `act` says that it is done, by so many at once. */
  async function together(act: () => Promise<boolean>, many = AT_ONCE): Promise<void> {
    await Promise.all(
      Array.from({ length: many }, async () => {
        while (await act());
      }),
    );
  }

  async function makeAll(): Promise<void> {
    for (let n = 0; n < NETWORKS; n++) {
      const body = {
        Name: name("net", n),
        EnableIPv6: n % 3 === 0,
        Internal: n % 5 === 1,
        Options: n % 5 === 2 ? { "com.docker.network.bridge.enable_icc": "false" } : {},
      };
      const made = await engine.request("POST", "/networks/create", body);
      assert.equal(made.status, 201, made.text);
    }
    let next = 0;
    await together(async () => {
      const number = next++;
      if (number >= containers) return false;
      await ensureRuns(number);
      return true;
    });
  }

  async function ensureRuns(number: number): Promise<void> {
    const network = name("net", number % NETWORKS);
    await call("POST", `/containers/create?name=${name("box", number)}`, {
      Image: "busybox",
      Cmd: ["sleep", "100000"],
      HostConfig: { NetworkMode: network },
      NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: ["shared"] } } },
    });
    await call("POST", `/containers/${name("box", number)}/start`);
  }

  const unexpected: string[] = [];
  /** Something that somebody may do at any time; refusals are as good as what is done. */
  async function anything(number: (below: number) => number): Promise<void> {
    const box = name("box", number(containers));
    const net = name("net", number(NETWORKS));
    const what = number(40);
    const path =
      what < 19
        ? `/networks/${net}/connect`
        : what < 38
          ? `/networks/${net}/disconnect`
          : `/containers/${box}/restart?t=0`;
    const answer = await call("POST", path, what < 38 ? { Container: box } : undefined);
    if (answer !== undefined && ![200, 204, 403, 404].includes(answer.status)) {
      unexpected.push(`${path} ${box}: ${answer.status} ${answer.text}`);
    }
  }

  async function storm(seconds: number): Promise<number> {
    const number = numbers(SEED);
    const end = Date.now() + seconds * 1000;
    let count = 0;
    await together(async () => {
      count++;
      await anything(number);
      return Date.now() < end;
    });
    return count;
  }

  /** What inspect says of a container is what is inside it, and what its networks say of it. */
  async function checkEach(): Promise<void> {
    const members = new Map<string, string[]>();
    for (let n = 0; n < NETWORKS; n++) {
      const { json } = await engine.request("GET", `/networks/${name("net", n)}`);
      for (const [id, { IPv4Address }] of Object.entries(json.Containers as Record<string, { IPv4Address: string }>))
        members.set(id, [...(members.get(id) ?? []), IPv4Address]);
    }
    for (let n = 0; n < containers; n++) {
      const { json } = await engine.request("GET", `/containers/${name("box", n)}/json`);
      if (json.State?.Running !== true) continue;
      const shown = Object.values(
        json.NetworkSettings.Networks as Record<string, { IPAddress: string; IPPrefixLen: number }>,
      )
        .map(({ IPAddress, IPPrefixLen }) => `${IPAddress}/${IPPrefixLen}`)
        .sort();
      const text = execFileSync("nsenter", ["-n", "-t", String(json.State.Pid), "ip", "-o", "-4", "addr"], {
        encoding: "utf8",
      });
      const inside = [...text.matchAll(/eth\d+\s+inet (\S+)/g)].map(([, address]) => address).sort();
      assert.deepEqual([inside, (members.get(json.Id) ?? []).sort()], [shown, shown], name("box", n));
    }
  }

  async function removeAll(): Promise<void> {
    let next = 0;
    await together(async () => {
      const number = next++;
      if (number >= containers) return false;
      const { status, text } = await engine.request("DELETE", `/containers/${name("box", number)}?force=1`);
      assert.ok(status === 204 || status === 404, text);
      return true;
    });
    for (let n = 0; n < NETWORKS; n++) {
      const { status, text } = await engine.request("DELETE", `/networks/${name("net", n)}`);
      assert.equal(status, 204, text);
    }
  }

  async function assertAsBefore(earlier: { inventory: object; descriptors: number; memory: number }): Promise<void> {
    const deadline = Date.now() + 20_000;
    // The kernel takes its time with namespaces that have ended.
    while (Date.now() < deadline) {
      if (isDeepStrictEqual(inventory(), earlier.inventory) && descriptors() <= earlier.descriptors) break;
      await pause(50);
    }
    assert.deepEqual(inventory(), earlier.inventory);
    assert.ok(descriptors() <= earlier.descriptors, `${earlier.descriptors} descriptors → ${descriptors()}`);
    assert.ok(memory() < earlier.memory + MORE_MEMORY_MB, `${earlier.memory} MB → ${memory()}`);
    assert.deepEqual((await engine.request("GET", "/containers/json?all=1")).json, []);
    const custom = "/networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%7D";
    assert.deepEqual((await engine.request("GET", custom)).json, []);
  }

  /** After one container on a network of its own: what is opened at the first need is open. */
  async function stateBefore() {
    await engine.request("POST", "/networks/create", { Name: "first", EnableIPv6: true });
    await engine.request("POST", "/containers/create?name=first", {
      Image: "busybox",
      Cmd: ["sleep", "100"],
      HostConfig: { NetworkMode: "first" },
    });
    assert.equal((await engine.request("POST", "/containers/first/start")).status, 204);
    await engine.request("DELETE", "/containers/first?force=1");
    assert.equal((await engine.request("DELETE", "/networks/first")).status, 204);
    const isQuiet = () =>
      readdirSync(join(engine.execRoot, "netns")).length === 0 && !/gv[0-9a-f]{13}/.test(onHost("ip", "-o", "link"));
    for (const deadline = Date.now() + 20_000; !isQuiet() && Date.now() < deadline; ) await pause(20);
    return { inventory: inventory(), descriptors: descriptors() + 4, memory: memory() };
  }

  test("leave everything as it was", async (t) => {
    const earlier = await stateBefore();
    await makeAll();
    const count = await storm(SECONDS);
    t.diagnostic(`seed ${SEED}: ${count} calls`);
    assert.deepEqual(unexpected, []);
    await checkEach();
    await removeAll();
    await assertAsBefore(earlier);
  });

  test("leave everything as it was, also when the engine is killed again and again", async (t) => {
    containers = FEWER;
    const earlier = await stateBefore();
    await makeAll();
    let kills = 0;
    for (const end = Date.now() + SECONDS * 1000; Date.now() < end; kills++) {
      const gust = storm(1);
      await pause(300 + (SEED % 400));
      await engine.kill();
      await gust;
      await engine.start();
    }
    t.diagnostic(`seed ${SEED}: killed ${kills} times`);
    assert.deepEqual(unexpected, []);
    await checkEach();
    await removeAll();
    await assertAsBefore(earlier);
  });
});
