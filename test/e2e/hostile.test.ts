import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startEngine, type TestEngine } from "../engine.ts";

describe("hostile requests", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const filtered = (path: string, filters: string) =>
    engine.request("GET", `${path}?filters=${encodeURIComponent(filters)}`);

  for (const key of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
    test(`a filter called ${key} is none`, async () => {
      for (const path of ["/containers/json", "/images/json", "/events", "/networks", "/volumes"]) {
        const { status, text } = await filtered(path, `{"${key}":["x"]}`);
        assert.equal(status, 400, `${path}: ${text}`);
        assert.match(text, /invalid filter/);
      }
    });
  }

  test("an expression that would run away is answered like another", async () => {
    const name = "a".repeat(100);
    const made = await engine.request("POST", `/containers/create?name=${name}`, { Image: "busybox", Cmd: ["true"] });
    assert.equal(made.status, 201, made.text);
    const started = performance.now();
    for (const pattern of ["^(a|a)*b", `${"a?".repeat(100)}${"a".repeat(100)}b`, "(a+)+b", `${"(a|a)".repeat(90)}b`]) {
      const { status, json } = await filtered(
        "/containers/json",
        JSON.stringify({ name: [pattern], status: ["created"] }),
      );
      assert.equal(status, 200, pattern);
      assert.deepEqual(json, [], pattern);
    }
    assert.equal((await filtered("/containers/json", '{"name":["^/?a+$"],"status":["created"]}')).json.length, 1);
    assert.ok(performance.now() - started < 5_000, "the engine was held up");
    assert.equal((await engine.request("DELETE", `/containers/${name}`)).status, 204);
  });

  test("a thousand clients that connect at once and never read are all let in, and hold up nobody", async () => {
    const made = await engine.request("POST", "/containers/create?name=watched", {
      Image: "busybox",
      Cmd: ["sh", "-c", "while :; do echo line; sleep 0.01; done"],
    });
    assert.equal((await engine.request("POST", `/containers/${made.json.Id}/start`)).status, 204);
    const opened = () => readdirSync(`/proc/${engine.pid}/fd`).length;
    const before = opened();
    const heads = ["/events", "/containers/watched/stats", "/containers/watched/logs?stdout=1&follow=1"];
    const clients = await Promise.all(
      Array.from({ length: 1000 }, async (_, n) => {
        const client = await engine.connection();
        client.on("error", () => {}).pause();
        client.write(n % 4 === 3 ? "GET /events HTTP/1.1\r\nHost" : `GET ${heads[n % 4]} HTTP/1.1\r\nHost: x\r\n\r\n`);
        return client;
      }),
    );
    const took: number[] = [];
    for (let n = 0; n < 20; n++) {
      const began = performance.now();
      assert.equal((await engine.request("GET", "/containers/json")).status, 200);
      took.push(performance.now() - began);
    }
    took.sort((a, b) => a - b);
    assert.ok(took[10]! < 500, `half of the answers took longer than ${took[10]} ms`);
    for (const client of clients) client.destroy();
    const deadline = Date.now() + 10_000;
    while (opened() > before + 4 && Date.now() < deadline) await engine.request("GET", "/_ping");
    assert.ok(opened() <= before + 4, `descriptors: ${before} became ${opened()}`);
    assert.equal((await engine.request("DELETE", "/containers/watched?force=1")).status, 204);
  });

  test("no value of a limit makes the engine or the start fail unheard", async () => {
    const fields = [
      "Memory",
      "MemorySwap",
      "NanoCpus",
      "CpuShares",
      "CpuPeriod",
      "CpuQuota",
      "PidsLimit",
      "BlkioWeight",
    ];
    for (const field of [...fields, "OomScoreAdj", "ShmSize", "MemoryReservation"]) {
      for (const value of [-1, -2, 1, 2 ** 53, -(2 ** 53), 1e30]) {
        const HostConfig = { [field]: value };
        const made = await engine.request("POST", "/containers/create", {
          Image: "busybox",
          Cmd: ["true"],
          HostConfig,
        });
        assert.ok(made.status === 201 || made.status === 400, `${field}=${value}: ${made.text}`);
        if (made.status === 201) await engine.request("DELETE", `/containers/${made.json.Id}?force=1`);
      }
    }
  });

  test("a CPU quota below 0 is none", async () => {
    const { code, stderr } = await engine.docker("run", "--rm", "--cpu-quota", "-1", "busybox", "true");
    assert.equal(code, 0, stderr);
  });

  test("a client that leaves in the midst of an archive is no error of the engine's", async () => {
    for (const path of ["/images/load", "/images/create?fromSrc=-&repo=half"]) {
      const socket = await engine.connection();
      socket.on("error", () => {});
      socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n200\r\nabc`);
      await engine.request("GET", "/_ping");
      socket.destroy();
      await once(socket, "close");
    }
    await engine.request("GET", "/_ping");
    assert.doesNotMatch(engine.log, /"level":"error"/);
  });

  test("clients that leave a save at any moment keep no file open and no blob from being removed", async () => {
    const opened = () =>
      readdirSync(`/proc/${engine.pid}/fd`).filter((fd) => linkOf(`/proc/${engine.pid}/fd/${fd}`).includes("/blobs/"));
    for (let round = 0; round < 60; round++) {
      const socket = await engine.connection();
      socket.on("error", () => {});
      socket.write("GET /images/busybox/get HTTP/1.1\r\nHost: x\r\n\r\n");
      if (round % 3 === 1) await new Promise((resolve) => setImmediate(resolve));
      if (round % 3 === 2) await once(socket, "data");
      socket.destroy();
      await once(socket, "close");
    }
    const deadline = Date.now() + 5_000;
    while (opened().length > 0 && Date.now() < deadline) await engine.request("GET", "/_ping");
    assert.deepEqual(opened(), []);
    await engine.bootstrap("busybox");
    assert.equal((await engine.request("DELETE", "/images/busybox?force=1")).status, 200);
    const blobs = join(engine.dataRoot, "content/blobs/sha256");
    while (readdirSync(blobs).length > 0 && Date.now() < deadline) await engine.request("GET", "/_ping");
    assert.deepEqual(readdirSync(blobs), []);
  });
});

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
