import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProgressMessage } from "../api/image.ts";
import { cancelled } from "../base/abort.ts";
import { Flights } from "./flights.ts";

const row = (id: string, status: string): ProgressMessage => ({ id, status, progressDetail: {} });

test("who asks while an act runs gets the same, and is told first what happened so far", async () => {
  const flights = new Flights();
  const go = Promise.withResolvers<void>();
  let runs = 0;
  const act = async ({ onProgress }: { onProgress: (message: ProgressMessage) => void }): Promise<void> => {
    runs++;
    onProgress({ status: "begun" });
    onProgress(row("a", "1"));
    onProgress(row("b", "1"));
    onProgress(row("a", "2"));
    await go.promise;
    onProgress(row("b", "2"));
    onProgress({ status: "ended" });
  };
  const [first, second]: string[][] = [[], []];
  const listen = (told: string[]) => (message: ProgressMessage) =>
    void told.push(`${message.id ?? ""}${message.status}`);
  const one = flights.run("key", { onProgress: listen(first!) }, act);
  await Promise.resolve();
  await Promise.resolve();
  const two = flights.run("key", { onProgress: listen(second!) }, act);
  go.resolve();
  await Promise.all([one, two]);
  assert.equal(runs, 1);
  assert.deepEqual(first, ["begun", "a1", "b1", "a2", "b2", "ended"]);
  assert.deepEqual(second, ["begun", "a2", "b1", "b2", "ended"]);
  await flights.run("key", {}, act);
  assert.equal(runs, 2, "an act that has ended is not joined");
});

test("another key is another act", async () => {
  const flights = new Flights();
  const seen: string[] = [];
  const act = (name: string) => async () => void seen.push(name);
  await Promise.all([flights.run("a", {}, act("a")), flights.run("b", {}, act("b"))]);
  assert.deepEqual(seen.sort(), ["a", "b"]);
});

test("an act ends when the last who wanted it has left, and who comes then begins another", async () => {
  const flights = new Flights();
  const signals: AbortSignal[] = [];
  const undone = Promise.withResolvers<void>();
  const act = ({ signal }: { signal: AbortSignal }): Promise<void> => {
    signals.push(signal);
    return new Promise((_, reject) =>
      signal.addEventListener("abort", () => void undone.promise.then(() => reject(cancelled()))),
    );
  };
  const [one, two] = [new AbortController(), new AbortController()];
  const first = flights.run("key", { signal: one.signal }, act);
  const second = flights.run("key", { signal: two.signal }, act);
  await Promise.resolve();
  one.abort();
  await assert.rejects(first, { kind: "cancelled" });
  assert.equal(signals[0]?.aborted, false);
  two.abort();
  assert.equal(signals[0]?.aborted, true);
  let isOver = false;
  const over = second.catch(() => {
    isOver = true;
  });
  const third = flights.run("key", {}, async () => {});
  await third;
  assert.equal(isOver, false, "the last to leave waits until what was begun is undone");
  undone.resolve();
  await over;
  await assert.rejects(flights.run("key", { signal: AbortSignal.abort() }, act), { kind: "cancelled" });
});

test("a failure is everybody's", async () => {
  const flights = new Flights();
  const act = (): Promise<void> => Promise.reject(new Error("no"));
  const both = await Promise.allSettled([flights.run("key", {}, act), flights.run("key", {}, act)]);
  assert.deepEqual(
    both.map(({ status }) => status),
    ["rejected", "rejected"],
  );
});
