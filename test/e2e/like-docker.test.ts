import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { rootCertificates } from "node:tls";
import { fileURLToPath } from "node:url";
import { type Finished, findProgram, finish } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { TEST_ROOT_PREFIX } from "../leftovers.ts";

const DOCKER = findProgram("docker") ?? "docker";
const GANTRY = fileURLToPath(new URL("../../bin/gantry", import.meta.url));
const DOCKERD = findProgram("dockerd");

/** What a tool said, with the names that differ on purpose made alike. */
interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function alike(said: Finished): Said {
  const same = (text: string): string =>
    text.replaceAll("gantry", "docker").replaceAll("Gantry", "Docker").replaceAll("GANTRY", "DOCKER");
  return { code: said.code, stdout: same(said.stdout), stderr: same(said.stderr) };
}

type Tool = (args: readonly string[]) => Promise<Finished>;

/** Both tools must say the same, byte by byte. Ages move on between the two, so that there are three tries. */
async function assertSame(docker: Tool, gantry: Tool, args: readonly string[]): Promise<void> {
  for (let tries = 3; ; tries--) {
    const expected = alike(await docker(args));
    const actual = alike(await gantry(args));
    try {
      assert.deepEqual(actual, expected);
      return;
    } catch (error) {
      if (tries === 1) throw error;
    }
  }
}

const LISTS: readonly (readonly string[])[] = [
  ["ps"],
  ["ps", "-a"],
  ["ps", "-aq"],
  ["ps", "-a", "--no-trunc"],
  ["ps", "-a", "-s"],
  ["ps", "-l"],
  ["ps", "-n", "1", "-q"],
  ["ps", "-a", "--format", "json"],
  ["ps", "-a", "--format", "{{json .}}"],
  ["ps", "-a", "--format", "raw"],
  ["ps", "-aq", "--format", "raw"],
  ["ps", "-q", "--format", "{{.Names}}"],
  [
    "ps",
    "-a",
    "--format",
    'table {{.ID}}\\t{{.Names}}\\t{{.Label "l"}}\\t{{.Labels}}\\t{{.LocalVolumes}}\\t{{.Mounts}}',
  ],
  ["ps", "-a", "--format", "{{.Foo}}"],
  ["ps", "-a", "--format", "table {{.ID.Foo}}"],
  ["ps", "-a", "--format", "{{"],
  ["ps", "-a", "--filter", "status=exited"],
  ["ps", "-a", "--filter", "bogus=1"],
  ["images"],
  ["images", "-q"],
  ["images", "--digests"],
  ["images", "--no-trunc"],
  ["images", "--format", "json"],
  ["images", "--format", "raw"],
  ["images", "--format", "{{.ID}} {{.CreatedAt}} {{.VirtualSize}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}}"],
  ["images", "nope"],
  ["history", "busybox"],
  ["history", "--no-trunc", "--format", "json", "busybox"],
  ["history", "-qH=false", "busybox"],
  ["volume", "ls"],
  ["volume", "ls", "--format", "json"],
  ["volume", "ls", "--format", "raw"],
  ["volume", "ls", "--format", 'table {{.Name}}\\t{{.Label "a"}}\\t{{.Links}}\\t{{.Size}}\\t{{.Mountpoint}}'],
  ["volume", "inspect", "named", "nope"],
  ["volume", "inspect", "-f", "{{.Foo}}", "named"],
  ["network", "ls", "--format", "json"],
  ["network", "ls", "--format", "raw"],
  ["network", "inspect", "none"],
  ["inspect", "one"],
  ["inspect", "-s", "-f", "{{.Name}} {{json .Mounts}} {{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "one"],
  ["inspect", "-f", "{{.State.Foo}}", "one"],
  ["inspect", "--type", "image", "one"],
  ["inspect", "--type", "foo", "one"],
  ["inspect", "-s", "busybox", "nope"],
  ["context", "ls", "--format", "{{.Name}} {{.Current}}"],
  ["context", "show"],
  ["version", "--format", "{{.Server.Version}} {{.Server.APIVersion}} {{.Server.Os}}"],
  ["version", "--format", "{{.Foo}}"],
  ["info", "--format", "{{.Foo}}"],
  ["info", "--format", "{{.Images}} {{.ID}} {{json .Swarm}}"],
];

const MISTAKES: readonly (readonly string[])[] = [
  ["rm", "nope"],
  ["rm", "-f", "nope"],
  ["rmi", "nope"],
  ["rename", "nope", "b"],
  ["start", "nope"],
  ["stop", "--time", "1", "nope"],
  ["kill", "-s", "FOO", "nope"],
  ["wait", "nope"],
  ["exec", "nope", "ls"],
  ["attach", "nope"],
  ["port", "a", "b", "c"],
  ["top", "nope"],
  ["logs", "--since", "x", "nope"],
  ["tag", "busybox", "UPPER"],
  ["tag", "busybox", "x@sha256:aaaa"],
  ["save", "nope"],
  ["load", "-i", "/nonexistent"],
  ["volume", "rm", "nope"],
  ["run", "--pull", "maybe", "busybox"],
  ["run", "--restart", "always", "--rm", "busybox"],
  ["run", "-e"],
  ["run", "--memory", "x", "busybox"],
  ["run", "--pid", "foo", "busybox"],
  ["run", "Upper"],
  ["ps", "--foo-bar"],
  ["ps", "-x"],
  ["ps", "-n", "x"],
  ["ps", "--help=maybe"],
  ["--foo-bar", "ps"],
  ["-l", "bad", "ps"],
  ["container", "wibble"],
  ["help", "wibble"],
  ["system", "prune", "--volumes", "--filter", "until=1h"],
  ["system", "prune", "-a", "--volumes", "--filter", "label=nope"],
  ["container", "prune", "--filter", "label=nope"],
  ["image", "prune", "-a", "--filter", "label=nope"],
  ["volume", "prune", "--filter", "label=nope"],
  ["volume", "prune", "-f", "--filter", "label=nope"],
  ["container", "prune", "-f", "--filter", "label=nope"],
  ["image", "prune", "-f", "--filter", "label=nope"],
];

describe("gantry beside docker on one engine", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
    await engine.ok("volume", "create", "--label", "a=b", "named");
    const make = ["create", "--label", "l=v", "--label", "odd=<a>&b", "-v", "named:/data", "-v", "/anon"];
    await engine.ok(...make, "--name", "one", "busybox", "sh", "-c", 'exit 3 # "quoted" and long');
    await engine.ok("run", "--name", "two", "busybox", "true");
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const args of [...LISTS, ...MISTAKES]) {
    test(`${args.join(" ")} says the same`, async () => {
      // The newest that both know, since answers differ from version to version.
      const options = { env: { DOCKER_API_VERSION: "1.50" } };
      const docker: Tool = (line) => engine.tool("docker", line, options);
      await assertSame(docker, (line) => engine.tool("gantry", line, options), args);
    });
  }
});

