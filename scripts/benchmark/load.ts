// What loads a network for the bench, in containers and beside them; prints one object of JSON and ends.
//   serve PORT             answers requests on PORT, and counts what is sent to the port after it, until it is killed
//   ask HOST PORT CONNECTIONS MS [fresh]     requests, one at a time on each connection; `fresh`: a new one for each
//   send HOST PORT MS                        one stream
//   resolve HOST NAME OUTSTANDING MS         queries for a name's IPv4 address
import { createSocket } from "node:dgram";
import { connect, createServer, type Socket } from "node:net";

const REQUEST = Buffer.from("GET / HTTP/1.1\r\nHost: bench\r\n\r\n");
const ANSWER = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n${"x".repeat(100)}`);
const PIECE = Buffer.alloc(256 << 10, 1);
const DNS_PORT = 53;
/** A query that is not answered by then is lost, and another takes its place. */
const LOST_MS = 1_000;

const [mode = "", host = "", ...rest] = process.argv.slice(2);
const numbers = rest.map(Number);

function print(result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}

function serve(port: number): void {
  createServer({ noDelay: true }, (socket) => {
    let due = 0;
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      for (due += bytes.length; due >= REQUEST.length; due -= REQUEST.length) socket.write(ANSWER);
    });
  }).listen(port);
  createServer({ allowHalfOpen: true }, (socket) => {
    let total = 0;
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      total += bytes.length;
    });
    socket.once("end", () => socket.end(String(total)));
  }).listen(port + 1);
}

async function ask(port: number, connections: number, ms: number, fresh: boolean): Promise<object> {
  const times: number[] = [];
  const began = performance.now();
  const end = began + ms;
  const one = async (): Promise<void> => {
    let line = fresh ? undefined : new Line(await opened(port));
    while (performance.now() < end) {
      const asked = performance.now();
      line ??= new Line(await opened(port));
      await line.ask();
      times.push(performance.now() - asked);
      if (!fresh) continue;
      // A reset leaves no port behind that waits for its minute.
      line.socket.resetAndDestroy();
      line = undefined;
    }
    line?.socket.destroy();
  };
  await Promise.all(Array.from({ length: connections }, one));
  return figures(times, performance.now() - began);
}

function opened(port: number): Promise<Socket> {
  const { promise, resolve: done, reject } = Promise.withResolvers<Socket>();
  const socket = connect({ host, port, noDelay: true }, () => done(socket));
  socket.once("error", reject);
  return promise;
}

/** A connection, and the request on it. */
class Line {
  readonly socket: Socket;
  #due = 0;
  #answered: () => void = () => {};
  #failed: (error: Error) => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes) => {
      this.#due -= bytes.length;
      if (this.#due === 0) this.#answered();
    });
    socket.on("error", (error) => this.#failed(error));
    socket.on("end", () => this.#failed(new Error("the connection was ended")));
  }

  ask(): Promise<void> {
    this.#due = ANSWER.length;
    return new Promise((done, fail) => {
      this.#answered = done;
      this.#failed = fail;
      this.socket.write(REQUEST);
    });
  }
}

async function send(port: number, ms: number): Promise<object> {
  const socket = await opened(port);
  let counted = "";
  socket.on("data", (bytes) => {
    counted += bytes.toString();
  });
  const over = new Promise<void>((done, fail) => socket.once("end", done).once("error", fail));
  const began = performance.now();
  while (performance.now() - began < ms) {
    if (!socket.write(PIECE)) await new Promise((done) => socket.once("drain", done));
  }
  socket.end();
  await over;
  return { gigabits: (Number(counted) * 8) / 1e6 / (performance.now() - began) };
}

async function resolve(name: string, outstanding: number, ms: number): Promise<object> {
  const socket = createSocket("udp4");
  await new Promise<void>((done) => socket.connect(DNS_PORT, host, done));
  const query = queryOf(name);
  const asked = new Map<number, number>();
  const times: number[] = [];
  let id = 0;
  let lost = 0;
  const ask = (): void => {
    id = (id + 1) & 0xffff;
    query.writeUInt16BE(id);
    asked.set(id, performance.now());
    socket.send(Buffer.from(query));
  };
  const { promise, resolve: done, reject } = Promise.withResolvers<void>();
  const began = performance.now();
  socket.on("error", reject);
  socket.on("message", (bytes) => {
    const now = performance.now();
    const number = bytes.readUInt16BE(0);
    const then = asked.get(number);
    if (then === undefined) return;
    asked.delete(number);
    if ((bytes.readUInt16BE(2) & 0x800f) !== 0x8000 || bytes.readUInt16BE(6) === 0) {
      return reject(new Error(`${name} was not answered: ${bytes.toString("hex")}`));
    }
    times.push(now - then);
    if (now - began < ms) ask();
    else if (asked.size === 0) done();
  });
  const watch = setInterval(() => {
    for (const [number, then] of asked) {
      if (performance.now() - then < LOST_MS) continue;
      asked.delete(number);
      lost++;
      if (performance.now() - began < ms) ask();
      else if (asked.size === 0) done();
    }
  }, LOST_MS / 4);
  for (let n = 0; n < outstanding; n++) ask();
  await promise;
  clearInterval(watch);
  return { ...figures(times, performance.now() - began), lost };
}

function queryOf(name: string): Buffer {
  const labels = name.split(".").map((label) => Buffer.from([label.length, ...Buffer.from(label)]));
  const head = Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, 1, 0, 1])]);
}

function figures(times: number[], ms: number): object {
  times.sort((a, b) => a - b);
  const at = (share: number): number =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN;
  return { rate: times.length / (ms / 1000), p50: at(0.5), p99: at(0.99) };
}

if (mode === "serve") serve(Number(host));
else if (mode === "ask") print(await ask(numbers[0] ?? 0, numbers[1] ?? 1, numbers[2] ?? 0, rest[3] === "fresh"));
else if (mode === "send") print(await send(numbers[0] ?? 0, numbers[1] ?? 0));
else if (mode === "resolve") print(await resolve(rest[0] ?? "", numbers[1] ?? 1, numbers[2] ?? 0));
else throw new Error(`unknown mode: ${mode}`);
