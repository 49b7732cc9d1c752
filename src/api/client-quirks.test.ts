import assert from "node:assert/strict";
import { test } from "node:test";
import { answerFor } from "./client-quirks.ts";

const container = (Type: string) => ({ Id: "x", HostConfig: { LogConfig: { Type, Config: { a: "b" } } } });

test("docker-py reads the output of the default driver, too", () => {
  const answer = answerFor("docker-sdk-python/5.0.3", "containerInspect", container("local"));
  assert.deepEqual(answer, container("json-file"));
});

test("nobody else, no other driver and no other route is told otherwise", () => {
  for (const [agent, route, Type] of [
    ["docker-sdk-python/5.0.3", "containerInspect", "none"],
    ["docker-sdk-python/5.0.3", "containerList", "local"],
    ["Docker-Client/28.2.2 (linux)", "containerInspect", "local"],
    [undefined, "containerInspect", "local"],
  ] as const) {
    assert.deepEqual(answerFor(agent, route, container(Type)), container(Type));
  }
});
