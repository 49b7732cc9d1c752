import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { findProgram } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";

const COMPOSE = findProgram("docker-compose");
const NO_COMPOSE = COMPOSE === undefined ? "docker-compose 1.x is not on the PATH" : false;

const FILE = `version: "2.4"
services:
  web:
    image: busybox
    init: true
    command: sh -c "echo hello > /data/index; nc -ll -p 80 -e cat /data/index"
    volumes: ["content:/data"]
    networks:
      default:
        aliases: [www]
  client:
    image: busybox
    init: true
    depends_on: [web]
    command: sh -c "until nc -w 2 web 80 < /dev/null; do :; done; echo ready; exec sleep 600"
    volumes: ["content:/seen:ro"]
volumes:
  content: {}
`;

describe("docker-compose 1.x", { skip: NO_COMPOSE }, () => {
  let engine: TestEngine;
  let folder: string;
  before(async () => {
    engine = await startEngine();
    folder = join(engine.root, "project");
    mkdirSync(folder);
    writeFileSync(join(folder, "docker-compose.yml"), FILE);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  async function compose(...args: string[]): Promise<string> {
    const all = ["--project-name", "pair", "--file", join(folder, "docker-compose.yml"), "--ansi", "never", ...args];
    const { code, stdout, stderr } = await engine.run(COMPOSE!, all, { timeoutMs: 60_000 });
    assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
    return args[0] === "up" ? stderr : stdout;
  }

  const names = async (path: string): Promise<string[]> => {
    const { json } = await engine.request("GET", path);
    return ((json.Volumes ?? json) as { Name: string }[]).map(({ Name }) => Name);
  };

  test("brings two services up that find each other, and takes all of it down again", async () => {
    await compose("up", "-d");
    assert.ok((await names("/networks")).includes("pair_default"));
    assert.deepEqual(await names("/volumes"), ["pair_content"]);
    assert.match(await compose("ps"), /pair_client_1 .* Up[\s\S]*pair_web_1 .* Up/);
    const id = (await compose("ps", "-q", "client")).trim();
    await engine.run("sh", ["-c", `until docker logs ${id} | grep -q ready; do :; done`], { timeoutMs: 20_000 });
    assert.match(await compose("logs", "client"), /client_1 +\| hello\n[\s\S]*ready/);
    assert.equal(await compose("exec", "-T", "client", "cat", "/seen/index"), "hello\n");
    for (const name of ["web", "www", "pair_web_1"]) {
      assert.equal(
        await compose("exec", "-T", "client", "sh", "-c", `nc -w 2 ${name} 80 < /dev/null`),
        "hello\n",
        name,
      );
    }
    // A second time nothing changes.
    assert.match(await compose("up", "-d"), /pair_web_1 is up-to-date/);
    assert.equal((await compose("ps", "-q", "client")).trim(), id);
    await compose("down", "--volumes", "--timeout", "1");
    assert.deepEqual(await names("/volumes"), []);
    assert.ok(!(await names("/networks")).includes("pair_default"));
    assert.deepEqual((await engine.request("GET", "/containers/json?all=1")).json, []);
  });
});
