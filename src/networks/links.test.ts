import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, writeSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { bindSocket, connectSocket } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { Nftables } from "../kernel/nftables.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { Readiness } from "../kernel/readiness.ts";
import { openMemory } from "../state/memory.ts";
import { makeEngine, serveUdp } from "./lab.fixture.ts";
import type { ContainerLink } from "./network.ts";
import type { Networks } from "./networks.ts";

enterPrivateHost();
process.setMaxListeners(100);

/** Whoever is reached answers at once; so long it is waited for an answer that must not come. */
const SILENCE_MS = 500;
const PATIENCE_MS = 10_000;

/** Answers over both families with its name and who asked. */
function serve(path: string, port: number, name: string): { close(): void } {
  const fd = inNetns(path, () => bindSocket("tcp", "::", port, { both: true }));
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.resume().once("end", () => socket.end(`${name} saw ${socket.remoteAddress?.replace("::ffff:", "")}`));
  });
  server.listen({ fd }).unref();
  return server;
}

interface Joined {
  readonly path: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

describe("links on a default network whose members don't reach each other", () => {
  const lab = makeEngine(
    "linked",
    {
      defaultBridge: { neighbours: false, masquerade: true, hostBinding: "" },
      defaultAddresses: { ipv6: true, bip: "10.71.0.1/24", bip6: "fd00:71::1/64" },
    },
    openMemory(),
  );
  const PORTS = ["80", "81/UDP"];
  let networks: Networks;
  const joined = new Map<string, Joined>();
  const closers: (() => void)[] = [];
  before(async () => {
    networks = lab.open();
    for (const name of ["web", "db", "stranger"]) await join(name);
  });
  after(async () => {
    for (const close of closers) close();
    await networks.shutdown();
    lab.remove();
  });

  async function join(name: string): Promise<void> {
    const { path } = networks.createSandbox(name);
    const { IPAddress, GlobalIPv6Address } = await networks.connect(name, "bridge", {
      containerName: name,
      hostname: name,
    });
    joined.set(name, { path, ipv4: IPAddress, ipv6: GlobalIPv6Address });
    const servers = [serve(path, 80, name), serveUdp(path, 81, name), serve(path, 82, name)];
    closers.push(...servers.map((server) => () => server.close()));
  }

  /** What a call of one's port gets: its answer, or "no" where nobody answers in time. */
  function call(kind: "tcp" | "udp", path: string, host: string, port: number, ms: number): Promise<string> {
    const fd = inNetns(path, () => connectSocket(kind, host, port));
    const { promise, resolve } = Promise.withResolvers<string>();
    const timer = setTimeout(() => resolve("no"), ms);
    let socket: Socket | undefined;
    const ready = new Readiness(fd, () => {
      if (kind === "udp") {
        resolve("yes");
        return;
      }
      ready.close();
      socket = new Socket({ fd });
      socket.on("data", (data) => resolve(String(data)));
      socket.on("error", ({ message }) => resolve(message));
      socket.end("hi");
    });
    if (kind === "udp") writeSync(fd, "?");
    ready.watch(kind === "udp", kind === "tcp");
    return promise.finally(() => {
      clearTimeout(timer);
      ready.close();
      if (socket === undefined) closeSync(fd);
      else socket.destroy();
    });
  }

  /**
   * Whether one gets at another's ports: 80 and 82 by TCP in both families, 81 by UDP in IPv4. Those that are to be
   * answered first: then it is known that silence is no slowness.
   */
  async function check(from: string, to: string, wanted: string, why?: string): Promise<void> {
    const { path } = joined.get(from)!;
    const { ipv4, ipv6 } = joined.get(to)!;
    const rows = [
      ...[ipv4, ipv6].flatMap((host) => [80, 82].map((port) => ["tcp", host, port] as const)),
      ["udp", ipv4, 81] as const,
    ];
    const found: string[] = [];
    for (const [isMeant, ms] of [
      ["yes", PATIENCE_MS],
      ["no", SILENCE_MS],
    ] as const) {
      await Promise.all(
        rows.map(async ([kind, host, port], at) => {
          if (wanted.split(" ")[at] !== isMeant) return;
          const answer = await call(kind, path, host, port, ms);
          found[at] = answer.includes(" saw ") ? "yes" : answer;
        }),
      );
    }
    assert.equal(found.join(" "), wanted, why ?? `${from} to ${to}`);
  }
  const NOTHING = "no no no no no";
  const LINKED = "yes no yes no yes";
  const link = (from: string, ...links: ContainerLink[]) => networks.link(from, links);

  /** Destinations of routes of a sandbox to one address alone. */
  function waysIn(name: string): string[] {
    return inNetns(joined.get(name)!.path, () => {
      using netlink = new Netlink();
      const rows = netlink
        .routes()
        .filter(({ gateway, destination }) => gateway !== undefined && !/^default$|\/0$/.test(destination));
      return rows.map(({ destination }) => destination).sort();
    });
  }

  test("open the ports that are linked to, for the one that has the link, in both families, and no others", async () => {
    await check("web", "db", NOTHING);
    link("web", { to: "db", ports: PORTS });
    await check("web", "db", LINKED);
    const { path, ipv4, ipv6 } = joined.get("web")!;
    const db = joined.get("db")!;
    // The host's packets that tell of a shorter way have been sent by now: it is not believed.
    for (let n = 0; n < 3; n++) assert.equal(await call("tcp", path, db.ipv4, 80, PATIENCE_MS), `db saw ${ipv4}`);
    assert.equal(await call("tcp", path, db.ipv6, 80, PATIENCE_MS), `db saw ${ipv6}`);
    await check("db", "web", NOTHING, "the link leads one way");
    await check("stranger", "db", NOTHING);
    await check("web", "stranger", NOTHING);
  });

  test("leave what a neighbour can do by taking the host's way himself", async () => {
    const { path } = joined.get("stranger")!;
    const db = joined.get("db")!;
    inNetns(path, () => {
      using netlink = new Netlink();
      netlink.replaceRoute({ destination: `${db.ipv4}/32`, gateway: "10.71.0.1" });
      netlink.replaceRoute({ destination: `${db.ipv6}/128`, gateway: "fd00:71::1" });
    });
    await check("stranger", "db", NOTHING);
  });

  test("of two to each other need one way, which stays for the second", async () => {
    link("db", { to: "web", ports: ["82/tcp"] }, { to: "web", ports: ["81/udp", "82/tcp"] });
    await check("db", "web", "no yes no yes yes");
    link("db");
    await check("db", "web", NOTHING);
    await check("web", "db", LINKED);
  });

  test("outlive the engine, and another program's flush", async () => {
    const state = (name: string) => {
      const { networks: now, hasResolver } = networks.state(name);
      return { containerName: name, networks: now, ports: {}, hasResolver };
    };
    const live = new Map(["web", "db", "stranger"].map((name) => [name, state(name)]));
    networks.detach();
    networks = lab.open();
    await check("web", "db", LINKED, "while nobody has told the engine of its containers");
    await networks.reconcile(
      new Map(
        [...live].map(([name, each]) => [name, { ...each, links: name === "web" ? [{ to: "db", ports: PORTS }] : [] }]),
      ),
    );
    await check("web", "db", LINKED);
    await check("stranger", "db", NOTHING);
    const flushed = spawnSync("nft", ["flush", "ruleset"], { encoding: "utf8" });
    assert.equal(flushed.status, 0, flushed.stderr);
    // What is begun in between has no rules, and no connection that replies could belong to.
    const list = () => spawnSync("nft", ["list", "table", "inet", "gantry-linked"], { encoding: "utf8" }).stdout;
    for (const deadline = Date.now() + PATIENCE_MS; !/tcp \. 80/.test(list()); await new Promise(setImmediate)) {
      assert.ok(Date.now() < deadline, "the rules are not back");
    }
    await check("web", "db", "yes no yes no yes");
  });

  test("go with either of the two, come back with the one that is linked to, and go when they are taken away", async () => {
    const before = joined.get("db")!;
    assert.deepEqual(waysIn("web"), [`${before.ipv4}/32`, `${before.ipv6}/128`].sort());
    await networks.disconnect("db", "bridge");
    assert.deepEqual(waysIn("web"), []);
    await networks.release("db");
    // Its servers went with it.
    for (const close of closers.splice(3, 3)) close();
    await join("db");
    await check("web", "db", LINKED);
    link("web");
    await check("web", "db", NOTHING);
    assert.deepEqual([waysIn("web"), waysIn("db")], [[], []]);
    link("web", { to: "db", ports: PORTS }, { to: "gone", ports: PORTS });
    await check("web", "db", LINKED);
    await networks.release("web");
    assert.deepEqual(waysIn("db"), []);
    const nft = new Nftables();
    const text = JSON.stringify(nft.run([{ list: { table: { family: "inet", name: "gantry-linked" } } }]));
    nft.close();
    assert.match(text, /linked4/);
    assert.doesNotMatch(text, /"concat":\["10\.71\.0/);
  });
});
