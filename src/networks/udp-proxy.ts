import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { engineRoom } from "./proxy-room.ts";

const IDLE_MS = 90_000;
const SWEEP_MS = 30_000;
const MAX_FLOWS = 1024;

interface Flow {
  readonly socket: Socket;
  usedAt: number;
}

/**
 * Serves a bound UDP socket: each client gets a socket of its own towards the container, so that answers find their
 * way; it is dropped after 90 idle seconds, or for a newer one when there are 1,024 or no room for more. `target` is asked for each packet.
 * Owns `fd`. The result ends it.
 */
export function proxyUdp(
  fd: number,
  family: "udp4" | "udp6",
  target: () => string,
  port: number,
  room = engineRoom(),
): () => void {
  const front = createSocket(family);
  const flows = new Map<string, Flow>();

  const drop = (key: string, flow: Flow): void => {
    flows.delete(key);
    flow.socket.close();
    room.give();
  };
  /** Undefined if other ports have taken all room. */
  const open = (key: string, client: RemoteInfo, address: string): Flow | undefined => {
    const [oldest] = flows;
    let isRoom = flows.size < MAX_FLOWS && room.take();
    if (!isRoom && oldest !== undefined) {
      drop(...oldest);
      isRoom = room.take();
    }
    if (!isRoom) return undefined;
    const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
    socket.unref();
    const flow: Flow = { socket, usedAt: Date.now() };
    socket.on("message", (data, from) => {
      if (from.address !== address || from.port !== port) return;
      flow.usedAt = Date.now();
      front.send(data, client.port, client.address, () => {});
    });
    socket.on("error", () => {
      if (flows.get(key) === flow) drop(key, flow);
    });
    return flow;
  };

  front.on("message", (data, client) => {
    const address = target();
    const key = `${client.address} ${client.port} ${address}`;
    const flow = flows.get(key) ?? open(key, client, address);
    if (flow === undefined) return;
    flow.usedAt = Date.now();
    // To the end of the map: its order is that of last use.
    flows.delete(key);
    flows.set(key, flow);
    flow.socket.send(data, port, address, () => {});
  });
  front.on("error", () => {});
  front.bind({ fd });
  front.unref();

  const sweep = setInterval(() => {
    const limit = Date.now() - IDLE_MS;
    for (const [key, flow] of flows) {
      if (flow.usedAt > limit) break;
      drop(key, flow);
    }
  }, SWEEP_MS);
  sweep.unref();

  return () => {
    clearInterval(sweep);
    front.close();
    for (const [key, flow] of flows) drop(key, flow);
  };
}
