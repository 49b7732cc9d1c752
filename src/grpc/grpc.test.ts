import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { GantryError } from "../base/errors.ts";
import { addHealth, HEALTH_CHECK, SERVING } from "./health.ts";
import { MessageParser } from "./messages.ts";
import { fromHeaders, readTimeout, writeTimeout } from "./metadata.ts";
import { asText, bytesMethod, grpcPair, socketPair, text } from "./pair.fixture.ts";
import { GrpcServer } from "./server.ts";
import { decodeMessage, decodeStatus, encodeMessage, encodeStatus, GrpcError, STATUS, trailersOf } from "./status.ts";

const ECHO = bytesMethod("/t.T/Echo");
const STREAM = bytesMethod("/t.T/Stream");

const isStatus = (code: number, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof GrpcError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, message);
  return true;
};

const WAYS = (["http2", "link"] as const).flatMap((over) => [
  { over, reversed: false },
  { over, reversed: true },
]);

for (const { over, reversed } of WAYS) {
  const who = `by ${over} over a connection that the ${reversed ? "called side" : "caller"} opened`;

  test(`a call has one request and one response ${who}`, async () => {
    using pair = await grpcPair((server) => server.unary(ECHO, (request) => text(`got ${asText(request)}`)), {
      over,
      reversed,
    });
    assert.equal(asText(await pair.client.unary(ECHO, text("x"))), "got x");
    assert.equal(asText(await pair.client.unary(ECHO, text(""))), "got ");
  });

  test(`both sides stream as they like ${who}`, async () => {
    using pair = await grpcPair(
      (server) =>
        server.stream(STREAM, async (call) => {
          for await (const message of call.messages()) await call.send(text(`${asText(message)}!`));
          await call.send(text("end"));
        }),
      { over, reversed },
    );
    const call = pair.client.open(STREAM);
    const answers = call.messages()[Symbol.asyncIterator]();
    for (const word of ["a", "b"]) {
      await call.send(text(word));
      assert.equal(asText((await answers.next()).value), `${word}!`);
    }
    call.end();
    assert.equal(asText((await answers.next()).value), "end");
    assert.equal((await answers.next()).done, true);
  });
}

