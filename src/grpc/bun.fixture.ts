import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Caller } from "./caller.ts";
import { GrpcClient } from "./client.ts";
import { Link } from "./link.ts";
import { asText, bytesMethod, text } from "./pair.fixture.ts";
import { GrpcServer } from "./server.ts";
import { GrpcError } from "./status.ts";

/**
 * Run by Bun with Node's program as argument: dials a Node that listens, and over one connection it calls, over
 * another it does both, over the last it serves. Run by Node (with a path as argument) it is that other side.
 */

const ECHO = bytesMethod("/t.T/Echo");
const STREAM = bytesMethod("/t.T/Stream");
const SIZE = 8 << 20;

function server(): GrpcServer {
  return new GrpcServer()
    .unary(ECHO, (request, call) => {
      if (asText(request) === "fail") throw new GrpcError(5, "nö");
      if (asText(request) === "fail at length")
        throw new GrpcError(5, "ö".repeat(1 << 20), { details: [{ typeUrl: "large", value: new Uint8Array(50_000) }] });
      return text(`${asText(request)} ${call.metadata.get("who")?.join("|")}`);
    })
    .stream(STREAM, async (call) => {
      let total = 0;
      for await (const message of call.messages()) {
        total += message.length;
        await call.send(message);
      }
      await call.send(text(String(total)));
    });
}

async function use(client: Caller): Promise<void> {
  const metadata = new Map([["who", ["a", "b, c"]]]);
  assert.equal(asText(await client.unary(ECHO, text("hi"), { metadata })), "hi a|b, c");
  await assert.rejects(
    client.unary(ECHO, text("fail")),
    (error: GrpcError) => error.code === 5 && error.message === "nö",
  );
  await assert.rejects(client.unary(ECHO, text("fail at length")), (error: GrpcError) => error.code === 5);
  const call = client.open(STREAM);
  const send = async () => {
    for (let sent = 0; sent < SIZE; sent += 32 << 10) await call.send(new Uint8Array(32 << 10));
    call.end();
  };
  const sending = send();
  let last: Uint8Array = text("");
  let total = 0;
  for await (const message of call.messages()) {
    last = message;
    total += message.length;
  }
  await sending;
  assert.equal(asText(last), String(SIZE));
  assert.equal(total, SIZE + String(SIZE).length);
}

if (process.versions.bun === undefined) await listen(process.argv[2]!);
else await dial(process.argv[2]!);

async function listen(path: string): Promise<void> {
  const listener = createServer();
  let count = 0;
  listener.on("connection", (socket: Socket) => {
    count++;
    if (count === 1) {
      server().serve(socket);
      return;
    }
    if (count === 2) {
      // Calls both ways at once.
      void use(new Link(socket, { dialled: false, server: server() }));
      return;
    }
    const client = new GrpcClient(socket);
    void use(client).then(
      () => {
        client.close();
        listener.close();
        process.exit(0);
      },
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
  await new Promise<void>((resolve) => listener.listen(path, resolve));
  console.log("ready");
}

async function dial(node: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "gantry-grpc-"));
  try {
    const path = join(folder, "s");
    const other = spawn(node, [fileURLToPath(import.meta.url), path], { stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(other, "exit");
    await once(other.stdout, "data");
    const first = connect(path);
    await once(first, "connect");
    const client = new GrpcClient(first);
    await use(client);
    process.stdout.write("called\n");
    const both = connect(path);
    await once(both, "connect");
    const link = new Link(both, { dialled: true, server: server() });
    await Promise.all([use(link), use(link)]);
    link.close();
    process.stdout.write("both\n");
    const second = connect(path);
    await once(second, "connect");
    server().serve(second);
    assert.equal((await exited)[0], 0);
    process.stdout.write("served\n");
    client.close();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  process.exit(0);
}
