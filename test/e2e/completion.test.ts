import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { findProgram } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { Terminal } from "../terminal.ts";

const BIN = fileURLToPath(new URL("../../bin", import.meta.url));

const SHELLS = {
  bash: { args: ["--norc", "--noprofile", "-i"], load: "source <(gantry completion bash)" },
  zsh: { args: ["-f", "-i"], load: "source <(gantry completion zsh)" },
  fish: { args: ["--no-config", "-i"], load: "gantry completion fish | source" },
} as const;

describe("completion in a person's shell", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
    const post = (path: string, body?: unknown) => engine.request("POST", path, body);
    for (const name of ["weaver", "idler"])
      await post(`/containers/create?name=${name}`, { Image: "busybox", Cmd: ["sleep", "600"] });
    await post("/containers/weaver/start");
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const [shell, { args, load }] of Object.entries(SHELLS)) {
    const program = findProgram(shell);
    test(`${shell} fills in commands, flags, names and files`, {
      skip: program === undefined && `${shell} is not installed`,
    }, async () => {
      await using terminal = new Terminal(program ?? "", args, {
        PATH: `${BIN}:${process.env.PATH}`,
        HOME: engine.root,
        XDG_CONFIG_HOME: engine.root,
        XDG_DATA_HOME: engine.root,
        DOCKER_CONFIG: engine.root,
        GANTRY_HOST: `unix://${engine.socket}`,
        // Neither colours nor a screen to draw on: what is shown is the line.
        TERM: "dumb",
        LANG: "C.UTF-8",
      });
      // Put together by the shell, so that its echo is not taken for its answer.
      const say = async (line: string, mark: string) => {
        terminal.type(`${line}; echo ${mark}""_done\r`);
        await terminal.shows(new RegExp(`${mark}_done`));
      };
      await say(load, "loaded");
      // Each line is carried out as it was filled in.
      for (const [typed, shown] of [
        ["echo is; gantry container insp\t weav\t --format 'is {{.Name}} {{.State.Status}}'", /is \/weaver running/],
        ["gantry ps --filter name=weaver --form\t'one {{.Names}}'", /one weaver/],
        ["gantry stop -t 0 w\t", /^weaver/m],
        ["gantry start id\t", /^idler/m],
      ] as const) {
        terminal.type(typed);
        await new Promise((resolve) => setTimeout(resolve, 700));
        terminal.type("\r");
        await terminal.shows(shown);
      }
      const states = (await engine.request("GET", "/containers/json?all=1")).json as {
        Names: string[];
        State: string;
      }[];
      assert.deepEqual(Object.fromEntries(states.map(({ Names, State }) => [Names[0], State])), {
        "/weaver": "exited",
        "/idler": "running",
      });
      await engine.request("POST", "/containers/weaver/start");
      await engine.request("POST", "/containers/idler/kill");
    });
  }
});