const TEMPLATES: readonly string[] = [
  "{{.Name}}|{{ .Name }}|{{- .Name -}}|",
  '{{define "x"}}[{{.}}]{{end}}{{template "x" .Name}}{{template "x"}}',
  '{{block "b" .Name}}<{{.}}>{{end}}',
  '{{with .Nope}}{{else}}x{{end}}{{with ""}}a{{else with "y"}}{{.}}{{end}}',
  "{{if false}}a{{else if true}}b{{else}}c{{end}}",
  '{{range $i, $e := split "a,b,c" ","}}{{if eq $i 1}}{{continue}}{{end}}{{$i}}{{$e}}{{end}}',
  '{{range split "a,b,c" ","}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{else}}none{{end}}',
  '{{$x := "a"}}{{if true}}{{$x = "b"}}{{$y := 1}}{{end}}{{$x}}',
  '{{printf "%5s|%-5s|%05d|%x|%X|%q|%v|%t|%c|%U|%%|%+d|%.2f|%e" "a" "b" 42 255 "hi" "q" 7 true 65 65 3 1.5 1234.5}}',
  '{{printf "%d" "x"}} {{printf "%s"}} {{printf "a" 1 "b"}} {{printf "%!"}} {{printf "%[2]d %[1]d" 1 2}} {{printf "%*d" 5 42}}',
  '{{print 1 2 "a" "b" 3}}|{{println "a" 1}}|{{len "héllo"}} {{index (split "a,b" ",") 1}} {{slice "hello" 1 3}}',
  '{{and true "x"}} {{or "" "y"}} {{not ""}} {{eq 1 1 2}} {{eq "a" "b" "a"}} {{lt 1 2}} {{ge "b" "a"}} {{ne 1 2}}',
  '{{html "<a href=\'x\'>&</a>"}} {{js "it\'s <b>\\n="}} {{urlquery "a b&c=d/é!\'()*"}}',
  '{{upper "a"}} {{lower "A"}} {{title "foo bar-baz"}} {{join (split "a b" " ") "-"}} {{pad "x" 1 2}}| {{truncate "hello" 2}}',
  '{{json "<&>"}} {{"a" | printf "%s-%s" "b"}} {{("x" | upper)}} {{`raw\\n`}} {{\'a\'}} {{0x1F}} {{1_000}} {{-3}} {{1.50}}',
  "a {{/* c */ -}}  b",
  "{{.Foo}}",
  "x\n  {{.Foo}}",
  "{{.Name.Foo}}",
  '{{index (split "a" ",") 5}}',
  '{{template "nope"}}',
  "{{len 3}}",
  '{{lt 1 "a"}}',
  '{{eq "a" 1}}',
  "{{slice .Name 99}}",
  "{{upper 1}}",
  "{{upper}}",
  '{{upper "a" "b"}}',
  "{{.Name 1}}",
  '{{call "x"}}',
  "{{nil}}",
  "{{range 3}}{{.}}{{end}}",
  '{{range "abc"}}{{.}}{{end}}',
  "{{",
  "{{.Name",
  "{{\n.Name",
  '{{"abc}}',
  "{{`abc}}",
  "{{'ab'}}",
  "{{nope}}",
  "{{$x}}",
  "{{if}}x{{end}}",
  "{{if true}}x",
  "{{end}}",
  "{{else}}",
  "{{break}}",
  "{{range .}}{{else}}{{else}}{{end}}",
  "{{.Name | }}",
  "{{| .Name}}",
  "{{(.Name}}",
  "{{.Name)}}",
  "{{1x}}",
  "{{.Name!}}",
  "{{@}}",
  "{{a:b}}",
  "{{/* c }}",
  "{{/* c */ x}}",
  '{{define "x"}}',
  "{{define x}}{{end}}",
  '{{template "x" ',
  "{{$a, $b := 1}}",
  "{{$a := 1 $b}}",
  '{{"a""b"}}',
  '{{.Name | "x"}}',
  "{{1.2.3}}",
  "{{1.Foo}}",
  "{{true.Foo}}",
  "{{99999999999999999999}}",
  '{{"\\z"}}',
];

