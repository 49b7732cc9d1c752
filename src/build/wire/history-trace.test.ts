import assert from "node:assert/strict";
import { test } from "node:test";
import type { BuildRecord } from "../builder.ts";
import type { BuildEvent } from "../progress.ts";
import { HistoryTrace } from "./history-trace.ts";

const RECORD = { id: "r", name: "app", createdAt: 1_000.25, completedAt: 9_000, error: "it failed" } as BuildRecord;

function vertex(digest: string, times: { started?: number; completed?: number; error?: string }): BuildEvent {
  return { type: "vertex", vertex: { digest, inputs: [], name: `step ${digest}`, cached: false, ...times } };
}

async function spansOf(events: readonly BuildEvent[]) {
  const trace = new HistoryTrace();
  for (const event of events) trace.add(event);
  const text = (await trace.document(RECORD)).toString();
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

test("a build's steps are spans below its own, with what happened in them below these", async () => {
  const row = { vertex: "a", id: "layer", name: "sending", current: 1, total: 1, timestamp: 5 };
  const [top, a, b, sent] = await spansOf([
    vertex("a", {}),
    vertex("a", { started: 2_000 }),
    vertex("a", { started: 2_000, completed: 3_000 }),
    { type: "status", status: { ...row, started: 2_100, completed: 2_200 } },
    { type: "status", status: { ...row, id: "open", started: 2_100 } },
    vertex("b", { started: 4_000, error: "no" }),
  ]);
  assert.deepEqual(
    [top.Name, top.StartTime, top.EndTime],
    ["build app", "1970-01-01T00:00:01.000250000Z", "1970-01-01T00:00:09.000000000Z"],
  );
  assert.deepEqual(top.Status, { Code: 1, Description: "it failed" });
  assert.deepEqual(
    [a.Name, a.Parent.SpanID, a.EndTime],
    ["step a", top.SpanContext.SpanID, "1970-01-01T00:00:03.000000000Z"],
  );
  // What never told its end ended with the build.
  assert.deepEqual([b.Name, b.EndTime, b.Status.Description], ["step b", top.EndTime, "no"]);
  assert.deepEqual([sent.Name, sent.Parent.SpanID], ["sending", a.SpanContext.SpanID]);
  assert.equal(new Set([top, a, b, sent].map(({ SpanContext }) => SpanContext.TraceID)).size, 1);
});

test("equal events are equal bytes, of which there are not too many", async () => {
  const many = Array.from({ length: 30_000 }, (_, at) => vertex(`${at}`, { started: at, completed: at }));
  const spans = await spansOf(many);
  assert.deepEqual(await spansOf(many), spans);
  assert.equal(spans.length, 10_000);
});

test("a long one is written in turns", async () => {
  const trace = new HistoryTrace();
  for (let at = 0; at < 10_000; at++) trace.add(vertex(`${at}`, { started: at, completed: at }));
  let isWritten = false;
  const writing = trace.document(RECORD).then(() => {
    isWritten = true;
  });
  await new Promise(setImmediate);
  assert.equal(isWritten, false);
  await writing;
});
