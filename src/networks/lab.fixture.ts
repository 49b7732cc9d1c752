import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Logger } from "../base/log.ts";
import { EventBus } from "../events/bus.ts";
import { bindSocket } from "../kernel/bound-socket.ts";
import { createNetns, inNetns, removeNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { openMemory } from "../state/memory.ts";
import type { NetworksConfig } from "./config.ts";
import { Networks } from "./networks.ts";
import { configureInside, withNetnsFd, writeSysctl } from "./sandbox.ts";

export const WANTED = { containerName: "web", hostname: "web" };

/** An engine's networks with what they need; `log` has its log's lines. Its folder goes with the process at last. */
export function makeEngine(engineId = "one", more: Partial<NetworksConfig> = {}, store = openMemory()) {
  const root = mkdtempSync(join(tmpdir(), "gantry-networks-"));
  const log: string[] = [];
  const events = new EventBus();
  const open = (now: Partial<NetworksConfig> = {}) =>
    new Networks({
      store,
      events,
      logger: new Logger("info", (line) => log.push(line)),
      config: { engineId, execRoot: root, bridgeName: "gantry0", ...more, ...now },
    });
  const remove = () => {
    const folder = join(root, "netns");
    // What a failed test left bound.
    for (const name of existsSync(folder) ? readdirSync(folder) : []) removeNetns(join(folder, name));
    rmSync(root, { recursive: true, force: true });
  };
  process.once("exit", remove);
  return { open, log, events, root, remove };
}

/** A machine beside the host, without routes through it: 10.9.0.2, the host is 10.9.0.1. */
export function makeNeighbour(root: string): { readonly path: string; remove(): void } {
  const path = join(root, "neighbour");
  createNetns(path);
  using host = new Netlink();
  withNetnsFd(path, (netnsFd) => host.createVeth({ name: "outside", peer: { name: "eth0", netnsFd } }));
  // Link-local addresses would come at a time of their own.
  writeSysctl("net/ipv6/conf/outside/disable_ipv6", "1");
  const link = host.links().find(({ name }) => name === "outside");
  host.addAddress({ index: link?.index ?? 0, address: "10.9.0.1", prefix: 24 });
  configureInside(path, "eth0", { addresses: [{ address: "10.9.0.2", prefix: 24 }], routes: [], ipv6: false });
  return {
    path,
    remove() {
      using netlink = new Netlink();
      netlink.deleteLink("outside");
      removeNetns(path);
    },
  };
}

/** A TCP server inside a namespace: to each client, at its end, "<name> saw <address>: <what it sent>". */
export function serveTcp(path: string, port: number, name = "c"): { close(): void } {
  const fd = inNetns(path, () => bindSocket("tcp", "0.0.0.0", port));
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    socket.on("error", () => {});
    let text = "";
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) text += chunk;
    socket.end(`${name} saw ${socket.remoteAddress}: ${text}`);
  });
  server.listen({ fd }).unref();
  return server;
}

export function serveUdp(path: string, port: number, name = "c"): { close(): void } {
  const fd = inNetns(path, () => bindSocket("udp", "0.0.0.0", port));
  const socket = createSocket("udp4");
  socket.on("message", (data, from) => socket.send(`${name} saw ${from.address}: ${data}`, from.port, from.address));
  socket.bind({ fd });
  socket.unref();
  return socket;
}

const TCP_CLIENT = `
const [host, port, text, , waitMs] = process.argv.slice(1);
const socket = require("node:net").connect({ host, port, allowHalfOpen: true, timeout: Number(waitMs) }, () => socket.end(text));
socket.on("data", (data) => process.stdout.write(data));
socket.on("timeout", () => { process.stdout.write("timeout"); socket.destroy(); });
socket.on("error", (error) => process.stdout.write(error.code));
`;
const UDP_CLIENT = `
const [host, port, text, own, waitMs] = process.argv.slice(1);
const socket = require("node:dgram").createSocket(host.includes(":") ? "udp6" : "udp4");
const timer = setTimeout(() => { process.stdout.write("timeout"); socket.close(); }, Number(waitMs));
socket.on("message", (data) => { process.stdout.write(data); clearTimeout(timer); socket.close(); });
socket.bind(Number(own), () => socket.send(text, port, host));
`;

/** What a client gets that is in the namespace at `from` (undefined: the host); an errno's name, or "timeout". */
export function ask(
  protocol: "tcp" | "udp",
  from: string | undefined,
  host: string,
  port: number | string,
  text = "hi",
  ownPort = 0,
  waitMs = 1500,
): Promise<string> {
  const script = protocol === "tcp" ? TCP_CLIENT : UDP_CLIENT;
  const start = () =>
    spawn(process.execPath, ["-e", script, host, String(port), text, String(ownPort), String(waitMs)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
  // The child is forked by this thread, inside the namespace.
  const child = from === undefined ? start() : inNetns(from, start);
  return new Promise((resolve, reject) => {
    let output = "";
    child.stdout.on("data", (data) => (output += data));
    child.on("error", reject);
    child.on("close", () => resolve(output));
  });
}