describe("templates beside docker's", { skip: NO_DOCKER }, () => {
  const root = mkdtempSync(TEST_ROOT_PREFIX);
  const env = { ...process.env, HOME: root, DOCKER_CONFIG: root, GANTRY_HOST: "", DOCKER_HOST: "unix:///x" };
  after(() => rmSync(root, { recursive: true, force: true }));

  for (const template of TEMPLATES) {
    test(`${JSON.stringify(template)} prints or complains the same`, async () => {
      const args = ["context", "inspect", "-f", template, "default"];
      const docker: Tool = (line) => finish(DOCKER, line, { env });
      await assertSame(docker, (line) => finish(GANTRY, line, { env }), args);
    });
  }
});

describe("contexts shared with docker", { skip: NO_DOCKER }, () => {
  let root: string;
  let env: NodeJS.ProcessEnv;
  before(() => {
    root = mkdtempSync(TEST_ROOT_PREFIX);
    env = { ...process.env, HOME: root, DOCKER_CONFIG: join(root, "config"), GANTRY_HOST: "", DOCKER_HOST: "" };
    // Docker looks into what it is given: any certificate of an authority will do.
    writeFileSync(join(root, "ca.pem"), rootCertificates[0] ?? "");
  });
  after(() => rmSync(root, { recursive: true, force: true }));

  const tools = { docker: DOCKER, gantry: GANTRY };
  const ok = async (tool: "docker" | "gantry", ...args: readonly string[]): Promise<string> => {
    const said = await finish(tools[tool], args, { env });
    assert.equal(said.code, 0, `${tool} ${args.join(" ")}: ${said.stderr}`);
    return said.stdout;
  };

  for (const [maker, reader] of [
    ["docker", "gantry"],
    ["gantry", "docker"],
  ] as const) {
    test(`what ${maker} makes ${reader} reads, uses, exports and removes`, async () => {
      const name = `by-${maker}`;
      const files = `ca=${join(root, "ca.pem")}`;
      await ok(
        maker,
        "context",
        "create",
        name,
        "--description",
        "d <x>",
        "--docker",
        `host=tcp://127.0.0.1:1,${files}`,
      );
      assert.equal(await ok(reader, "context", "inspect", name), await ok(maker, "context", "inspect", name));
      // The default one is each tool's own.
      const listed = async (tool: "docker" | "gantry"): Promise<readonly string[]> =>
        (await ok(tool, "context", "ls", "--format", "json")).split("\n").filter((line) => line.includes(`"${name}"`));
      assert.deepEqual(await listed(reader), await listed(maker));
      await ok(maker, "context", "use", name);
      assert.equal(await ok(reader, "context", "show"), `${name}\n`);
      await ok(reader, "context", "use", "default");
      assert.equal(await ok(maker, "context", "show"), "default\n");
      const archive = join(root, `${name}.tar`);
      await ok(reader, "context", "export", name, archive);
      await ok(maker, "context", "import", `${name}-again`, archive);
      const endpoint = "{{json .Endpoints}} {{json .TLSMaterial}}";
      assert.equal(
        await ok(reader, "context", "inspect", "-f", endpoint, `${name}-again`),
        await ok(maker, "context", "inspect", "-f", endpoint, name),
      );
      await ok(reader, "context", "rm", name, `${name}-again`);
      assert.equal((await ok(maker, "context", "ls", "-q")).includes(name), false);
    });
  }

  test("a configuration that others wrote into keeps what they wrote", async () => {
    const path = join(root, "config/config.json");
    writeFileSync(path, '{"auths":{"r":{"auth":"eA=="}},"own":{"x":[1]}}', { mode: 0o600 });
    await ok("gantry", "context", "create", "kept");
    await ok("gantry", "context", "use", "kept");
    const config = JSON.parse(readFileSync(path, "utf8")) as unknown;
    assert.deepEqual(config, { auths: { r: { auth: "eA==" } }, own: { x: [1] }, currentContext: "kept" });
    await ok("gantry", "context", "rm", "-f", "kept");
  });

  for (const text of ["{", '{"a":}', "x", "[]", '{"psFormat":1}', '{"HttpHeaders":{"a":1}}', ""]) {
    test(`the configuration ${JSON.stringify(text)} is warned of as by docker`, async () => {
      const folder = join(root, "broken");
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, "config.json"), text);
      const args = ["--config", folder, "context", "show"];
      const docker: Tool = (line) => finish(DOCKER, line, { env });
      await assertSame(docker, (line) => finish(GANTRY, line, { env }), args);
    });
  }
});

