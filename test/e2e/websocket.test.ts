import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { type RawData, WebSocket } from "ws";
import { startEngine, type TestEngine } from "../engine.ts";

describe("attaching over a WebSocket", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const tty of [false, true]) {
    test(`a ${tty ? "terminal" : "container without one"} gets input and gives output without headers`, async () => {
      const config = { Image: "busybox", Cmd: ["sh", "-c", "read x; echo got $x; echo err >&2"], Tty: tty };
      const made = await engine.request("POST", "/containers/create", { ...config, OpenStdin: true });
      const id = made.json.Id as string;
      assert.equal((await engine.request("POST", `/containers/${id}/start`)).status, 204);
      const query = "stream=1&stdin=1&stdout=1&stderr=1";
      const client = new WebSocket(`ws+unix://${engine.socket}:/v1.51/containers/${id}/attach/ws?${query}`);
      let text = "";
      client.on("message", (data: RawData, isBinary: boolean) => {
        assert.ok(isBinary);
        text += (data as Buffer).toString();
      });
      await once(client, "open");
      client.send("a line\n");
      const [code] = (await once(client, "close")) as [number];
      assert.equal(code, 1000, "the end of the container is a clean close");
      const lines = text.split(/\r?\n/);
      assert.ok(lines.includes("got a line") && lines.includes("err"), JSON.stringify(text));
    });
  }

  test("a client that leaves takes nothing with it but its input", async () => {
    const body = { Image: "busybox", Cmd: ["sleep", "1000"], OpenStdin: true };
    const id = (await engine.request("POST", "/containers/create", body)).json.Id as string;
    await engine.request("POST", `/containers/${id}/start`);
    const client = new WebSocket(`ws+unix://${engine.socket}:/containers/${id}/attach/ws?stream=1&stdout=1`);
    await once(client, "open");
    client.terminate();
    assert.equal((await engine.request("GET", `/containers/${id}/json`)).json.State.Running, true);
  });
});
