import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startEngine, type TestEngine } from "../engine.ts";
import type { Terminal } from "../terminal.ts";

const NO_GIT = existsSync("/usr/bin/git") ? false : "git is not installed";
const NO_PERL = existsSync("/usr/bin/perl") ? false : "perl is not installed";

describe("gantry build", () => {
  let engine: TestEngine;
  let count = 0;

  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  /** A folder of files; a text is a file's, undefined a folder. */
  function folder(files: Readonly<Record<string, string | undefined>>): string {
    const path = join(engine.root, `context-${++count}`);
    mkdirSync(path);
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(path, name, text === undefined ? "." : ".."), { recursive: true });
      if (text !== undefined) writeFileSync(join(path, name), text);
    }
    return path;
  }

  /** Runs a build that must succeed; resolves with what it printed. */
  async function build(...args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
    const { code, stdout, stderr } = await engine.gantry("build", ...args);
    assert.equal(code, 0, stderr);
    return { stdout, stderr };
  }

  async function refused(...args: readonly string[]): Promise<string> {
    const { code, stderr } = await engine.gantry("build", ...args);
    assert.equal(code, 1, stderr);
    return stderr;
  }

  async function output(image: string, ...command: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await engine.gantry("run", "--rm", image, ...command);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  test("makes an image, and the same again of its cache", async () => {
    const context = folder({
      Dockerfile: "FROM busybox\nARG A=1\nCOPY . /src\nRUN echo $A > /a\nCMD cat /a /src/f\n",
      f: "file\n",
    });
    const first = await build("-t", "one:1", "--build-arg", "A=two", context);
    assert.match(first.stderr, /#\d+ \[4\/4\] RUN echo two > \/a|#\d+ \[3\/3\] RUN echo/);
    assert.equal(await output("one:1"), "two\nfile\n");
    const second = await build("-t", "one:2", "--build-arg", "A=two", context);
    assert.equal(second.stderr.match(/CACHED/g)?.length, 3);
    const ids = await Promise.all(
      ["one:1", "one:2"].map((name) => engine.gantry("image", "inspect", "-f", "{{.Id}}", name)),
    );
    assert.equal(ids[0]!.stdout, ids[1]!.stdout);
  });

  test("-q prints the id alone, files get it and what the build told", async () => {
    const context = folder({ Dockerfile: "FROM scratch\nLABEL a=b\n" });
    const [iid, metadata] = [join(context, "iid"), join(context, "metadata")];
    const { stdout, stderr } = await build("-q", "--iidfile", iid, "--metadata-file", metadata, "-t", "two", context);
    assert.match(stdout, /^sha256:[0-9a-f]{64}\n$/);
    assert.equal(stderr, "");
    assert.equal(readFileSync(iid, "utf8"), stdout.trim());
    const told = JSON.parse(readFileSync(metadata, "utf8")) as Record<string, string>;
    assert.equal(told["containerimage.config.digest"], stdout.trim());
    assert.equal(told["image.name"], "docker.io/library/two:latest");
  });

  test("only files that steps need are sent, and those that changed", async () => {
    const context = folder({
      Dockerfile: "FROM busybox\nCOPY used /used\n",
      used: "x",
      "big/unused": "y".repeat(3 << 20),
    });
    const first = await build("-t", "three", context);
    assert.match(first.stderr, /transferring context: \d+B /);
    rmSync(join(context, "big"), { recursive: true });
    const second = await build("-t", "three", context);
    assert.match(second.stderr, /CACHED/);
  });

  test("links in the context lead where they led here, and wildcards and ignored files are as Docker has them", async () => {
    const context = folder({
      Dockerfile: "FROM busybox\nCOPY link/ /a/\nCOPY *.txt /b/\nCOPY . /c/\n",
      "real/f": "f",
      "1.txt": "1",
      "2.txt": "2",
      "secret/key": "k",
      "secret/open": "o",
      ".dockerignore": "secret\n!secret/open\n2.txt\n",
    });
    symlinkSync("real", join(context, "link"));
    linkSync(join(context, "real/f"), join(context, "real/g"));
    await build("-t", "four", context);
    const found = await output("four", "find", "/a", "/b", "/c", "-type", "f");
    assert.deepEqual(found.trim().split("\n").sort(), [
      "/a/f",
      "/a/g",
      "/b/1.txt",
      "/c/.dockerignore",
      "/c/1.txt",
      "/c/Dockerfile",
      "/c/real/f",
      "/c/real/g",
      "/c/secret/open",
    ]);
    const inodes = await output("four", "stat", "-c", "%i", "/c/real/f", "/c/real/g");
    assert.equal(new Set(inodes.trim().split("\n")).size, 1, "a hard link stays one");
  });

  test("a Dockerfile and a context come from standard input, or the one from here and the other from there", async () => {
    const dockerfile = "FROM busybox\nRUN echo in > /x\n";
    const { code, stderr } = await engine.tool("gantry", ["build", "-t", "five", "-"], { input: dockerfile });
    assert.equal(code, 0, stderr);
    assert.equal(await output("five", "cat", "/x"), "in\n");
    const context = folder({ f: "context\n" });
    const both = await engine.tool("gantry", ["build", "-t", "five", "-f", "-", context], {
      input: "FROM busybox\nCOPY f /x\n",
    });
    assert.equal(both.code, 0, both.stderr);
    assert.equal(await output("five", "cat", "/x"), "context\n");
    writeFileSync(join(context, "Dockerfile"), "FROM busybox\nCOPY f /y\n");
    const tar = execFileSync("tar", ["-cz", "-C", context, "."]);
    const packed = await engine.tool("gantry", ["build", "-t", "five", "-"], { input: tar });
    assert.equal(packed.code, 0, packed.stderr);
    assert.equal(await output("five", "cat", "/y"), "context\n");
    const elsewhere = folder({ "other.Dockerfile": "FROM busybox\nCOPY f /z\n" });
    await build("-t", "five", "-f", join(elsewhere, "other.Dockerfile"), context);
    assert.equal(await output("five", "cat", "/z"), "context\n");
  });

  test("named contexts are folders, images and layouts", async () => {
    const other = folder({ o: "other\n" });
    const image = folder({ Dockerfile: "FROM busybox\nRUN echo image > /i\n" });
    await build("-t", "six-base", image);
    const layout = join(engine.root, "layout");
    await build("--output", `type=oci,tar=false,dest=${layout}`, image);
    const context = folder({
      Dockerfile:
        "FROM busybox\nCOPY --from=dir o /\nCOPY --from=img i /i1\nCOPY --from=lay i /i2\nCMD cat /o /i1 /i2\n",
    });
    await build(
      "-t",
      "six",
      "--build-context",
      `dir=${other}`,
      "--build-context",
      "img=docker-image://six-base",
      "--build-context",
      `lay=oci-layout://${layout}`,
      context,
    );
    assert.equal(await output("six"), "other\nimage\nimage\n");
  });

  test("results go to a folder, an archive, standard output", async () => {
    const context = folder({
      Dockerfile:
        "FROM busybox AS b\nRUN mkdir /o && echo x > /o/f && ln -s f /o/l && ln /o/f /o/h && chmod 4751 /o/f\nFROM scratch\nCOPY --from=b /o /\n",
    });
    const [out, archive] = [join(context, "out"), join(context, "out.tar")];
    mkdirSync(out);
    symlinkSync("/etc/passwd", join(out, "f"));
    await build("-o", out, "-o", `type=tar,dest=${archive}`, context);
    assert.equal(readFileSync(join(out, "f"), "utf8"), "x\n");
    assert.equal(statSync(join(out, "f")).mode & 0o7777, 0o4751);
    assert.equal(readlinkSync(join(out, "l")), "f");
    assert.deepEqual(execFileSync("tar", ["-tf", archive], { encoding: "utf8" }).trim().split("\n").sort(), [
      "f",
      "h",
      "l",
    ]);
    const { code, stdout } = await engine.tool("gantry", ["build", "-o", "-", context]);
    assert.equal(code, 0);
    assert.match(stdout, /ustar/);
  });

  test("a cache in a folder serves an engine that has none", async () => {
    const context = folder({ Dockerfile: "FROM busybox\nRUN date +%N > /n\n" });
    const cache = join(engine.root, "cache");
    await build("-t", "seven", "--cache-to", `type=local,dest=${cache},mode=max`, context);
    const made = await output("seven", "cat", "/n");
    await engine.gantry("rmi", "seven");
    await engine.gantry("builder", "prune", "-af");
    const { stderr } = await build("-t", "seven", "--cache-from", `type=local,src=${cache}`, context);
    assert.match(stderr, /CACHED/);
    assert.equal(await output("seven", "cat", "/n"), made);
    assert.match(
      await refused("--cache-from", "type=local,src=/nowhere", context),
      /cannot import the cache of \/nowhere: it has no index\.json/,
    );
  });

  test("secrets are files and variables of steps that ask for them, from files and from the environment", async () => {
    const context = folder({
      Dockerfile:
        "FROM busybox\nRUN --mount=type=secret,id=a cat /run/secrets/a > /a\nRUN --mount=type=secret,id=b,env=B echo $B > /b\n",
      key: "from a file\n",
    });
    const done = await engine.tool(
      "gantry",
      ["build", "-t", "eight", "--secret", `id=a,src=${context}/key`, "--secret", "id=b,env=TOKEN", context],
      { env: { TOKEN: "of the environment" } },
    );
    assert.equal(done.code, 0, done.stderr);
    assert.equal(await output("eight", "cat", "/a", "/b"), "from a file\nof the environment\n");
    assert.match(await refused("--secret", "id=a,src=/nowhere", context), /failed to stat \/nowhere/);
    assert.match(await refused("--secret", "src=x", context), /secret missing ID in 'src=x'/);
  });

  test("an agent of ssh is reached through the session", { skip: NO_PERL }, async () => {
    const socket = join(engine.root, "agent");
    const agent = createServer((connection) => connection.on("data", (data) => connection.end(`heard ${data}`)));
    await new Promise<void>((resolve) => agent.listen(socket, resolve));
    try {
      const talk = [
        "use Socket;",
        "socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ENV{SSH_AUTH_SOCK})) or die $!;",
        'syswrite(S, "hello\\n"); print while <S>',
      ].join("");
      const dockerfile = `FROM busybox\nCOPY root /\nRUN --mount=type=ssh perl -e '${talk}' > /heard\n`;
      const context = folder({ Dockerfile: dockerfile, root: undefined });
      // What speaks to such sockets, from this machine: busybox has nothing that does.
      const libraries = execFileSync("ldd", ["/usr/bin/perl"], { encoding: "utf8" }).match(/\/\S+/g) ?? [];
      const base = execFileSync("perl", ["-e", "print grep { /perl-base$/ } @INC"], { encoding: "utf8" });
      execFileSync("cp", ["-rL", "--parents", "/usr/bin/perl", base, ...libraries, join(context, "root")]);
      await build("-t", "nine", "--ssh", `default=${socket}`, context);
      assert.equal(await output("nine", "cat", "/heard"), "heard hello\n");
    } finally {
      agent.close();
    }
    const context = folder({ Dockerfile: "FROM busybox\n" });
    assert.match(
      await refused("--ssh", "default=/nowhere", context),
      /failed to open ssh agent or key \/nowhere: no such file/,
    );
  });

  test("what fails is told with its output and the Dockerfile's line", async () => {
    const context = folder({ Dockerfile: "FROM busybox\nRUN echo before it && exit 7\nRUN true\n" });
    const text = await refused(context);
    assert.match(text, /------\n > \[2\/3\] RUN echo before it && exit 7:\n\d+\.\d{3} before it\n------\n/);
    assert.match(
      text,
      /Dockerfile:2\n-{20}\n {3}1 \| {5}FROM busybox\n {3}2 \| >>> RUN echo before it && exit 7\n {3}3 \| {5}RUN true\n {3}4 \| {5}\n-{20}\n/,
    );
    assert.match(
      text,
      /ERROR: failed to build: failed to solve: process "\/bin\/sh -c echo before it && exit 7" did not complete successfully: exit code: 7\n$/,
    );
    const wrong = await refused(folder({ Dockerfile: "FROM busybox\nRUNN x\n" }));
    assert.match(wrong, /Dockerfile:2\n[\s\S]*>>> RUNN x[\s\S]*unknown instruction: RUNN/);
  });

  for (const [args, message] of [
    [["/nowhere"], /path "\/nowhere" not found/],
    [["--secret", "id=x,nonsense=1", "."], /unexpected key 'nonsense' in 'id=x,nonsense=1'/],
    [["-o", "type=tar,dest", "."], /invalid value dest: it has to be key=value/],
    [["-o", "type=local", "."], /dest is required for local output/],
    [["--build-context", "x", "."], /invalid context value: x, expected key=value/],
    [
      ["--no-cache", "--no-cache-filter", "x", "."],
      /--no-cache and --no-cache-filter cannot currently be used together/,
    ],
    [["--attest", "type=nothing", "."], /there are type=provenance and type=sbom/],
    [["--annotation", "x", "."], /invalid annotation "x": it has to be key=value/],
  ] as const) {
    test(`refused: ${args.join(" ")}`, async () => {
      assert.match(await refused(...args.map((arg) => (arg === "." ? engine.root : arg))), message);
    });
  }

  test("the lint's warnings are told, and --check is an answer without a build", async () => {
    const context = folder({ Dockerfile: "from busybox as B\nRUN echo x\n" });
    const { stderr } = await build(context);
    assert.match(stderr, /\d warnings? found \(use --debug to expand\):\n - /);
    const { code, stdout } = await engine.gantry("build", "--check", context);
    assert.equal(code, 1);
    assert.match(stdout, /WARNING: /);
    const clean = folder({ Dockerfile: "FROM busybox AS b\nRUN echo x\n" });
    const fine = await engine.gantry("build", "--check", clean);
    assert.deepEqual([fine.code, fine.stdout], [0, "Check complete, no warnings found.\n"]);
  });

  test("--explain says of each step what made it be done again", async () => {
    const context = folder({
      Dockerfile: "FROM busybox\nARG V=1\nCOPY src /src\nRUN echo $V\n",
      "src/a": "1",
      "src/b": "1",
    });
    await build("-t", "ten", context);
    writeFileSync(join(context, "src/b"), "2");
    const { stdout } = await build("-t", "ten", "--explain", context);
    assert.match(stdout, /COPY src \/src[\s\S]*files that it reads have changed: src\/b\n +~ src\/b\n/);
    const again = await build("-t", "ten", "--explain", "--build-arg", "V=2", context);
    assert.match(again.stdout, / = \[2\/3\] COPY src \/src +cached\n/);
    assert.match(again.stdout, /- .*1[\s\S]*\+ .*2/);
  });

  test("--watch builds again when a file changes, and not for what is ignored", async () => {
    const context = folder({ Dockerfile: "FROM busybox\nCOPY f /f\n", f: "1", ".dockerignore": "ignored\n" });
    const what = ["-t", "eleven", "-o", join(context, "out"), "-o", "type=docker", "--iidfile", join(context, "id")];
    await using terminal: Terminal = engine.terminal(
      "gantry",
      "build",
      "--watch",
      "--progress",
      "plain",
      ...what,
      context,
    );
    await terminal.shows(/watching for changes/);
    writeFileSync(join(context, "ignored"), "x");
    writeFileSync(join(context, "f"), "2");
    await terminal.shows(/f has changed[\s\S]*watching for changes/);
    assert.doesNotMatch(terminal.text, /(?:ignored|out.*|id) has changed/);
    assert.equal(await output("eleven", "cat", "/f"), "2");
    terminal.type("\x03");
    assert.equal(await terminal.exit, 130);
  });

  test("--watch is refused where nobody tells of changes", async () => {
    const refused = async (...args: string[]) => (await engine.gantry("build", "--watch", ...args)).stderr;
    assert.match(await refused("-"), /^ERROR: --watch needs a folder as the context/);
    assert.match(await refused("https://127.0.0.1:1/x.git"), /^ERROR: --watch needs a folder as the context/);
    assert.match(await refused("-f", "-", folder({})), /^ERROR: --watch needs a Dockerfile that can be read again/);
  });

  test("--on-failure shell opens a terminal in the failed step", async () => {
    const context = folder({ Dockerfile: "FROM busybox\nENV WHO=me\nWORKDIR /w\nRUN echo left > here && false\n" });
    await using terminal: Terminal = engine.terminal(
      "gantry",
      "build",
      "--on-failure",
      "shell",
      "--progress",
      "plain",
      context,
    );
    await terminal.shows(/exit code: 1[\s\S]*\/w # /);
    terminal.type("echo $WHO $PWD $(cat here)\r");
    await terminal.shows(/me \/w left\r\n/);
    terminal.type("exit\r");
    assert.equal(await terminal.exit, 1);
  });

  test("a person who interrupts a build has it ended", async () => {
    const context = folder({ Dockerfile: "FROM busybox\nRUN echo begun && sleep 600\n" });
    await using terminal: Terminal = engine.terminal("gantry", "build", "--progress", "plain", context);
    await terminal.shows(/begun/);
    terminal.type("\x03");
    assert.notEqual(await terminal.exit, 0);
    assert.match(terminal.text, /context canceled/);
  });

  test("on a terminal a build is drawn: a row of cells for each stage, and all steps are left at the end", async () => {
    const context = folder({
      Dockerfile: "FROM busybox AS one\nRUN echo drawn\nFROM busybox AS two\nCOPY --from=one /etc /etc2\n",
    });
    await using terminal: Terminal = engine.terminal("gantry", "build", "-t", "twelve", context);
    assert.equal(await terminal.exit, 0);
    const end = terminal.text.slice(terminal.text.lastIndexOf("FINISHED")).replace(/\x1b\[[0-9;]*[A-Za-z]/g, "");
    assert.match(end, / => \[one 2\/2\] RUN echo drawn +\d+\.\ds/);
    assert.match(end, /naming to docker\.io\/library\/twelve/);
  });

  test("the history is there after a restart of the engine, with logs", async () => {
    const context = folder({ Dockerfile: "FROM busybox\nRUN echo remembered\n" });
    await build("-t", "thirteen", "--no-cache", context);
    await engine.restart();
    const listed = await engine.gantry("builder", "history", "ls");
    assert.match(
      listed.stdout,
      /BUILD ID +NAME +STATUS +CACHED +CREATED AT +DURATION\n\w{25} +thirteen +Completed +0\/1/,
    );
    const [, id = ""] = /\n(\w{25}) /.exec(listed.stdout) ?? [];
    const logs = await engine.gantry("builder", "history", "logs", id.slice(0, 12));
    assert.match(logs.stdout, /#\d+ \[2\/2\] RUN echo remembered\n#\d+ \d+\.\d{3} remembered\n#\d+ DONE/);
    const shown = await engine.gantry(
      "builder",
      "history",
      "ls",
      "--filter",
      `ref=${id}`,
      "--format",
      "{{.Name}} {{.Status}}",
    );
    assert.equal(shown.stdout, "thirteen Completed\n");
    const inspected = await engine.gantry("builder", "history", "inspect", "^");
    assert.match(inspected.stdout, new RegExp(`Build: +${id}`));
    const page = join(context, "page.html");
    const opened = await engine.gantry("builder", "history", "open", "-o", page);
    assert.equal(opened.stdout, `${page}\n`);
    assert.match(readFileSync(page, "utf8"), /<svg[\s\S]*RUN echo remembered[\s\S]*<pre>remembered/);
    assert.equal((await engine.gantry("builder", "history", "rm", id)).code, 0);
    assert.equal((await engine.gantry("builder", "history", "logs", id)).code, 1);
  });

  test("a build ends with events of its names and of itself", async () => {
    const context = folder({ Dockerfile: "FROM busybox\nLABEL of=events\n" });
    const since = String(Date.now() / 1000 - 1);
    await build("-t", "told:1", "-t", "told:2", context);
    const { stdout } = await engine.gantry("events", "--since", since, "--until", String(Date.now() / 1000 + 1));
    const told = stdout.split("\n").filter((line) => line.includes("of=events"));
    assert.deepEqual(
      told.map((line) => / image (\w+) /.exec(line)?.[1]),
      ["tag", "tag", "create"],
    );
    assert.match(told[2]!, /\(name=sha256:\w{64}, of=events/);
  });

  test("provenance says which repository a context is of", { skip: NO_GIT }, async () => {
    const context = folder({ "app/Dockerfile": "FROM scratch\nCOPY f /\n", "app/f": "x" });
    const git = (...args: string[]): string =>
      execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@example.com", "-C", context, ...args]).toString();
    git("init", "-q");
    git("remote", "add", "origin", "https://me:hidden@example.com/x.git");
    git("add", ".");
    git("commit", "-q", "-m", "one");
    const out = join(context, "out");
    await build("--provenance=mode=max", "-o", out, join(context, "app"));
    const { predicate } = JSON.parse(readFileSync(join(out, "provenance.json"), "utf8"));
    assert.deepEqual(predicate.metadata["https://mobyproject.org/buildkit@v1#metadata"].vcs, {
      "localdir:context": "app",
      "localdir:dockerfile": "app",
      revision: git("rev-parse", "HEAD").trim(),
      source: "https://example.com/x.git",
    });
  });

  test("bake asks before a definition reads elsewhere or uses the machine's network", async () => {
    const context = folder({
      "in/docker-bake.hcl": `
        target "out" {
          context = ".."
        }
        target "net" {
          network = "host"
          dockerfile-inline = "FROM busybox"
        }`,
      Dockerfile: "FROM busybox\n",
    });
    const bake = (...args: string[]) => engine.tool("gantry", ["bake", ...args], { cwd: join(context, "in") });
    const outside = await bake("out");
    assert.equal(outside.code, 1);
    assert.match(
      outside.stderr,
      / - Read access to path \.\.\n\nPass "--allow=fs\.read=\.\." to grant[\s\S]*ERROR: additional privileges requested\n$/,
    );
    assert.match((await bake("net")).stderr, / - Running build containers that can access host network\n/);
    for (const args of [
      ["out", "--allow", "fs.read=.."],
      ["net", "--allow", "network.host"],
    ]) {
      const { code, stderr } = await bake(...args);
      assert.equal(code, 0, stderr);
    }
    const env = { BUILDX_BAKE_ENTITLEMENTS_FS: "0" };
    assert.equal((await engine.tool("gantry", ["bake", "out"], { cwd: join(context, "in"), env })).code, 0);
  });

  test("bake tells the answers of --call by target, and leaves no name behind", async () => {
    const context = folder({
      "docker-bake.hcl": `
        target "default" {
          dockerfile-inline = "FROM base\\nMAINTAINER me"
          contexts = { base = "target:base" }
        }
        target "base" {
          dockerfile-inline = "FROM busybox"
        }`,
    });
    const { code, stderr, stdout } = await engine.tool("gantry", ["bake", "--check"], { cwd: context });
    assert.equal(code, 1, stderr);
    assert.equal(stderr, "");
    assert.match(stdout, /^default\n\nCheck complete, 1 warning has been found!\n\nWARNING: MaintainerDeprecated/);
    assert.doesNotMatch((await engine.gantry("images")).stdout, /gantry-bake/);
  });

  test("bake builds what its file says, one target as the context of another", async () => {
    const context = folder({
      "docker-bake.hcl": `
        variable "TAG" {
          default = "dev"
        }
        group "default" {
          targets = ["app"]
        }
        target "app" {
          dockerfile-inline = "FROM base\\nRUN echo app >> /o\\nCMD cat /o\\n"
          contexts = { base = "target:base" }
          tags = ["baked:\${TAG}"]
        }
        target "base" {
          dockerfile-inline = "FROM busybox\\nRUN echo base > /o\\n"
        }
      `,
    });
    const { code, stderr } = await engine.tool("gantry", ["bake", "--metadata-file", "told"], {
      cwd: context,
      env: { TAG: "v1" },
    });
    assert.equal(code, 0, stderr);
    assert.equal(await output("baked:v1"), "base\napp\n");
    assert.deepEqual(Object.keys(JSON.parse(readFileSync(join(context, "told"), "utf8")) as object).sort(), [
      "app",
      "base",
    ]);
    const printed = await engine.tool("gantry", ["bake", "--print"], { cwd: context });
    assert.equal(
      (JSON.parse(printed.stdout) as { target: { app: { tags: string[] } } }).target.app.tags[0],
      "baked:dev",
    );
    const none = await engine.tool("gantry", ["bake", "nothing"], { cwd: context });
    assert.match(none.stderr, /^ERROR: failed to find target nothing: there are default, app, base/);
    writeFileSync(join(context, "wrong.hcl"), 'target "a" {\n  tags = [nope]\n}\n');
    const wrong = await engine.tool("gantry", ["bake", "-f", "wrong.hcl", "a"], { cwd: context });
    assert.match(
      wrong.stderr,
      /^wrong\.hcl:2\n-+\n.*\n +2 \| >>> +tags = \[nope\]\n[\s\S]*\nERROR: wrong\.hcl:2,11-15: Unknown/,
    );
    assert.ok(existsSync(join(context, "told")));
  });
});