for (const over of ["http2", "link"] as const) {
  const grpc = (add: (server: GrpcServer) => void) => grpcPair(add, { over });

  test(`a caller learns the code, the text and the details of a failure, by ${over}`, async () => {
    using pair = await grpc((server) =>
      server.unary(ECHO, () => {
        throw new GrpcError(STATUS.notFound, "no 100 % sure\nÄ: ключ", {
          details: [{ typeUrl: "example/Kind", value: text("{}") }],
        });
      }),
    );
    await assert.rejects(pair.client.unary(ECHO, text("")), (error: GrpcError) => {
      assert.equal(error.code, STATUS.notFound);
      assert.equal(error.message, "no 100 % sure\nÄ: ключ");
      assert.deepEqual(
        error.details.map(({ typeUrl, value }) => [typeUrl, asText(value)]),
        [["example/Kind", "{}"]],
      );
      return true;
    });
  });

  test(`of a failure that is too long for headers the ends and the details that fit are told, by ${over}`, async () => {
    const beginning = 'process "';
    const end = "exit code: 3";
    for (const filler of ["x".repeat(100_000), "ключ\n".repeat(20_000)]) {
      using pair = await grpc((server) =>
        server.unary(ECHO, () => {
          throw new GrpcError(STATUS.unknown, `${beginning}${filler}${end}`, {
            details: [
              { typeUrl: "large", value: new Uint8Array(1 << 20) },
              { typeUrl: "small", value: text("{}") },
            ],
          });
        }),
      );
      await assert.rejects(pair.client.unary(ECHO, text("")), (error: GrpcError) => {
        assert.equal(error.code, STATUS.unknown);
        assert.ok(error.message.startsWith(beginning) && error.message.endsWith(end), error.message.slice(0, 50));
        assert.ok(error.message.includes(" … "));
        assert.deepEqual(
          error.details.map(({ typeUrl }) => typeUrl),
          ["small"],
        );
        for (const value of Object.values(trailersOf(error))) assert.ok(value.length < 64 << 10);
        return true;
      });
    }
  });

  test(`a failure after some responses comes after them, by ${over}`, async () => {
    using pair = await grpc((server) =>
      server.serverStream(STREAM, async (_request, call) => {
        await call.send(text("1"));
        await call.send(text("2"));
        throw new GantryError("invalid", "enough");
      }),
    );
    const seen: string[] = [];
    const read = async () => {
      for await (const message of pair.client.serverStream(STREAM, text(""))) seen.push(asText(message));
    };
    await assert.rejects(read(), isStatus(STATUS.invalidArgument, /^enough$/));
    assert.deepEqual(seen, ["1", "2"]);
  });

  test(`what nobody serves is unimplemented, by its name, by ${over}`, async () => {
    using pair = await grpc((server) => server.unary(ECHO, (request) => request));
    await assert.rejects(
      pair.client.unary(bytesMethod("/t.T/Other"), text("")),
      isStatus(STATUS.unimplemented, /^unknown method Other for service t\.T$/),
    );
    await assert.rejects(
      pair.client.unary(bytesMethod("/x.Y/Z"), text("")),
      isStatus(STATUS.unimplemented, /^unknown service x\.Y$/),
    );
  });

  test(`metadata comes with its several values, commas and all, by ${over}`, async () => {
    using pair = await grpc((server) =>
      server.unary(ECHO, (_request, call) => text(JSON.stringify([...call.metadata].filter(([name]) => name !== "x")))),
    );
    const metadata = new Map([
      ["patterns", ["a, b", "c"]],
      ["grpc-status", ["7"]],
      ["one", ["1"]],
    ]);
    assert.deepEqual(JSON.parse(asText(await pair.client.unary(ECHO, text(""), { metadata }))), [
      ["patterns", ["a, b", "c"]],
      ["one", ["1"]],
    ]);
  });

  test(`thousands of values of metadata get through, by ${over}`, async () => {
    using pair = await grpc((server) =>
      server.unary(ECHO, (_request, call) => text(String(call.metadata.get("path")?.length))),
    );
    const metadata = new Map([["path", Array.from({ length: 5000 }, (_, at) => `src/folder/file-${at}.ts`)]]);
    assert.equal(asText(await pair.client.unary(ECHO, text(""), { metadata })), "5000");
  });

  test(`a deadline ends the call on both sides, by ${over}`, async () => {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    using pair = await grpc((server) =>
      server.unary(ECHO, async (_request, call) => {
        await once(call.signal, "abort");
        resolve(call.signal.reason);
        return text("late");
      }),
    );
    await assert.rejects(
      pair.client.unary(ECHO, text(""), { timeoutMs: 30 }),
      isStatus(STATUS.deadlineExceeded, /deadline/),
    );
    assert.ok((await promise) instanceof GrpcError);
  });

  test(`a time that is longer than a timer can be is none, by ${over}`, async () => {
    using pair = await grpc((server) => server.unary(ECHO, (request) => request));
    assert.equal(asText(await pair.client.unary(ECHO, text("hi"), { timeoutMs: 2 ** 40 })), "hi");
  });

  test(`a caller that gives up aborts the handler, one that goes as well, by ${over}`, async () => {
    for (const how of ["cancel", "go"]) {
      const started = Promise.withResolvers<void>();
      const ended = Promise.withResolvers<void>();
      using pair = await grpc((server) =>
        server.unary(ECHO, async (_request, call) => {
          started.resolve();
          await once(call.signal, "abort");
          ended.resolve();
          return text("");
        }),
      );
      const controller = new AbortController();
      const call = pair.client.unary(ECHO, text(""), { signal: controller.signal });
      const rejected = assert.rejects(call, (error: GrpcError) =>
        (how === "cancel" ? [STATUS.cancelled] : [STATUS.unavailable]).some((code) => code === error.code),
      );
      await started.promise;
      if (how === "cancel") controller.abort();
      else pair.clientSocket.destroy();
      await Promise.all([rejected, ended.promise]);
    }
  });

  test(`a handler that goes on sending to nobody is stopped, by ${over}`, async () => {
    const stopped = Promise.withResolvers<unknown>();
    using pair = await grpc((server) =>
      server.serverStream(STREAM, async (_request, call) => {
        try {
          for (;;) await (call.send(new Uint8Array(10_000)) ?? turn());
        } catch (error) {
          stopped.resolve(error);
          throw error;
        }
      }),
    );
    for await (const _message of pair.client.serverStream(STREAM, text(""))) break;
    assert.ok((await stopped.promise) instanceof GrpcError);
  });

  test(`a sender waits for a receiver that does not read, by ${over}`, async () => {
    let sent = 0;
    using pair = await grpc((server) =>
      server.serverStream(STREAM, async (_request, call) => {
        for (; sent < 10_000; sent++) await call.send(new Uint8Array(16_000));
      }),
    );
    const call = pair.client.open(STREAM);
    await call.send(text(""));
    call.end();
    let before = -1;
    // It stands still when all windows are full.
    while (sent !== before || sent === 0) {
      before = sent;
      for (let turns = 0; turns < 200; turns++) await turn();
    }
    assert.ok(sent * 16_000 < 24 << 20, `${sent} messages of 16 kB were taken without a reader`);
    let count = 0;
    for await (const _message of call.messages()) count++;
    assert.equal(count, 10_000);
  });

  test(`a handler that ends early gets its answer to a caller that is still sending, by ${over}`, async () => {
    using pair = await grpc((server) =>
      server.stream(STREAM, async () => {
        throw new GrpcError(STATUS.permissionDenied, "not here");
      }),
    );
    const call = pair.client.open(STREAM);
    const send = async () => {
      for (let at = 0; at < 10_000; at++) await call.send(new Uint8Array(10_000));
    };
    await assert.rejects(send(), isStatus(STATUS.permissionDenied, /^not here$/));
    await assert.rejects(
      call.messages()[Symbol.asyncIterator]().next(),
      isStatus(STATUS.permissionDenied, /^not here$/),
    );
  });

  test(`the health service answers for what is served, by ${over}`, async () => {
    using pair = await grpc((server) => {
      server.unary(ECHO, (request) => request);
      addHealth(server);
    });
    assert.equal((await pair.client.unary(HEALTH_CHECK, { service: "" })).status, SERVING);
    assert.equal((await pair.client.unary(HEALTH_CHECK, { service: "t.T" })).status, SERVING);
    await assert.rejects(pair.client.unary(HEALTH_CHECK, { service: "no.Such" }), isStatus(STATUS.notFound, /unknown/));
  });
}

