import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { FakeEngine } from "../engine.fixture.ts";
import { COMPLETION_SCRIPTS } from "./scripts.ts";
import { wordsOf } from "./words.ts";

const run = promisify(execFile);
const MAIN = new URL("../main.ts", import.meta.url).pathname;

async function completionEngine(): Promise<FakeEngine> {
  const engine = await new FakeEngine().listen();
  const rows = [
    { Id: "1".repeat(64), Names: ["/web"], Image: "nginx", State: "running" },
    { Id: "2".repeat(64), Names: ["/db", "/web/db"], Image: "evil\x1b[31m", State: "exited" },
    { Id: "3".repeat(64), Names: ["/\x1b]0;x\x07"], Image: "x", State: "exited" },
  ];
  engine.answers.set("/containers/json", (request, response) => {
    const wanted = /filters=([^&]+)/.exec(request.url ?? "")?.[1];
    const states = wanted === undefined ? [] : (JSON.parse(decodeURIComponent(wanted)) as { status: string[] }).status;
    response.end(JSON.stringify(rows.filter((row) => states.length === 0 || states.includes(row.State))));
  });
  engine.answers.set("/images/json", (_, response) => {
    response.end(JSON.stringify([{ Id: "sha256:1", RepoTags: ["busybox:latest", "busybox:1.36", "host:5000/a:v1"] }]));
  });
  engine.answers.set("/networks", (_, response) => {
    response.end(JSON.stringify([{ Name: "bridge", Driver: "bridge" }]));
  });
  return engine;
}

async function completions(engine: FakeEngine, line: string, breaks = ""): Promise<readonly string[]> {
  const env = {
    ...process.env,
    GANTRY_HOST: engine.url,
    DOCKER_CONFIG: engine.folder,
    GANTRY_COMPLETE_BREAKS: breaks,
  };
  const { stdout, stderr } = await run(process.execPath, [MAIN, "__complete", "--line", line], { env });
  assert.equal(stderr, "");
  return stdout.trimEnd().split("\n");
}

test("names come from the engine, in the states that the command can use", async () => {
  await using engine = await completionEngine();
  assert.deepEqual(await completions(engine, "gantry stop "), ["web\tnginx", ":"]);
  assert.deepEqual(await completions(engine, "gantry start "), ["db\tevil [31m", ":"]);
  assert.deepEqual(await completions(engine, "gantry container rm -f w"), ["web\tnginx", ":"]);
  assert.deepEqual(await completions(engine, "gantry rm w"), [":"]);
  assert.deepEqual(await completions(engine, "gantry run --network br"), ["bridge\tbridge", ":"]);
  assert.deepEqual(await completions(engine, "gantry run --network container:w"), ["container:web", ":"]);
});

test("commands, flags and their values are completed without an engine", async () => {
  await using engine = await completionEngine();
  assert.deepEqual(await completions(engine, "gantry -H unix:///nowhere conta"), ["container\tManage containers", ":"]);
  assert.deepEqual(await completions(engine, "gantry volume in"), [
    "inspect\tDisplay detailed information on one or more volumes",
    ":",
  ]);
  assert.deepEqual(await completions(engine, "gantry run --rest"), [
    "--restart\tRestart policy after the container's exit",
    ":",
  ]);
  assert.deepEqual(await completions(engine, "gantry run --restart=unl"), ["--restart=unless-stopped", ":"]);
  assert.deepEqual(await completions(engine, "gantry run --restart=unl", ":="), ["unless-stopped", ":"]);
  assert.deepEqual(await completions(engine, "gantry ps -f stat"), ["status=", ":nospace"]);
  assert.deepEqual(await completions(engine, "gantry network create -d macvlan -o p"), ["parent=", ":nospace"]);
  const icc = ["com.docker.network.bridge.enable_icc=", ":nospace"];
  assert.deepEqual(await completions(engine, "gantry network create -o com.docker.network.bridge.enable_ic"), icc);
  assert.deepEqual(await completions(engine, "gantry run --mount type=v"), ["type=volume,src=", ":nospace"]);
  assert.deepEqual(await completions(engine, "gantry load -i "), [":files"]);
  assert.deepEqual(await completions(engine, "gantry -H unix:///nowhere stop "), [":"]);
  assert.deepEqual(await completions(engine, "gantry run busybox --ti"), [":"]);
});

