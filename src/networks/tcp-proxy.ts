import { connect, createServer, type Socket } from "node:net";

/**
 * Serves a listening socket by carrying each connection to a container. Ends and half-ends pass in both directions;
 * at most two buffers a connection are held. `target` is asked for each connection. Owns `fd`. The result ends it, with
 * all of its connections.
 */
export function proxyTcp(fd: number, target: () => string, port: number): () => void {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const container = connect({ host: target(), port, allowHalfOpen: true });
    join(client, container);
    for (const socket of [client, container]) {
      socket.setNoDelay(true);
      open.add(socket);
      socket.once("close", () => open.delete(socket));
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
