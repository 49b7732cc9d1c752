import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { tarOf } from "../archive.ts";
import { startEngine, type TestEngine } from "../engine.ts";

/** What others wait at most, for nearly all of their requests, while a client misbehaves: 50 ms plus a busy machine. */
const NEARLY_ALL_MS = 250;
const USUAL_MS = 50;
/** What all the misbehaving clients of one test may make the engine hold, and what the heap grows by when it is late. */
const MORE_MEMORY_MB = 220;

const JSON_HEAD = "Host: x\r\nContent-Type: application/json\r\n";

describe("clients that misbehave", () => {
  let engine: TestEngine;
  const open: Socket[] = [];

  before(async () => {
    engine = await startEngine();
    const archive = tarOf([{ name: "big", body: randomBytes(48 * 1024 * 1024) }]);
    const imported = await engine.request("POST", "/images/create?fromSrc=-&repo=big", archive, {
      "Content-Type": "application/x-tar",
    });
    assert.equal(imported.status, 200, imported.text);
    await engine.ok("run", "-d", "--name", "loud", "busybox", "sh", "-c", "yes | head -c 30000000; sleep 1000");
    const { json } = await engine.request("GET", "/containers/loud/json");
    assert.equal(json.State.Running, true);
  });
  after(async () => {
    letGo();
    await engine?.[Symbol.asyncDispose]();
  });

  function letGo(): void {
    for (const socket of open.splice(0)) socket.destroy();
  }

  async function connect(): Promise<Socket> {
    const socket = await engine.connection();
    socket.on("error", () => undefined);
    open.push(socket);
    return socket;
  }

  const memory = () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${engine.pid}/status`, "utf8"))?.[1]) / 1024;
  const handles = () => readdirSync(`/proc/${engine.pid}/fd`).length;

  /** Asks as an ordinary client does, again and again, and says how long the answers took. */
  async function askOthers(): Promise<{ median: number; nearlyAll: number }> {
    const times: number[] = [];
    for (let round = 0; round < 60; round++) {
      for (const path of ["/_ping", "/containers/json", "/containers/loud/json"]) {
        const began = performance.now();
        const { status } = await engine.request("GET", path);
        times.push(performance.now() - began);
        assert.equal(status, 200);
      }
    }
    times.sort((a, b) => a - b);
    return { median: times[Math.floor(times.length / 2)]!, nearlyAll: times[Math.floor(times.length * 0.98)]! };
  }

  /** Runs `misbehave`, asks as others do meanwhile, and looks at what the engine holds then and afterwards. */
  function whileOthersAsk(name: string, misbehave: () => Promise<() => void>): void {
    test(`${name}: others are answered at once, memory stays bounded`, async (t) => {
      const began = { memory: memory(), handles: handles() };
      const stop = await misbehave();
      const { median, nearlyAll } = await askOthers();
      const held = memory() - began.memory;
      stop();
      letGo();
      t.diagnostic(
        `median ${median.toFixed(1)} ms, 98 of 100 within ${nearlyAll.toFixed(1)} ms, ${held.toFixed()} MB held`,
      );
      assert.ok(median < USUAL_MS, `${median} ms`);
      assert.ok(nearlyAll < NEARLY_ALL_MS, `${nearlyAll} ms`);
      assert.ok(held < MORE_MEMORY_MB, `${held} MB`);
      const deadline = Date.now() + 10_000;
      while (handles() > began.handles + 5 && Date.now() < deadline) await pause(50);
      assert.ok(handles() <= began.handles + 5, `${began.handles} handles became ${handles()}`);
    });
  }

  const nothing = () => undefined;

  whileOthersAsk("1,000 connections that say nothing", async () => {
    for (let i = 0; i < 1000; i++) await connect();
    return nothing;
  });

  whileOthersAsk("200 heads and bodies that come a byte at a time", async () => {
    const head = `GET /containers/json HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(4000)}`;
    const body = `POST /containers/create HTTP/1.1\r\n${JSON_HEAD}Content-Length: 100000\r\n\r\n{"Image":"${"x".repeat(4000)}`;
    const upgrade = `POST /exec/x/start HTTP/1.1\r\n${JSON_HEAD}Upgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 100000\r\n\r\n{"x":"${"x".repeat(4000)}`;
    const rows = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const text = [head, body, upgrade][i % 3]!;
        const socket = await connect();
        socket.write(text.slice(0, 30));
        return { socket, text, at: 30 };
      }),
    );
    const timer = setInterval(() => {
      for (const row of rows) {
        if (row.at < row.text.length && !row.socket.destroyed) row.socket.write(row.text[row.at++]!);
      }
    }, 20);
    return () => clearInterval(timer);
  });

  whileOthersAsk("100 bodies announced larger than they are", async () => {
    for (let i = 0; i < 100; i++) {
      const path = ["/containers/create", "/volumes/create", "/images/load", "/containers/loud/attach"][i % 4]!;
      const socket = await connect();
      const type = path.includes("load") ? "Host: x\r\nContent-Type: application/x-tar\r\n" : JSON_HEAD;
      socket.write(`POST ${path} HTTP/1.1\r\n${type}Content-Length: 1000000\r\n\r\n{"Image":`);
    }
    return nothing;
  });

  whileOthersAsk("bodies far too large", async () => {
    const timers: NodeJS.Timeout[] = [];
    for (let i = 0; i < 20; i++) {
      const socket = await connect();
      socket.write(`POST /containers/create HTTP/1.1\r\n${JSON_HEAD}Transfer-Encoding: chunked\r\n\r\n`);
      const piece = Buffer.concat([Buffer.from("10000\r\n"), Buffer.alloc(65_536, 32), Buffer.from("\r\n")]);
      timers.push(setInterval(() => socket.writable && !socket.writableNeedDrain && socket.write(piece), 5));
    }
    return () => timers.forEach(clearInterval);
  });

  for (const path of [
    "/images/big/get",
    "/containers/loud/logs?stdout=1&follow=1",
    "/containers/loud/stats",
    "/containers/loud/export",
    "/events?since=1",
  ]) {
    whileOthersAsk(`30 clients that ask for ${path} and never read`, async () => {
      for (let i = 0; i < 30; i++) {
        const socket = await connect();
        socket.pause();
        socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      }
      // Whatever the engine holds for them has been read by now.
      await pause(500);
      return nothing;
    });
  }

  whileOthersAsk("30 attached clients that never read while the container prints", async () => {
    const made = await engine.request("POST", "/containers/create?name=printing", {
      Image: "busybox",
      Cmd: ["sh", "-c", "yes | head -c 20000000"],
      HostConfig: { AutoRemove: true },
    });
    assert.equal(made.status, 201, made.text);
    for (let i = 0; i < 30; i++) {
      const socket = await connect();
      socket.pause();
      socket.write(
        `POST /containers/printing/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n`,
      );
    }
    assert.equal((await engine.request("POST", "/containers/printing/start")).status, 204);
    return nothing;
  });
});
