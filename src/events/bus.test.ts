import assert from "node:assert/strict";
import { test } from "node:test";
import { eventJson, parseEvent } from "../api/event.ts";
import { EventBus } from "./bus.ts";

const draft = (id: string, label = "") => ({ type: "container", action: "create", id, attributes: { label } }) as const;

test("the last events are kept, as many as there is room for", () => {
  const bus = new EventBus({ capacity: 3 });
  for (const id of ["a", "b", "c", "d"]) bus.publish(draft(id));
  assert.deepEqual(
    bus.past(0n).map(({ Actor }) => Actor.ID),
    ["b", "c", "d"],
  );
});

test("large events take the room of many, and even the largest reaches who listens", () => {
  const bus = new EventBus();
  const heard: string[] = [];
  bus.subscribe(({ Actor }) => heard.push(Actor.ID));
  for (let count = 0; count < 40; count++) bus.publish(draft(String(count), "x".repeat(1 << 20)));
  assert.equal(bus.past(0n).length, 15);
  bus.publish(draft("huge", "x".repeat(20 << 20)));
  assert.equal(bus.past(0n).length, 0);
  bus.publish(draft("small"));
  assert.deepEqual(heard.slice(-2), ["huge", "small"]);
  assert.equal(bus.past(0n).length, 1);
});

test("times are exact to the nanosecond, never repeat and never go back", () => {
  const clock = [
    1_763_772_011_123_456_789n,
    1_763_772_011_123_456_789n,
    1_763_772_011_000_000_000n,
    1_763_772_011_123_456_799n,
  ];
  const bus = new EventBus({ now: () => clock.shift()! });
  for (const id of ["a", "b", "c", "d"]) bus.publish(draft(id));
  assert.deepEqual(
    bus.past(0n).map(({ timeNano }) => timeNano % 1000n),
    [789n, 790n, 791n, 799n],
  );
  const from = (since: bigint, until?: bigint) => bus.past(since, until).map(({ Actor }) => Actor.ID);
  assert.deepEqual(from(1_763_772_011_123_456_790n), ["b", "c", "d"]);
  assert.deepEqual(from(1_763_772_011_123_456_790n, 1_763_772_011_123_456_791n), ["b", "c"]);
});

test("an event's JSON keeps each digit of its time, there and back", () => {
  const bus = new EventBus({ now: () => 1_763_772_011_123_456_789n });
  bus.publish(draft("a", "timeNano"));
  const [event] = bus.past(0n);
  const text = eventJson(event!);
  assert.match(text, /"time":1763772011,"timeNano":1763772011123456789}$/);
  assert.deepEqual({ from: undefined, ...parseEvent(text) }, event);
  assert.equal(parseEvent('{"Type":"x","time":5}').timeNano, 5_000_000_000n);
});
