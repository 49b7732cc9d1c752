import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startEngine, type TestEngine } from "../engine.ts";

describe("many at once", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const create = (name: string, ...command: readonly string[]) =>
    engine.request("POST", `/containers/create?name=${name}`, { Image: "busybox", Cmd: command });
  const post = (path: string, body?: unknown) => engine.request("POST", path, body);

  test("a forced removal at the moment of an exit is never an error", async () => {
    for (let round = 0; round < 15; round++) {
      assert.equal((await create("brief", "true")).status, 201);
      assert.equal((await post("/containers/brief/start")).status, 204);
      const removed = await engine.request("DELETE", "/containers/brief?force=1");
      assert.equal(removed.status, 204, removed.text);
    }
  });

  test("of many creates with one name one wins", async () => {
    const answers = await Promise.all(Array.from({ length: 40 }, () => create("one", "sleep", "600")));
    assert.deepEqual(
      answers.map(({ status }) => status).sort(),
      [201, ...Array.from({ length: 39 }, () => 409)],
      answers.map(({ text }) => text).join(),
    );
    assert.equal((await engine.request("GET", "/containers/json?all=1")).json.length, 1);
    assert.equal((await engine.request("DELETE", "/containers/one")).status, 204);
  });

  test("of many renames to one name one wins, and no name is lost", async () => {
    const names = Array.from({ length: 10 }, (_, index) => `from${index}`);
    await Promise.all(names.map((name) => create(name, "true")));
    const answers = await Promise.all(names.map((name) => post(`/containers/${name}/rename?name=goal`)));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [204, ...Array.from({ length: 9 }, () => 409)]);
    const listed = (await engine.request("GET", "/containers/json?all=1")).json as { Id: string; Names: string[] }[];
    assert.equal(new Set(listed.flatMap(({ Names }) => Names)).size, 10);
    await Promise.all(listed.map(({ Id }) => engine.request("DELETE", `/containers/${Id}`)));
    assert.equal((await create("goal", "true")).status, 201, "its name is still taken");
    assert.equal((await engine.request("DELETE", "/containers/goal")).status, 204);
  });

  test("each of many restarts at once is one", async () => {
    assert.equal((await create("again", "sleep", "600")).status, 201);
    for (let round = 0; round < 3; round++) {
      const answers = await Promise.all(Array.from({ length: 8 }, () => post("/containers/again/restart?t=0")));
      for (const { status, text } of answers) assert.equal(status, 204, text);
    }
    assert.equal((await engine.request("GET", "/containers/again/json")).json.State.Status, "running");
    assert.equal((await engine.request("DELETE", "/containers/again?force=1")).status, 204);
  });

  test("whatever is asked of one container at once, each gets an answer and it ends up whole", async () => {
    assert.equal((await create("busy", "sleep", "600")).status, 201);
    const acts: (() => Promise<{ status: number; text: string }>)[] = [
      () => post("/containers/busy/start"),
      () => post("/containers/busy/kill"),
      () => post("/containers/busy/stop?t=0"),
      () => post("/containers/busy/restart?t=0"),
      () => post("/containers/busy/pause"),
      () => post("/containers/busy/unpause"),
      () => post("/containers/busy/exec", { Cmd: ["true"] }),
      () => engine.request("GET", "/containers/busy/json"),
      () => engine.request("GET", "/containers/busy/top"),
      () => engine.request("GET", "/containers/busy/logs?stdout=1"),
      () => engine.request("DELETE", "/containers/busy"),
    ];
    const answers = await Promise.all(Array.from({ length: 110 }, (_, index) => acts[index % acts.length]?.()));
    for (const answer of answers) assert.ok(answer !== undefined && answer.status < 500, answer?.text);
    const all = (await engine.request("GET", "/containers/json?all=1")).json as { Id: string }[];
    assert.ok(all.length <= 1);
    const removed = await engine.request("DELETE", "/containers/busy?force=1");
    assert.ok(removed.status === 204 || removed.status === 404, removed.text);
    assert.deepEqual((await engine.request("GET", "/containers/json?all=1")).json, []);
  });
});
