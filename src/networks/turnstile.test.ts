import assert from "node:assert/strict";
import { closeSync, openSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";
import { bindSocket, boundPort, connectSocket, receiveSome, sendSome } from "../kernel/bound-socket.ts";
import { Allowance } from "./allowance.ts";
import { type Gate, Turnstile, type Visitor } from "./turnstile.ts";

const DEADLINE_MS = 20_000;

/** A descriptor that can always be written to. */
const always = () => openSync("/dev/null", "w");

function spin(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

/** Rejects late; nothing else goes on meanwhile that would wake the event loop. */
async function inTime(what: Promise<unknown>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("it never came to pass")), DEADLINE_MS);
  await Promise.race([what, late.promise]).finally(() => clearTimeout(timer));
}

/** Something at a socket that counts its steps, until it has no more. */
class Steps implements Visitor {
  readonly awaits = "reading";
  done = Promise.withResolvers<void>();
  readonly gate: Gate;
  readonly #client: number;
  left: number;

  constructor(turnstile: Turnstile, left: number, ms: number, onStep: () => void = () => {}) {
    this.left = left;
    const fd = bindSocket("udp", "127.0.0.1", 0);
    this.#client = connectSocket("udp", "127.0.0.1", boundPort(fd));
    this.step = () => {
      if (this.left === 0) return receiveSome(fd, Buffer.alloc(8)) !== undefined;
      spin(ms);
      onStep();
      if (--this.left === 0) this.done.resolve();
      return true;
    };
    this.gate = turnstile.admit(fd, this);
  }

  step: () => boolean;

  knock(): void {
    sendSome(this.#client, Buffer.from("x"));
  }

  close(): void {
    this.gate.close();
    closeSync(this.#client);
  }
}

describe("a turnstile", () => {
  const free = () => new Allowance({ share: 1, mostMs: 100_000 });
  const strict = (error: unknown) => assert.fail(String(error));

  test("goes on while there is more to do, whether or not anything else wakes the loop", async () => {
    const turnstile = new Turnstile(free(), strict);
    const one = new Steps(turnstile, 200, 0.05);
    one.knock();
    await inTime(one.done.promise);
    // All that came was taken: what comes next is noticed, too.
    one.left = 1;
    one.done = Promise.withResolvers();
    one.knock();
    await inTime(one.done.promise);
    one.close();
    turnstile.close();
  });

  test("lets others of the process have their turn, and its visitors in turns", async () => {
    const turnstile = new Turnstile(free(), strict);
    const order: string[] = [];
    const visitors = ["a", "b"].map((name) => new Steps(turnstile, 100, 0.1, () => order.push(name)));
    for (const each of visitors) each.knock();
    let turns = 0;
    let isOver = false;
    const count = () => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    count();
    await inTime(Promise.all(visitors.map(({ done }) => done.promise)));
    isOver = true;
    assert.ok(turns > 10, `others had ${turns} turns in 20 ms`);
    const half = order.slice(0, 100).filter((name) => name === "a").length;
    assert.ok(half > 30 && half < 70, `one had ${half} of the first hundred steps`);
    for (const each of visitors) each.close();
    turnstile.close();
  });

  test("has them wait when the allowance is used up, and lets one who failed rest", async () => {
    const complaints: unknown[] = [];
    const turnstile = new Turnstile(new Allowance({ share: 0.1, mostMs: 1 }), (error) => complaints.push(error));
    const one = new Steps(turnstile, 20, 1);
    const failing = new Steps(turnstile, 1, 0, () => assert.fail("no descriptor is free"));
    const begun = performance.now();
    one.knock();
    failing.knock();
    await inTime(one.done.promise);
    assert.ok(performance.now() - begun > 100, "20 ms are 200 at a tenth, or a little less");
    assert.equal(complaints.length, 1);
    one.close();
    failing.close();
    turnstile.close();
  });

  test("leaves nothing open, and serves nobody who is gone", async () => {
    const before = readdirSync("/proc/self/fd").length;
    const turnstile = new Turnstile(free(), strict);
    let steps = 0;
    const asked = Promise.withResolvers<void>();
    const gate: Gate = turnstile.admit(always(), {
      awaits: "nothing",
      step: () => {
        steps++;
        gate.close();
        asked.resolve();
        return true;
      },
    });
    gate.call();
    await inTime(asked.promise);
    gate.call();
    gate.close();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(steps, 1);
    turnstile.close();
    assert.equal(readdirSync("/proc/self/fd").length, before);
  });
});
