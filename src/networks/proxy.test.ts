import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { bindSocket } from "../kernel/bound-socket.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { ProxyRoom } from "./proxy-room.ts";
import { proxyTcp, refuseTcp } from "./tcp-proxy.ts";
import { proxyUdp } from "./udp-proxy.ts";

enterPrivateHost();
const ends: (() => void)[] = [];
after(() => {
  for (const end of ends) end();
});

async function listen(onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, onSocket).listen(0, "127.0.0.1");
  ends.push(() => server.close());
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function dial(port: number): Socket {
  return connect({ host: "127.0.0.1", port, allowHalfOpen: true });
}

test("a client that ends its side still gets all that the server says after", async () => {
  const target = await listen(async (socket) =>
    socket.end(`${(await text(socket)).length} bytes`.padEnd(300_000, ".")),
  );
  ends.push(proxyTcp(bindSocket("tcp", "127.0.0.1", 7001), () => "127.0.0.1", target));
  const client = dial(7001);
  client.end("x".repeat(2_000_000));
  const answer = await text(client);
  assert.equal(answer.length, 300_000);
  assert.match(answer, /^2000000 bytes\./);
});

test("a server that ends its side still gets all that the client says after", async () => {
  const got = Promise.withResolvers<string>();
  const target = await listen(async (socket) => {
    socket.end("over");
    got.resolve(await text(socket));
  });
  ends.push(proxyTcp(bindSocket("tcp", "127.0.0.1", 7002), () => "127.0.0.1", target));
  const client = dial(7002);
  assert.equal(await text(client), "over");
  client.end("late words");
  assert.equal(await got.promise, "late words");
});

test("a target that refuses, or resets, is a reset to the client", async () => {
  ends.push(proxyTcp(bindSocket("tcp", "127.0.0.1", 7003), () => "127.0.0.1", 1));
  const [error] = (await once(dial(7003), "error").catch((thrown) => [thrown])) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ECONNRESET");
  ends.push(refuseTcp(bindSocket("tcp", "127.0.0.1", 7004)));
  const [refused] = (await once(dial(7004), "error").catch((thrown) => [thrown])) as [NodeJS.ErrnoException];
  assert.equal(refused.code, "ECONNRESET");
});

test("an ended proxy has closed its connections and given the port back", async () => {
  const target = await listen(() => {});
  const end = proxyTcp(bindSocket("tcp", "127.0.0.1", 7005), () => "127.0.0.1", target);
  const client = dial(7005);
  await once(client, "connect");
  client.write("hello");
  assert.throws(() => bindSocket("tcp", "0.0.0.0", 7005), { code: "EADDRINUSE" });
  const ended = once(client, "close");
  client.resume();
  client.on("end", () => client.end());
  client.on("error", () => {});
  // Accepting is the event after which there is a connection to close.
  setImmediate(() => setImmediate(end));
  await ended;
  ends.push(proxyTcp(bindSocket("tcp", "0.0.0.0", 7005), () => "127.0.0.1", target));
});

test("a connection that there is no room for is reset, until another one ends", async () => {
  const target = await listen((socket) => {
    socket.on("error", () => {});
    socket.on("end", () => socket.end());
    socket.resume().write("hello");
  });
  const room = new ProxyRoom(2);
  const served = [7007, 7008].map((port) => {
    ends.push(proxyTcp(bindSocket("tcp", "127.0.0.1", port), () => "127.0.0.1", target, room));
    return port;
  });
  const greeted = served.map((port) => dial(port).on("error", () => {}));
  for (const client of greeted) await once(client, "data");
  const isGreeted = async (port: number) => {
    const client = dial(port);
    const answer = await Promise.race([
      once(client, "data").then(() => true),
      once(client, "close").then(() => false),
    ]).catch(() => false);
    client.destroy();
    return answer;
  };
  for (const port of served) assert.equal(await isGreeted(port), false);
  greeted[0]!.destroy();
  const deadline = Date.now() + 10_000;
  while (!(await isGreeted(7008))) assert.ok(Date.now() < deadline, "no room again");
  greeted[1]!.destroy();
});

test("datagrams of a new client take the room of their port's oldest, and of no other port", async () => {
  const server = createSocket("udp4", (data, from) => server.send(data, from.port, from.address)).bind(0, "127.0.0.1");
  ends.push(() => server.close());
  await once(server, "listening");
  const room = new ProxyRoom(1);
  for (const port of [7009, 7010]) {
    const fd = bindSocket("udp", "127.0.0.1", port);
    ends.push(proxyUdp(fd, "udp4", () => "127.0.0.1", server.address().port, room));
  }
  const client = async (port: number) => {
    const socket = createSocket("udp4");
    ends.push(() => socket.close());
    socket.send("?", port, "127.0.0.1");
    const answer = once(socket, "message").then(() => "answered");
    return Promise.race([answer, delay(port === 7010 ? 300 : 10_000, "silence", { ref: false })]);
  };
  assert.deepEqual(
    [await client(7009), await client(7009), await client(7010), await client(7009)],
    ["answered", "answered", "silence", "answered"],
  );
});

test("UDP clients get their own answers, however many there were before", async () => {
  const server = createSocket("udp4", (data, from) => server.send(`<${data}>`, from.port, from.address)).bind(
    0,
    "127.0.0.1",
  );
  ends.push(() => server.close());
  await once(server, "listening");
  ends.push(proxyUdp(bindSocket("udp", "::1", 7006), "udp6", () => "127.0.0.1", server.address().port));
  for (let number = 0; number < 1100; number++) {
    const client = createSocket("udp6");
    client.send(`${number}`, 7006, "::1");
    const [answer] = (await once(client, "message")) as [Buffer];
    assert.equal(answer.toString(), `<${number}>`);
    client.close();
  }
});
