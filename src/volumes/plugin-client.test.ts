import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { GantryError } from "../base/errors.ts";
import { callPlugin } from "./plugin-client.ts";

/** What a plugin sends instead of an answer, whatever it is asked. */
const NONSENSE: Readonly<Record<string, { readonly says: string; readonly ends?: boolean; readonly why: RegExp }>> = {
  "an offer to speak another protocol": {
    says: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    why: /it ended the connection without an answer/,
  },
  "half an answer": {
    says: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
    ends: true,
    why: /its answer was cut off/,
  },
  "an answer that never ends": {
    says: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
    why: /no answer within 0.3 seconds/,
  },
  "another protocol": { says: "SSH-2.0-x\r\n", why: /Parse Error/ },
};

for (const [what, { says, ends = false, why }] of Object.entries(NONSENSE)) {
  test(`a call that is answered with ${what} fails at once, and is made once`, async () => {
    const root = mkdtempSync(join(tmpdir(), "gantry-plugin-"));
    const path = join(root, "p.sock");
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket.on("error", () => {}));
      if (ends) socket.end(says);
      else socket.write(says);
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      const patience = { timeoutMs: 300, retryMs: 2000, signal: AbortSignal.timeout(5000) };
      await assert.rejects(callPlugin("p", { kind: "unix", path }, "VolumeDriver.Mount", {}, patience), (error) => {
        assert.ok(error instanceof GantryError, String(error));
        assert.match(error.message, why);
        return error.kind === "unavailable";
      });
      assert.equal(sockets.length, 1);
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
      rmSync(root, { recursive: true, force: true });
    }
  });
}
