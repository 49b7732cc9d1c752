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

test("docker-compose 1.29 finds the image's ContainerConfig, which newer versions of the API leave out", () => {
  const image = { Id: "x", Config: {}, Size: 1 };
  const agent = "docker-compose/1.29.2 docker-py/5.0.3 Linux/6.1";
  const seen = answerFor(agent, "imageInspect", image) as { ContainerConfig?: { Volumes: unknown } };
  assert.equal(seen.ContainerConfig?.Volumes, null);
  for (const other of ["docker-compose/2.24.0", "docker-sdk-python/7.1.0", undefined])
    assert.deepEqual(answerFor(other, "imageInspect", image), image);
});
