import { connect, createServer, type Socket } from "node:net";
import { engineRoom } from "./proxy-room.ts";

/** A caller who is gone without a word gives the room back that his connection took. */
const STILL_THERE_AFTER_MS = 60_000;

/**
 * Serves a listening socket by carrying each connection to a container. Ends and half-ends pass in both directions;
 * at most two buffers a connection are held, and one that there is no room for is reset. `target` is asked for each
 * connection. Owns `fd`. The result ends it, with all of its connections.
 */
export function proxyTcp(fd: number, target: () => string, port: number, room = engineRoom()): () => void {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    if (!room.take()) {
      client.resetAndDestroy();
      return;
    }
    let sides = 2;
    const container = connect({ host: target(), port, allowHalfOpen: true });
    join(client, container);
    for (const socket of [client, container]) {
      socket.setNoDelay(true);
      socket.setKeepAlive(true, STILL_THERE_AFTER_MS);
      open.add(socket);
      socket.once("close", () => {
        open.delete(socket);
        if (--sides === 0) room.give();
      });
    }
  });
  // What accept() refuses for want of descriptors must not end the engine.
  server.on("error", () => {});
  server.listen({ fd }).unref();
  return () => {
    server.close();
    for (const socket of open) socket.destroy();
  };
}

/** As without a proxy: the port is held, and a connection that the kernel did not take is refused. */
export function refuseTcp(fd: number): () => void {
  const server = createServer((client) => client.resetAndDestroy());
  server.on("error", () => {});
  server.listen({ fd }).unref();
  return () => server.close();
}

function join(a: Socket, b: Socket): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.pipe(to);
    from.once("error", () => to.resetAndDestroy());
    from.once("close", () => {
      if (!from.readableEnded) to.destroy();
    });
  }
}