const NO_DOCKERD = DOCKERD === undefined ? "dockerd is not installed" : NO_DOCKER;

describe("gantry in front of dockerd", { skip: NO_DOCKERD }, () => {
  let root: string;
  let daemon: ChildProcess | undefined;
  let env: NodeJS.ProcessEnv;
  before(
    async () => {
      root = mkdtempSync(TEST_ROOT_PREFIX);
      const host = `unix://${join(root, "d.sock")}`;
      env = { ...process.env, HOME: root, DOCKER_CONFIG: root, GANTRY_HOST: host, DOCKER_HOST: host };
      const log = openSync(join(root, "log"), "a");
      const roots = ["--data-root", join(root, "data"), "--exec-root", join(root, "exec"), "-p", join(root, "pid")];
      const flags = [...roots, "-H", host, "--bridge=none", "--iptables=false"];
      daemon = spawn("unshare", ["-m", DOCKERD ?? "", ...flags], { stdio: ["ignore", log, log] });
      closeSync(log);
      const deadline = Date.now() + 30_000;
      while ((await finish(GANTRY, ["version"], { env })).code !== 0) {
        if (Date.now() > deadline)
          throw new Error(`dockerd does not answer: ${readFileSync(join(root, "log"), "utf8")}`);
        await sleep(100);
      }
      await using engine = await startEngine();
      await engine.ok("save", "-o", join(root, "image.tar"), "busybox");
    },
    { timeout: 90_000 },
  );
  after(async () => {
    if (daemon !== undefined && daemon.exitCode === null) {
      const ended = new Promise((resolve) => daemon?.once("exit", resolve));
      daemon.kill("SIGTERM");
      await ended;
    }
    rmSync(root, { recursive: true, force: true });
  });

  const gantry = (...args: readonly string[]): Promise<Finished> => finish(GANTRY, args, { env });
  const ok = async (...args: readonly string[]): Promise<string> => {
    const said = await gantry(...args);
    assert.equal(said.code, 0, `gantry ${args.join(" ")}: ${said.stderr}`);
    return said.stdout;
  };

  test("an image is loaded, listed, tagged, saved and removed", async () => {
    assert.match(await ok("load", "-i", join(root, "image.tar")), /Loaded image: busybox:latest/);
    await ok("tag", "busybox", "other:v1");
    assert.match(await ok("images"), /other +v1/);
    await ok("save", "-o", join(root, "again.tar"), "other:v1");
    assert.match(await ok("rmi", "other:v1"), /Untagged: other:v1/);
    assert.match(await ok("history", "-q", "busybox"), /^[0-9a-f]{12}\n/);
  });

  test("a container runs, is read from, stopped, waited for and removed", async () => {
    assert.equal(await ok("run", "--rm", "--network", "none", "busybox", "echo", "hello"), "hello\n");
    assert.equal((await gantry("run", "--rm", "--network", "none", "busybox", "sh", "-c", "exit 7")).code, 7);
    await ok(
      "run",
      "-d",
      "--init",
      "--name",
      "cc",
      "--network",
      "none",
      "busybox",
      "sh",
      "-c",
      "echo out; exec sleep 600",
    );
    assert.match(await ok("ps"), / cc\n/);
    assert.equal(await ok("exec", "cc", "sh", "-c", "echo in"), "in\n");
    assert.equal((await gantry("exec", "cc", "sh", "-c", "exit 9")).code, 9);
    assert.match(await ok("top", "cc"), /sleep 600/);
    await ok("pause", "cc");
    assert.match(await ok("ps", "--filter", "status=paused", "--format", "{{.Names}}"), /^cc\n$/);
    await ok("unpause", "cc");
    assert.equal(await ok("logs", "cc"), "out\n");
    await ok("rename", "cc", "dd");
    await ok("restart", "-t", "0", "dd");
    await ok("stop", "-t", "0", "dd");
    assert.match(await ok("wait", "dd"), /^\d+\n$/);
    assert.equal(await ok("rm", "-v", "dd"), "dd\n");
  });

  test("volumes, networks, events and pruning", async () => {
    await ok("volume", "create", "--label", "a=b", "vv");
    assert.match(await ok("volume", "ls", "--filter", "label=a=b"), /local +vv\n/);
    assert.match(await ok("network", "ls"), /none/);
    const soon = (Date.now() / 1000 + 1).toFixed(3);
    assert.match(await ok("events", "--since", "1h", "--until", soon), /volume create vv/);
    assert.match(await ok("volume", "prune", "-f"), /Deleted Volumes:\nvv\n/);
    assert.match(await ok("system", "prune", "-af", "--volumes"), /Total reclaimed space/);
    assert.match(await ok("builder", "prune", "-f"), /Total reclaimed space: 0B/);
    await ok("load", "-i", join(root, "image.tar"));
  });

  test("what needs a newer engine says so", async () => {
    for (const args of [
      ["volume", "update", "x"],
      ["volume", "prune", "-a"],
      ["images", "--tree"],
      ["save", "--platform", "linux/amd64", "busybox"],
    ]) {
      const docker: Tool = (line) => finish(DOCKER, line, { env });
      await assertSame(docker, (line) => gantry(...line), args);
    }
    assert.equal((await ok("run", "--help")).includes("--annotation"), false);
  });

  for (const args of LISTS.filter((line) => !line.includes("one") && !line.includes("named"))) {
    if (args[0] === "network" && args.includes("json")) continue; // The engine does not say whether IPv4 is on.
    test(`${args.join(" ")} says the same`, async () => {
      const docker: Tool = (line) => finish(DOCKER, line, { env });
      await assertSame(docker, (line) => gantry(...line), args);
    });
  }
});
