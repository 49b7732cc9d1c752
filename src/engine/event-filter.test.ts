import assert from "node:assert/strict";
import { test } from "node:test";
import type { EventMessage, EventType } from "../api/event.ts";
import type { Filters } from "../api/filters.ts";
import { eventFilter } from "./event-filter.ts";

function anEvent(Type: EventType, Action: string, ID: string, Attributes: Record<string, string>): EventMessage {
  return { Type, Action, Actor: { ID, Attributes }, scope: "local", time: 1, timeNano: 1_000_000_000n };
}

test("each key narrows, each further value of a key widens", () => {
  const start = anEvent("container", "start", "abc123", { name: "web", image: "nginx:1", tier: "front" });
  const exec = anEvent("container", "exec_create: ls", "abc123", { name: "web", image: "nginx:1" });
  const tag = anEvent("image", "tag", "sha256:1", { name: "nginx:1" });
  const table: [Filters, EventMessage, boolean][] = [
    [{}, start, true],
    [{ container: ["web"] }, start, true],
    [{ container: ["abc"] }, start, true],
    [{ container: ["we"] }, start, true],
    [{ container: ["eb"] }, start, false],
    [{ container: ["other", "web"] }, start, true],
    [{ container: ["other"] }, start, false],
    [{ container: ["web"] }, tag, false],
    [{ event: ["exec_create"] }, exec, true],
    [{ event: ["exec"] }, exec, false],
    [{ event: ["exec_create: ls"] }, exec, true],
    [{ scope: ["swarm"] }, exec, false],
    [{ node: ["abc"] }, exec, false],
    [{ event: ["start"], container: ["other"] }, start, false],
    [{ label: ["tier"] }, start, true],
    [{ label: ["tier=front", "none"] }, start, false],
    [{ image: ["nginx"] }, start, true],
    [{ image: ["nginx"] }, tag, true],
    [{ image: ["nginx:2"] }, start, false],
    [{ type: ["image", "network"] }, tag, true],
  ];
  for (const [filters, event, expected] of table) {
    assert.equal(eventFilter(filters)(event), expected, JSON.stringify(filters));
  }
  assert.throws(() => eventFilter({ bogus: ["x"] }), { kind: "invalid", message: "invalid filter 'bogus'" });
});
