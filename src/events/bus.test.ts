import assert from "node:assert/strict";
import { test } from "node:test";
import { EventBus } from "./bus.ts";

const draft = (id: string, label = "") => ({ type: "container", action: "create", id, attributes: { label } }) as const;

test("the last events are kept, as many as there is room for", () => {
  const bus = new EventBus(3);
  for (const id of ["a", "b", "c", "d"]) bus.publish(draft(id));
  assert.deepEqual(
    bus.past(0).map(({ Actor }) => Actor.ID),
    ["b", "c", "d"],
  );
});

test("large events take the room of many, and even the largest reaches who listens", () => {
  const bus = new EventBus();
  const heard: string[] = [];
  bus.subscribe(({ Actor }) => heard.push(Actor.ID));
  for (let count = 0; count < 40; count++) bus.publish(draft(String(count), "x".repeat(1 << 20)));
  assert.equal(bus.past(0).length, 15);
  bus.publish(draft("huge", "x".repeat(20 << 20)));
  assert.equal(bus.past(0).length, 0);
  bus.publish(draft("small"));
  assert.deepEqual(heard.slice(-2), ["huge", "small"]);
  assert.equal(bus.past(0).length, 1);
});
