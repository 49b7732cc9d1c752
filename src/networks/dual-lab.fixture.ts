import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { networkCreateRequest } from "../api/network-request.ts";
import { bindSocket } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { ask, makeNeighbour } from "./lab.fixture.ts";
import type { Networks } from "./networks.ts";
import { allowIPv6 } from "./sandbox.ts";

/** A machine beside the host, with both families: 10.9.0.2 and fd09::2; the host is 10.9.0.1 and fd09::1. */
export function makeDualNeighbour(root: string): ReturnType<typeof makeNeighbour> {
  const neighbour = makeNeighbour(root);
  const add = (name: string, address: string) => {
    using netlink = new Netlink();
    allowIPv6(name);
    const index = netlink.links().find((link) => link.name === name)?.index ?? 0;
    netlink.addAddress({ index, address, prefix: 64 });
  };
  add("outside", "fd09::1");
  inNetns(neighbour.path, () => add("eth0", "fd09::2"));
  return neighbour;
}

/** A container on a network of both families, which is made if it isn't there. */
export async function startDual(
  networks: Networks,
  id: string,
  bindings: Record<string, { HostIp: string; HostPort: string }[]> = {},
  network: { readonly name: string; readonly options?: Record<string, string> } = { name: "dual" },
) {
  if (!networks.list().some(({ Name }) => Name === network.name)) {
    await networks.create({
      ...networkCreateRequest.zero(),
      Name: network.name,
      EnableIPv6: true,
      Options: network.options ?? {},
    });
  }
  const { path } = networks.createSandbox(id);
  const settings = await networks.connect(id, network.name, { containerName: id, hostname: id });
  const ports = await networks.publish(id, { bindings, exposed: [], publishAll: false });
  return { path, ports, four: settings.IPAddress, six: settings.GlobalIPv6Address };
}

/** TCP and UDP servers of both families inside: "<address of the caller>: <what it sent>". */
export function serveDual(path: string, port: number): { close(): void } {
  const open = (kind: "tcp" | "udp") => inNetns(path, () => bindSocket(kind, "::", port, { both: true }));
  const plain = (address = "") => address.replace(/^::ffff:/, "");
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    socket.on("error", () => {});
    let text = "";
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) text += chunk;
    socket.end(`${plain(socket.remoteAddress)}: ${text}`);
  });
  server.listen({ fd: open("tcp") }).unref();
  const socket = createSocket("udp6");
  socket.on("message", (data, from) => socket.send(`${plain(from.address)}: ${data}`, from.port, from.address));
  socket.bind({ fd: open("udp") });
  socket.unref();
  return {
    close() {
      server.close();
      socket.close();
    },
  };
}

/** As `ask`, of what is expected to answer, however slow the machine is. */
export function call(protocol: "tcp" | "udp", from: string | undefined, host: string, port: number): Promise<string> {
  return ask(protocol, from, host, port, "hi", 0, 20_000);
}
