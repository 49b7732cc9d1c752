/** A line in front of a service on loopback: `node line.ts LISTEN TARGET MBIT RTT_MS`; both ways have the rate each. */
import { connect, createServer, type Socket } from "node:net";

/** Bytes that are on the line before their sender is held up, beside those that the rate and the way explain. */
const BUFFER = 256 << 10;

const [listen = 0, target = 0, mbit = 0, rttMs = 0] = process.argv.slice(2).map(Number);
const bytesPerMs = (mbit * 1e6) / 8 / 1000;
const most = BUFFER + 2 * bytesPerMs * rttMs;

/** One way: all connections share its rate. */
class Way {
  #freeAt = 0;

  carry(from: Socket, to: Socket): void {
    const onTheWay: { readonly at: number; readonly bytes: Buffer | undefined }[] = [];
    let held = 0;
    let timer: NodeJS.Timeout | undefined;
    const arrive = (): void => {
      timer = undefined;
      const now = performance.now();
      for (let next = onTheWay[0]; next !== undefined && next.at <= now + 0.3; next = onTheWay[0]) {
        onTheWay.shift();
        held -= next.bytes?.length ?? 0;
        if (next.bytes === undefined) to.end();
        else to.write(next.bytes);
      }
      if (held < most) from.resume();
      wait();
    };
    const wait = (): void => {
      const [next] = onTheWay;
      if (next === undefined || timer !== undefined) return;
      timer = setTimeout(arrive, Math.max(0, next.at - performance.now()));
    };
    from.on("data", (bytes: Buffer) => {
      this.#freeAt = Math.max(performance.now(), this.#freeAt) + bytes.length / bytesPerMs;
      onTheWay.push({ at: this.#freeAt + rttMs / 2, bytes });
      held += bytes.length;
      if (held >= most) from.pause();
      wait();
    });
    from.on("end", () => {
      onTheWay.push({ at: Math.max(performance.now(), this.#freeAt) + rttMs / 2, bytes: undefined });
      wait();
    });
    from.on("error", () => to.destroy());
    from.on("close", () => {
      if (!from.readableEnded) to.destroy();
    });
  }
}

const up = new Way();
const down = new Way();
createServer({ noDelay: true, pauseOnConnect: true }, (near) => {
  // The handshake takes its way, too.
  setTimeout(() => {
    const far = connect({ port: target, host: "127.0.0.1", noDelay: true });
    up.carry(near, far);
    down.carry(far, near);
    near.resume();
  }, rttMs);
}).listen(listen, "127.0.0.1");