test("registries are those that there are credentials for", async () => {
  await using engine = await completionEngine();
  const config = {
    auths: { "https://index.docker.io/v1/": {}, "http://registry.example:5000/v1/": {} },
    credHelpers: { "other.example": "x" },
  };
  writeFileSync(join(engine.folder, "config.json"), JSON.stringify(config));
  const all = ["docker.io", "other.example", "registry.example:5000", ":"];
  assert.deepEqual(await completions(engine, "gantry -H unix:///nowhere logout "), all);
  assert.deepEqual(await completions(engine, "gantry login -u joe reg"), ["registry.example:5000", ":"]);
  assert.deepEqual(await completions(engine, "gantry image pu"), [
    "pull\tDownload an image from a registry",
    "push\tUpload an image to a registry",
    ":",
  ]);
  assert.deepEqual(await completions(engine, "gantry manifest annotate --arch am"), ["amd64", ":"]);
});

test("stages, targets and builds are those of the files that are named and of the history", async () => {
  await using engine = await completionEngine();
  const rows = [{ Id: "abc", Name: "shop (app)" }];
  engine.answers.set("/gantry/build/history", (_, response) => void response.end(JSON.stringify(rows)));
  const file = join(engine.folder, "Dockerfile");
  writeFileSync(file, "FROM a AS deps\nFROM deps AS app\nRUN x\nFROM app\n");
  const bake = join(engine.folder, "docker-bake.hcl");
  writeFileSync(bake, 'group "all" {\n  targets = ["web"]\n}\ntarget "web" {\n  description = "The site"\n}\n');
  assert.deepEqual(await completions(engine, `gantry build -f ${file} --target `), ["deps\ta", "app\tdeps", ":"]);
  assert.deepEqual(await completions(engine, `gantry build ${engine.folder} --target a`), ["app\tdeps", ":"]);
  assert.deepEqual(await completions(engine, `gantry bake -f ${bake} `), ["web\tThe site", "all\tweb", ":"]);
  assert.deepEqual(await completions(engine, "gantry builder history inspect "), ["abc\tshop (app)", ":"]);
  assert.deepEqual(await completions(engine, "gantry build --call o"), ["outline", ":"]);
  assert.deepEqual(await completions(engine, "gantry build --target x -f /dev/null --target "), [":"]);
  assert.deepEqual(await completions(engine, "gantry builder build --output type=l"), ["type=local,dest=", ":nospace"]);
  assert.deepEqual(await completions(engine, "gantry build "), [":folders"]);
});

test("a line is cut into words as the shell cuts it", () => {
  assert.deepEqual(wordsOf('a \'b c\' "d\\"e" f\\ g '), ["a", "b c", 'd"e', "f g", ""]);
  assert.deepEqual(wordsOf("a ''"), ["a", ""]);
  assert.deepEqual(wordsOf(""), [""]);
});

/** What bash itself offers for a line, with the script loaded as a person loads it. */
async function bashOffers(engine: FakeEngine, line: string): Promise<string> {
  const tool = join(engine.folder, "gantry");
  writeFileSync(tool, `#!/bin/sh\nexec ${process.execPath} ${MAIN} "$@"\n`);
  chmodSync(tool, 0o755);
  const script = `
    source <(gantry completion bash) || exit 1
    COMP_LINE=$1 COMP_POINT=\${#1}
    read -ra COMP_WORDS <<<"\${1//[:=]/ & }"
    [[ $1 == *' ' ]] && COMP_WORDS+=("")
    COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
    compopt() { :; }
    _gantry
    printf '%s\\n' "\${COMPREPLY[@]}"
  `;
  const env = { ...process.env, PATH: `${engine.folder}:${process.env.PATH}`, GANTRY_HOST: engine.url };
  const { stdout } = await run("bash", ["--norc", "-c", script, "bash", line], { env });
  return stdout;
}

test("bash offers what the engine has", {
  skip: existsSync("/bin/bash") ? false : "bash is not installed",
}, async () => {
  await using engine = await completionEngine();
  assert.equal(await bashOffers(engine, "gantry stop "), "web\n");
  assert.equal(await bashOffers(engine, "gantry run busybox:"), "latest\n1.36\n");
  assert.equal(await bashOffers(engine, "gantry run --restart=on"), "on-failure\n");
});

for (const shell of ["bash", "zsh", "fish"]) {
  const installed = ["/bin", "/usr/bin", "/usr/local/bin"].some((folder) => existsSync(join(folder, shell)));
  test(`${shell} can read its script`, { skip: installed ? false : `${shell} is not installed` }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "gantry-completion-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const script = join(folder, "script");
    writeFileSync(script, COMPLETION_SCRIPTS[shell] ?? "");
    assert.equal((await run(shell, ["-n", script])).stderr, "");
  });
}