test("a message that is too long is refused by whoever receives it", async () => {
  using pair = await grpcPair((server) => server.unary(ECHO, (request) => new Uint8Array(request.length * 4)), {
    server: { maxMessageBytes: 1000 },
    client: { maxMessageBytes: 2000 },
  });
  assert.equal((await pair.client.unary(ECHO, new Uint8Array(500))).length, 2000);
  const tooLarge = isStatus(STATUS.resourceExhausted, /received message larger than max \(\d+ vs\. \d+\)/);
  await assert.rejects(pair.client.unary(ECHO, new Uint8Array(1001)), tooLarge);
  await assert.rejects(pair.client.unary(ECHO, new Uint8Array(501)), tooLarge);
  assert.equal((await pair.client.unary(ECHO, new Uint8Array(5))).length, 20, "the connection goes on");
});

test("a side that does not answer pings is given up", async () => {
  const { dialled, accepted } = await socketPair();
  // It reads nothing and says nothing.
  accepted.on("error", () => {});
  const server = new GrpcServer({ keepAlive: { everyMs: 20, withinMs: 50 } });
  const session = server.serve(dialled);
  await once(session, "close");
  accepted.destroy();
  dialled.destroy();
});

test("bytes that are no HTTP/2 end their connection, and a plain request is told so", async () => {
  const server = new GrpcServer();
  {
    const { dialled, accepted } = await socketPair();
    server.serve(accepted);
    dialled.on("error", () => {});
    dialled.write("GET / HTTP/1.1\r\n\r\n".repeat(100));
    dialled.resume();
    await once(dialled, "close");
  }
  const { dialled, accepted } = await socketPair();
  server.serve(accepted);
  const session = connectHttp2("http://x", { createConnection: () => dialled });
  const stream = session.request({ ":method": "GET", ":path": "/t.T/Echo" });
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  assert.equal(headers[":status"], 415);
  session.destroy();
  accepted.destroy();
});

