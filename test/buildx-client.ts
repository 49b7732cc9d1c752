import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import type { Socket } from "node:net";
import { Buildx, type Offer } from "../src/build/wire/buildx.fixture.ts";
import type { TestEngine } from "./engine.ts";

/** A client that plays buildx, at an engine. */
export function buildxClient(engine: TestEngine, offer: Offer): Buildx {
  return new Buildx(async (path, headers) => {
    const asked = request({
      socketPath: engine.socket,
      method: "POST",
      path,
      headers: { ...headers, Connection: "Upgrade", Upgrade: "h2c" },
    });
    asked.end();
    const [answer, socket, head] = (await once(asked, "upgrade")) as [{ statusCode: number }, Socket, Buffer];
    assert.equal(answer.statusCode, 101);
    if (head.length > 0) socket.unshift(head);
    return socket;
  }, offer);
}
