import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync, mkdtempSync, rmSync } from "node:fs";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Logger } from "../base/log.ts";
import { Readiness } from "../kernel/readiness.ts";
import { acceptUnix, listenUnix, unixSocketPair } from "../kernel/unix-socket.ts";
import { ControlConnection } from "./control-connection.ts";
import type { ExecProcess } from "./process.ts";
import { SupervisorClient } from "./supervisor-client.ts";

/** Answers everything with nothing, and tells what it was asked. */
function fakeSupervisor(path: string) {
  const asked: string[] = [];
  const connections: ControlConnection[] = [];
  const listening = listenUnix(path);
  const readiness = new Readiness(listening, () => {
    for (let fd = acceptUnix(listening); fd !== undefined; fd = acceptUnix(listening)) {
      const connection: ControlConnection = new ControlConnection(
        fd,
        (message, received) => {
          const { op, request } = message as { op: string; request: number };
          if (received !== undefined) closeSync(received);
          asked.push(op);
          connection.send({ reply: request, value: null });
        },
        () => {},
      );
      connections.push(connection);
    }
  });
  readiness.watch(true);
  const disconnect = () => {
    for (const connection of connections.splice(0)) connection.close();
  };
  return {
    asked,
    disconnect,
    [Symbol.dispose]: () => {
      disconnect();
      readiness.close();
      closeSync(listening);
    },
  };
}

test("a client is attached before the exec that is asked for after it, also over a new connection", async () => {
  const execRoot = mkdtempSync(join(tmpdir(), "gantry-order-"));
  try {
    using supervisor = fakeSupervisor(join(execRoot, "supervisor.sock"));
    const log = new Logger("fatal");
    await using closing = new AsyncDisposableStack();
    const client = await SupervisorClient.connect({ execRoot, nodePath: "/none", supervisorScript: "/none", log });
    closing.defer(() => client.close());
    for (const lost of [false, true]) {
      if (lost) {
        supervisor.disconnect();
        await assert.rejects(client.sync());
      }
      supervisor.asked.length = 0;
      const [mine, theirs] = unixSocketPair();
      closing.defer(() => closeSync(theirs));
      const socket = new Socket({ fd: mine });
      const stream = { stdin: false, stdout: true, stderr: true, multiplexed: true };
      const session = { id: "c", execId: "e", head: new Uint8Array(), detachKeys: new Uint8Array() };
      const attached = client.attach({ ...session, ...stream, socket });
      await client.exec({ id: "c", execId: "e" } as ExecProcess);
      await attached.ready;
      assert.deepEqual(supervisor.asked, ["attach", "exec"]);
      if (!socket.destroyed) await once(socket.destroy(), "close");
    }
  } finally {
    rmSync(execRoot, { recursive: true, force: true });
  }
});