test("a connection whose first bytes were read already loses none of them", async () => {
  const { dialled, accepted } = await socketPair();
  const server = new GrpcServer().unary(ECHO, (request) => request);
  const { GrpcClient } = await import("./client.ts");
  const client = new GrpcClient(dialled);
  const answer = client.unary(ECHO, text("first"));
  const [chunk] = (await once(accepted, "data")) as [Buffer];
  accepted.pause();
  accepted.removeAllListeners("data");
  accepted.unshift(chunk);
  server.serve(accepted);
  assert.equal(asText(await answer), "first");
  client.close();
  accepted.destroy();
});

test("messages are cut the same wherever the pieces end", () => {
  const frame = (length: number, fill: number) => {
    const bytes = Buffer.alloc(5 + length, fill);
    bytes[0] = 0;
    bytes.writeUInt32BE(length, 1);
    return bytes;
  };
  const all = Buffer.concat([frame(0, 0), frame(3, 1), frame(70, 2), frame(0, 0), frame(1, 3)]);
  for (let size = 1; size <= all.length; size++) {
    const parser = new MessageParser(100);
    const found: string[] = [];
    for (let at = 0; at < all.length; at += size) {
      for (const message of parser.feed(all.subarray(at, at + size)))
        found.push(`${message.length}:${message[0] ?? ""}`);
    }
    assert.deepEqual(found, ["0:", "3:1", "70:2", "0:", "1:3"], `in pieces of ${size}`);
    assert.ok(parser.whole);
  }
  const parser = new MessageParser(100);
  assert.throws(() => parser.feed(Buffer.from([1, 0, 0, 0, 0])), /compressed/);
  assert.throws(() => new MessageParser(100).feed(Buffer.from([0, 0, 0, 0, 101])), /larger than max \(101 vs\. 100\)/);
});

test("texts, times and statuses survive their encodings", () => {
  for (const message of ["", "plain", "100 %", "a\r\nb", "\u0000", "héllo → 世界 🎉", "%41"]) {
    const encoded = encodeMessage(message);
    assert.match(encoded, /^[\x20-\x7e]*$/);
    assert.equal(decodeMessage(encoded), message);
  }
  assert.equal(decodeMessage("50% of %zz%4"), "50% of %zz%4");
  assert.equal(readTimeout("100m"), 100);
  assert.equal(readTimeout("2H"), 7_200_000);
  assert.equal(readTimeout("123456789m"), undefined);
  assert.equal(readTimeout("1x"), undefined);
  assert.equal(readTimeout(writeTimeout(1234)), 1234);
  assert.equal(readTimeout(writeTimeout(5e10)), 5e10);
  const error = new GrpcError(STATUS.aborted, "ü", { details: [{ typeUrl: "u", value: new Uint8Array([1, 2]) }] });
  const back = decodeStatus(encodeStatus(error))!;
  assert.deepEqual([back.code, back.message, back.details.length], [STATUS.aborted, "ü", 1]);
  assert.equal(decodeStatus(new Uint8Array([255, 255])), undefined);
  assert.deepEqual([...fromHeaders({ a: "1, 2", ":path": "/" })], [["a", ["1, 2"]]]);
});

test("a client and a server under Bun, as the command is, speak with each other and with Node", async () => {
  const bun = fileURLToPath(
    new URL(
      `../../node_modules/@oven/bun-linux-${process.arch === "x64" ? "x64" : "aarch64"}/bin/bun`,
      import.meta.url,
    ),
  );
  const script = fileURLToPath(new URL("bun.fixture.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(bun, [script, process.execPath], { timeout: 60_000 });
  assert.equal(stdout, "called\nboth\nserved\n");
});
