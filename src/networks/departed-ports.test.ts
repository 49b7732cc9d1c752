import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { networkCreateRequest } from "../api/network-request.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { makeEngine, WANTED } from "./lab.fixture.ts";
import type { Networks } from "./networks.ts";

enterPrivateHost();
const lab = makeEngine();
let networks: Networks;
before(() => {
  networks = lab.open();
});
after(() => lab.remove());

/** Says that its connection takes no more, and stays. */
const WRITER = `
const [host, port] = process.argv.slice(1);
const socket = require("node:net").connect({ host, port }, () => {
  while (socket.write(Buffer.alloc(1 << 20)));
  // By then the kernel has sent all that the reader's side takes, and keeps the rest.
  setTimeout(() => process.stdout.write("full"), 300);
});
socket.on("error", (error) => process.stdout.write(error.code));
`;

/** A container's network of which a connection is left that the kernel would go on sending by. */
async function cutOff(id: string, network: string): Promise<void> {
  const { path } = networks.createSandbox(id);
  const { Gateway } = await networks.connect(id, network, { ...WANTED, containerName: id });
  const server = createServer((socket) => void socket.pause().on("error", () => {}));
  server.listen(0, Gateway).unref();
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const writer = inNetns(path!, () => {
    return spawn(process.execPath, ["-e", WRITER, Gateway, String(port)], { stdio: ["ignore", "pipe", "inherit"] });
  });
  const [said] = await once(writer.stdout, "data");
  assert.equal(String(said), "full");
  writer.kill("SIGKILL");
  await once(writer, "close");
  await networks.release(id);
}

function ports(): string[] {
  using netlink = new Netlink();
  return netlink.links().flatMap(({ name }) => (name.startsWith("gv") ? [name] : []));
}

test("a link is deleted whose namespace is kept by a connection that was cut off", async () => {
  await networks.create({ ...networkCreateRequest.zero(), Name: "left", Driver: "bridge" });
  await cutOff("one", "left");
  assert.equal(ports().length, 1, "the kernel keeps the namespace, or there is nothing to be seen here");
  await networks.remove("left");
  for (let turn = 0; turn < 100 && ports().length > 0; turn++) await setTimeout(100);
  assert.deepEqual(ports(), []);
});

test("an engine that stops leaves none of them", async () => {
  await networks.create({ ...networkCreateRequest.zero(), Name: "last", Driver: "bridge" });
  await cutOff("two", "last");
  assert.equal(ports().length, 1);
  await networks.remove("last");
  await networks.shutdown();
  assert.deepEqual(ports(), []);
});
