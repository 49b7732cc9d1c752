import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync, readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { describe, test } from "node:test";
import { acceptSocket, bindSocket, boundPort } from "../kernel/bound-socket.ts";
import { Readiness } from "../kernel/readiness.ts";
import { Allowance } from "./allowance.ts";
import { framed } from "./dns-forward.ts";
import { QueryStream, type QueryStreamPorts } from "./query-stream.ts";
import { Turnstile } from "./turnstile.ts";

/** A server of query streams; `seen` tells how many queries it got. */
class Server implements AsyncDisposable {
  readonly port: number;
  readonly streams = new Set<QueryStream>();
  seen = 0;
  readonly #fd = bindSocket("tcp", "127.0.0.1", 0);
  readonly #listening: Readiness;
  readonly #turnstile: Turnstile;

  constructor(answer: QueryStreamPorts["answer"], allowance = new Allowance({ share: 1, mostMs: 1000 })) {
    this.port = boundPort(this.#fd);
    this.#turnstile = new Turnstile(allowance, (error) => assert.fail(String(error)));
    this.#listening = new Readiness(this.#fd, () => {
      const fd = acceptSocket(this.#fd);
      if (fd === undefined) return;
      const stream = new QueryStream(fd, this.#turnstile, {
        answer: (query) => {
          this.seen++;
          return answer(query);
        },
        onClose: () => this.streams.delete(stream),
      });
      this.streams.add(stream);
    });
    this.#listening.watch(true);
  }

  async client(): Promise<Socket> {
    const socket = connect({ port: this.port, host: "127.0.0.1", allowHalfOpen: true });
    await once(socket, "connect");
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#turnstile.close();
    for (const stream of this.streams) stream.close();
    this.#listening.close();
    closeSync(this.#fd);
  }
}

const echo = (query: Buffer) => Buffer.from(query);

/** All that comes until the server ends. */
async function answersOf(socket: Socket): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  let all = Buffer.concat(pieces);
  const answers: Buffer[] = [];
  for (; all.length >= 2; all = all.subarray(2 + all.readUInt16BE(0)))
    answers.push(all.subarray(2, 2 + all.readUInt16BE(0)));
  assert.equal(all.length, 0);
  return answers;
}

async function until(what: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !what(); ) {
    assert.ok(Date.now() < deadline, `never: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("a connection with queries", () => {
  test("answers queries of all sizes in their order, however they are cut, and ends after the last", async () => {
    await using server = new Server(echo);
    const sizes = [12, 0, 4094, 4095, 1, 65_535, 40, 4093, 30_000];
    const queries = sizes.map((size, n) => Buffer.alloc(size, n + 1));
    const bytes = Buffer.concat(queries.map(framed));
    for (const step of [1, 7, 4096, bytes.length]) {
      const socket = await server.client();
      socket.setNoDelay(true);
      const answers = answersOf(socket);
      // Of the long ones only some pieces are small, or it would take long.
      for (let at = 0; at < bytes.length; ) {
        const end = at + (at < 60 || at > bytes.length - 60 ? step : Math.max(step, 997));
        if (!socket.write(bytes.subarray(at, end))) await once(socket, "drain");
        at = end;
        await new Promise((resolve) => setImmediate(resolve));
      }
      socket.end();
      assert.deepEqual(await answers, queries, `in pieces of ${step}`);
    }
    await until(() => server.streams.size === 0);
  });

  test("asks elsewhere for one at a time, and drops what was never whole", async () => {
    let asking = 0;
    let most = 0;
    await using server = new Server(async (query) => {
      most = Math.max(most, ++asking);
      await new Promise((resolve) => setImmediate(resolve));
      asking--;
      return query[0] === 0 ? undefined : Buffer.from(query);
    });
    const socket = await server.client();
    const answers = answersOf(socket);
    const queries = Array.from({ length: 100 }, (_, n) => Buffer.from([n % 10, n]));
    socket.end(Buffer.concat([...queries.map(framed), Buffer.from([0, 9, 1])]));
    assert.deepEqual(
      await answers,
      queries.filter(([first]) => first !== 0),
    );
    assert.equal(most, 1);
  });

  test("reads no more of a client that does not read, and goes on with it when it does", async () => {
    await using server = new Server(() => Buffer.alloc(8000, 7));
    const socket = await server.client();
    socket.pause();
    const count = 6000;
    socket.end(Buffer.concat(Array.from({ length: count }, () => framed(Buffer.alloc(30)))));
    await until(() => server.seen > 0);
    let before = -1;
    // As much as the kernel keeps of the answers, 48 MB in all.
    while (server.seen !== before) {
      before = server.seen;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assert.ok(before > 0 && before < count, `${before} of ${count}`);
    assert.equal((await answersOf(socket)).length, count);
    assert.equal(server.seen, count);
  });

  test("leaves nothing open when the client goes, or the server does", async () => {
    const before = readdirSync("/proc/self/fd").length;
    {
      await using server = new Server(echo);
      const socket = await server.client();
      await until(() => server.streams.size === 1);
      socket.write(framed(Buffer.alloc(40)));
      await once(socket, "data");
      socket.resetAndDestroy();
      await until(() => server.streams.size === 0);
      const other = await server.client();
      await until(() => server.streams.size === 1);
      for (const stream of server.streams) stream.close();
      other.resume();
      await once(other, "end");
      other.destroy();
    }
    await until(() => readdirSync("/proc/self/fd").length <= before);
  });

  test("is served in turns with others, no more than the allowance lets", async () => {
    await using server = new Server(echo, new Allowance({ share: 0.05, mostMs: 1 }));
    const greedy = await server.client();
    const modest = await server.client();
    const count = 60_000;
    const all = answersOf(greedy);
    greedy.end(Buffer.concat(Array.from({ length: count }, () => framed(Buffer.alloc(30)))));
    await until(() => server.seen > 0);
    modest.write(framed(Buffer.alloc(20)));
    await once(modest, "data");
    assert.ok(server.seen < count, `the modest one waits for ${server.seen} of ${count}`);
    modest.destroy();
    assert.equal((await all).length, count);
  });
});
