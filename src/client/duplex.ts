import { Duplex } from "node:stream";
import type { Hijacked } from "./client.ts";

/** A connection that was taken over as a stream of Node's, the bytes that came with the answer first. */
export function asDuplex({ socket, head }: Hijacked): Duplex {
  const duplex = new Duplex({
    allowHalfOpen: true,
    read() {
      if (socket.isPaused()) socket.resume();
    },
    write(chunk: Buffer, _encoding, done) {
      if (socket.write(chunk)) done();
      else if (socket.destroyed) done(new Error("the connection is closed"));
      else waitForDrain(done);
    },
    final(done) {
      socket.end();
      done();
    },
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  const waitForDrain = (done: () => void): void => {
    const over = (): void => {
      socket.off("drain", over);
      socket.off("close", over);
      done();
    };
    socket.on("drain", over);
    socket.on("close", over);
  };
  if (head.length > 0) duplex.push(head);
  socket.on("error", (error) => duplex.destroy(error));
  socket.on("end", () => duplex.push(null));
  socket.on("close", () => duplex.destroy());
  socket.on("data", (chunk) => {
    if (!duplex.push(chunk)) socket.pause();
  });
  return duplex;
}
