import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Finished, RunOptions } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { imageOf, indexOf, layerOf, pushTo, randomImage } from "../oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";
import { Terminal } from "../terminal.ts";

const GANTRY = fileURLToPath(new URL("../../bin/gantry", import.meta.url));
const NOT_FOUND = "credentials not found in native keychain";

/** A credential helper that keeps a file for each registry below its own folder. */
const HELPER = `#!/bin/sh
input=$(cat)
echo "$1 $input" >>"$KEPT/calls"
path=$KEPT/$(echo "$input" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/' | tr '/:' '__')
case $1 in
  store) echo "$input" >"$path" ;;
  get) cat "$path" 2>/dev/null || { echo "${NOT_FOUND}"; exit 1; } ;;
  erase) rm "$path" 2>/dev/null || { echo "${NOT_FOUND}"; exit 1; } ;;
esac
`;

/** Contents by path of all files below a folder; none where it isn't there. */
function filesOf(folder: string): Readonly<Record<string, string>> {
  if (!existsSync(folder)) return {};
  const rows = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((row) => row.isFile());
  const paths = rows.map((row) => join(row.parentPath, row.name)).sort();
  return Object.fromEntries(paths.map((path) => [path.slice(folder.length), readFileSync(path, "utf8")]));
}

/** What was drawn since the cursor last went up, and what followed. */
function lastDrawing(text: string): string {
  return text.slice([...text.matchAll(/\x1b\[\d+A/g)].at(-1)?.index);
}

describe("the commands that talk to registries", { skip: registryMissing() }, () => {
  let engine: TestEngine;
  let open: TestRegistry;
  let locked: TestRegistry;
  let guarded: TestRegistry;

  before(async () => {
    [open, locked, guarded] = await Promise.all([
      startRegistry(),
      startRegistry({ htpasswd: { joe: "secret", ann: "hunter2" } }),
      startRegistry({ token: true }),
    ]);
    const app = imageOf({ layers: [layerOf([{ name: "a", body: "a\n" }])] });
    await Promise.all([
      pushTo(open, "team/app:1", app),
      pushTo(open, "team/app:2", imageOf({ layers: [layerOf([{ name: "b", body: "b\n" }])] })),
      pushTo(open, "db:latest", app),
      pushTo(locked, "secret/app:1", app),
      pushTo(guarded, "secret/app:1", app),
    ]);
    engine = await startEngine();
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    for (const registry of [open, locked, guarded]) await registry?.[Symbol.asyncDispose]();
  });

  /** A user's own configuration folder, with helpers on a PATH of its own. */
  class User {
    readonly folder = mkdtempSync(join(engine.root, "user-"));
    readonly programs = join(this.folder, "bin");
    readonly kept = join(this.folder, "kept");
    readonly env: NodeJS.ProcessEnv = {
      DOCKER_CONFIG: this.folder,
      PATH: `${this.programs}:${process.env.PATH}`,
      KEPT: this.kept,
    };

    constructor(config?: unknown) {
      mkdirSync(this.programs);
      mkdirSync(this.kept);
      if (config !== undefined) writeFileSync(join(this.folder, "config.json"), JSON.stringify(config));
    }

    helper(name: string, script = HELPER): void {
      const path = join(this.programs, `docker-credential-${name}`);
      writeFileSync(path, script);
      chmodSync(path, 0o755);
    }

    get config(): Record<string, unknown> {
      return JSON.parse(readFileSync(join(this.folder, "config.json"), "utf8")) as Record<string, unknown>;
    }

    run(args: readonly string[], options: RunOptions = {}, tool: "docker" | "gantry" = "gantry"): Promise<Finished> {
      return engine.tool(tool, args, { ...options, env: { ...this.env, ...options.env } });
    }

    terminal(...args: readonly string[]): Terminal {
      const host = `unix://${engine.socket}`;
      return new Terminal(GANTRY, args, { ...process.env, TERM: "xterm", ...this.env, GANTRY_HOST: host });
    }
  }

  const forget = async (): Promise<void> => {
    const rows = (await engine.request("GET", "/images/json")).json as { Id: string; RepoTags: string[] | null }[];
    for (const { Id, RepoTags } of rows) {
      if (!RepoTags?.includes("busybox:latest")) await engine.request("DELETE", `/images/${Id}?force=1`);
    }
  };

  describe("beside docker's", { skip: NO_DOCKER }, () => {
    const both = async (args: readonly string[], users: { docker: User; gantry: User }, input?: string) => {
      const options = input === undefined ? {} : { input };
      const alike = ({ code, stdout, stderr }: Finished, user: User) => {
        const same = (text: string): string =>
          text.replaceAll("gantry", "docker").replaceAll(user.folder.replaceAll("gantry", "docker"), "FOLDER");
        return { code, stdout: same(stdout), stderr: same(stderr) };
      };
      const expected = alike(await users.docker.run(args, options, "docker"), users.docker);
      const actual = alike(await users.gantry.run(args, options), users.gantry);
      assert.deepEqual(actual, expected, args.join(" "));
      return actual;
    };

    test("pull and push print the same, quietly, with all tags, and of what they refuse", async () => {
      const users = { docker: new User(), gantry: new User() };
      const app = `${open.host}/team/app`;
      const rows: readonly (readonly string[])[] = [
        ["pull", `${app}:1`],
        ["pull", app],
        ["pull", "-q", `${app}:1`],
        ["pull", "-a", `${app}:1`],
        ["pull", "-aq", app],
        ["pull", `${open.host}/none:1`],
        ["pull", "UPPER"],
        ["pull", "a".repeat(64)],
        ["pull", "--platform", "a/b/c/d", `${app}:1`],
        ["pull", `${locked.host}/secret/app:1`],
        ["pull", "127.0.0.1:1/x:1"],
        ["push", `${app}:1`],
        ["push", app],
        ["push", "-q", `${app}:1`],
        ["push", "-a", app],
        ["push", "-aq", app],
        ["push", "-a", `${app}:1`],
        ["push", "--platform", "linux/amd64", `${app}:1`],
        ["push", `${app}@sha256:${"0".repeat(64)}`],
        ["push", `${open.host}/none:1`],
        ["push", "-q", `${open.host}/none:1`],
        ["image", "push", "UPPER"],
      ];
      await both(["pull", "-q", `${app}:1`], users);
      await both(["pull", "-q", `${app}:2`], users);
      for (const args of rows) await both(args, users);
    });

    test("login and logout print, keep and forget the same", async () => {
      const users = { docker: new User(), gantry: new User() };
      const same = async (args: readonly string[], input?: string): Promise<Finished["stderr"]> => {
        const { stderr } = await both(args, users, input);
        const [docker, gantry] = [users.docker, users.gantry].map(({ folder }) => join(folder, "config.json"));
        assert.equal(existsSync(gantry ?? ""), existsSync(docker ?? ""), args.join(" "));
        if (existsSync(docker ?? ""))
          assert.equal(readFileSync(gantry ?? "", "utf8"), readFileSync(docker ?? "", "utf8"));
        return stderr;
      };
      const { host } = locked;
      await same(["login", host]);
      await same(["login", "-u", "joe", host]);
      await same(["login", "-u", "joe", "-p", "wrong", host]);
      await same(["login", "-u", "", host]);
      await same(["login", "-u", "joe", "-p", "", host]);
      await same(["login", "--password-stdin", host], "secret");
      await same(["login", "-u", "joe", "-p", "x", "--password-stdin", host], "secret");
      assert.match(await same(["login", "-u", "joe", "-p", "secret", host]), /stored unencrypted in 'FOLDER/);
      await same(["login", host]);
      await same(["login", "-u", "ann", "--password-stdin", host], "hunter2\r\n");
      await same(["login", "-u", "ann", "--password-stdin", `http://${host}/v2/`], "hunter2\n");
      await same(["logout", host]);
      await same(["logout", `http://${host}/v1/`]);
      await same(["login", "-u", "joe", "-p", "secret", "127.0.0.1:1"]);
    });

    test("search prints the same", async () => {
      const users = { docker: new User(), gantry: new User() };
      const rows: readonly (readonly string[])[] = [
        [`${open.host}/app`],
        ["--no-trunc", `${open.host}/`],
        ["--limit", "1", `${open.host}/`],
        ["--format", "json", `${open.host}/app`],
        ["--format", "{{json .}}", `${open.host}/app`],
        ["--format", "table {{.Name}}\\t{{.StarCount}}", `${open.host}/app`],
        ["--format", "{{.Foo}}", `${open.host}/app`],
        ["--filter", "stars=1", `${open.host}/app`],
        ["--filter", "is-official=true", `${open.host}/app`],
        ["--filter", "is-automated=true", `${open.host}/app`],
        ["--filter", "is-official=maybe", `${open.host}/app`],
        ["--filter", "stars=many", `${open.host}/app`],
        ["--filter", "colour=red", `${open.host}/app`],
        ["--filter", "stars", `${open.host}/app`],
        ["--limit", "101", `${open.host}/app`],
        ["http://x/app"],
        [],
        ["a", "b"],
      ];
      for (const args of rows) await both(["search", ...args], users);
    });

    test("manifest prints the same, keeps the same files and pushes the same lists", async () => {
      const users = { docker: new User(), gantry: new User() };
      // Without the recording side, which answers TLS otherwise than a registry: docker's own client asks for that first.
      const [arm, oci] = [
        imageOf({ platform: { os: "linux", architecture: "arm64", variant: "v8" }, mediaTypes: "docker" }),
        imageOf({ layers: [layerOf([{ name: "oci", body: "<&>" }])] }),
      ];
      const digest = await pushTo(open, "team/arm:1", arm);
      await pushTo(open, "team/oci:1", oci);
      await pushTo(open, "team/both:1", indexOf([oci, arm], { attestations: true }));
      const name = (text: string): string => `${open.directHost}/${text}`;
      const same = async (...args: readonly string[]): Promise<void> => {
        await both(["manifest", ...args.map((word) => word.replace(/^@/, `${open.directHost}/`))], users);
        assert.deepEqual(
          filesOf(join(users.gantry.folder, "manifests")),
          filesOf(join(users.docker.folder, "manifests")),
        );
      };
      await same("create", "--insecure", "@team/list:1", "@team/arm:1", "@team/oci:1");
      await same("create", "--insecure", "@team/list:1", "@team/arm:1");
      await same("create", "--insecure", "-a", "@team/list:1", `${name("team/arm")}@${digest}`);
      await same("create", "--insecure", "@team/other:1", "@team/none:1");
      await same("create", "--insecure", "@team/other:1", "@team/both:1");
      await same("create", "--insecure", "UPPER", "@team/arm:1");
      await same("create", "@team/other:1");
      const features = ["--os-features", "a,b", "--os-features", "b,c"];
      await same("annotate", "@team/list:1", "@team/oci:1", "--variant", "v1", "--os-version", "1.2", ...features);
      await same("annotate", "@team/list:1", "@team/arm:1", "--os", "freebsd", "--arch", "arm");
      await same("annotate", "@team/list:1", "@team/none:1", "--arch", "arm64");
      await same("annotate", "UPPER", "@team/none:1");
      for (const flags of [["--insecure"], ["--insecure", "-v"]]) {
        await same("inspect", ...flags, "@team/list:1");
        await same("inspect", ...flags, "@team/list:1", "@team/arm:1");
        await same("inspect", ...flags, "@team/list:1", "@team/none:1");
        await same("inspect", ...flags, "@team/arm:1");
        await same("inspect", ...flags, "@team/oci:1");
        await same("inspect", ...flags, "@team/none:1");
      }
      await same("inspect", "--insecure", "@team/both:1");
      await same("push", "--insecure", "@team/none:1");
      await same("push", "--insecure", "@team/list:1");
      await same("push", "--insecure", "-p", "@team/list:1");
      await same("inspect", "--insecure", "@team/list:1");
      await same("inspect", "--insecure", "-v", "@team/list:1");
      await same("create", "--insecure", "@team/oci:list", "@team/oci:1", "@team/arm:1");
      await same("push", "--insecure", "@team/oci:list");
      await same("create", "--insecure", `${locked.directHost}/list:1`, "@team/arm:1");
      await same("push", "--insecure", `${locked.directHost}/list:1`);
      await same("rm", "@team/oci:list", "@team/none:1", "UPPER");
      await same("foo");
    });

    test("each tool goes on with the manifest list that the other began", async () => {
      const joe = new User();
      const list = `${open.directHost}/team/begun:1`;
      for (const [tool, ...args] of [
        ["docker", "create", "--insecure", list, `${open.directHost}/team/app:1`],
        ["gantry", "create", "--insecure", "-a", list, `${open.directHost}/team/app:2`],
        ["docker", "annotate", list, `${open.directHost}/team/app:2`, "--arch", "arm64"],
        ["gantry", "annotate", list, `${open.directHost}/team/app:2`, "--variant", "v8"],
        ["docker", "push", "--insecure", "-p", list],
      ] as const) {
        const said = await joe.run(["manifest", ...args], {}, tool);
        assert.equal(said.code, 0, said.stderr);
      }
      const { body } = await open.request("GET", "/v2/team/begun/manifests/1", {
        headers: { Accept: "application/vnd.oci.image.index.v1+json" },
      });
      const { manifests } = JSON.parse(body.toString()) as { manifests: { platform: object }[] };
      assert.deepEqual(manifests[1]?.platform, { architecture: "arm64", os: "linux", variant: "v8" });
    });

    test("run and create pull as docker's do", async () => {
      const users = { docker: new User(), gantry: new User() };
      const rows: readonly (readonly string[])[] = [
        ["create", "--pull", "never", `${open.host}/team/app:1`, "x"],
        ["run", "--rm", `${open.host}/none:1`, "x"],
        ["create", "--pull", "always", `${open.host}/none:1`, "x"],
        ["run", "--rm", `${locked.host}/secret/app:1`, "x"],
      ];
      await forget();
      for (const args of rows) await both(args, users);
    });
  });

  test("a pull by run, create and pull carries the credentials of its own registry, and no other gets them", async () => {
    const auth = { auth: Buffer.from("joe:secret").toString("base64") };
    const joe = new User({ auths: { [locked.host]: auth, "https://index.docker.io/v1/": auth } });
    for (const line of [
      ["pull", "-q"],
      ["create", "--name", "one"],
      ["create", "--name", "two", "--pull", "always"],
    ]) {
      await forget();
      await joe.run(["rm", "-f", "one", "two"]);
      const last = line[0] === "create" ? ["sh"] : [];
      const said = await joe.run([...line, `${locked.host}/secret/app:1`, ...last]);
      assert.equal(said.code, 0, said.stderr);
    }
    await joe.run(["rm", "-f", "one", "two"]);
    open.forget();
    assert.equal((await joe.run(["pull", "-q", `${open.host}/db`])).code, 0);
    assert.ok(open.requests.length > 0);
    for (const { headers } of open.requests) assert.equal(headers.authorization, undefined);
  });

  test("credentials kept by a helper are used by pull and push, and are in no file", async () => {
    const joe = new User({ credHelpers: { [locked.host]: "box" }, later: { a: 1 } });
    joe.helper("box");
    const said = await joe.run(["login", "-u", "joe", "--password-stdin", locked.host], { input: "secret\n" });
    assert.deepEqual([said.code, said.stdout, said.stderr], [0, "Login Succeeded\n", ""]);
    assert.deepEqual(joe.config, {
      auths: { [locked.host]: {} },
      credHelpers: { [locked.host]: "box" },
      later: { a: 1 },
    });
    assert.equal((await joe.run(["pull", "-q", `${locked.host}/secret/app:1`])).code, 0);
    assert.equal((await joe.run(["tag", `${locked.host}/secret/app:1`, `${locked.host}/secret/app:new`])).code, 0);
    assert.equal((await joe.run(["push", "-q", `${locked.host}/secret/app:new`])).code, 0);
    assert.equal((await joe.run(["logout", locked.host])).code, 0);
    assert.equal((await joe.run(["push", "-q", `${locked.host}/secret/app:new`])).code, 1);
    const calls = readFileSync(join(joe.kept, "calls"), "utf8");
    assert.match(calls, new RegExp(`^store .*"Secret":"secret".*\nget ${locked.host}\nget ${locked.host}\nerase `));
  });

  test("a container with the engine's socket gets what helpers keep, as it has none of its own", async () => {
    const joe = new User({ credsStore: "box" });
    joe.helper("box");
    await joe.run(["login", "-u", "joe", "--password-stdin", locked.host], { input: "secret" });
    const line = ["run", "--rm", "--use-api-socket", "busybox", "sh", "-c", "cat $DOCKER_CONFIG/config.json"];
    const { code, stdout, stderr } = await joe.run(line);
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), {
      auths: { [locked.host]: { auth: Buffer.from("joe:secret").toString("base64") } },
    });
  });

  test("a helper that fails is warned of in one sentence, and what needs no credentials goes on", async () => {
    const joe = new User({ credsStore: "bad" });
    const pulled = async (): Promise<string> => {
      const { code, stderr } = await joe.run(["pull", "-q", `${open.host}/db`], {
        env: { GANTRY_CREDENTIALS_TIMEOUT: "0.5" },
      });
      assert.equal(code, 0);
      return stderr;
    };
    const why = (text: string): string =>
      `WARNING: going on without credentials for ${open.host}: error getting credentials - err: ${text}\n`;
    assert.equal(await pulled(), why('exec: "docker-credential-bad": executable file not found in $PATH, out: ``'));
    joe.helper("bad", "#!/bin/sh\necho '<html>secret'\n");
    assert.equal(await pulled(), why("docker-credential-bad printed something that is not JSON"));
    joe.helper("bad", "#!/bin/sh\necho locked; exit 2\n");
    assert.equal(await pulled(), why("exit status 2, out: `locked`"));
    joe.helper("bad", "#!/bin/sh\nexec sleep 600\n");
    assert.equal(await pulled(), why("docker-credential-bad did not answer within 0.5 s, out: ``"));
    const { code, stderr } = await joe.run(["login", "-u", "joe", "--password-stdin", locked.host], {
      input: "secret",
      env: { GANTRY_CREDENTIALS_TIMEOUT: "0.5" },
    });
    assert.equal(code, 1);
    assert.match(stderr, /^Error saving credentials: error storing credentials - err: .* did not answer within 0\.5 s/);
  });

  test("a registry with tokens gives an identity token, which takes the password's place from then on", async () => {
    const joe = new User();
    const said = await joe.run(["login", "-u", "joe", "--password-stdin", guarded.host], { input: "secret" });
    assert.deepEqual([said.code, said.stdout, said.stderr], [0, "Login Succeeded\n", ""]);
    const kept = (joe.config.auths as Record<string, { auth: string; identitytoken: string }>)[guarded.host];
    assert.equal(kept?.auth, Buffer.from("joe:").toString("base64"));
    assert.notEqual(kept?.identitytoken ?? "", "");
    assert.equal(statSync(join(joe.folder, "config.json")).mode & 0o777, 0o600);
    await forget();
    const pulled = await joe.run(["pull", "-q", `${guarded.host}/secret/app:1`]);
    assert.equal(pulled.code, 0, pulled.stderr);
    assert.ok(guarded.tokens?.wishes.some(({ grant }) => grant === "refresh_token"));
    const searched = await joe.run(["search", "--format", "{{.Name}}", `${guarded.host}/app`]);
    assert.equal(searched.stdout, `${guarded.host}/secret/app\n`, searched.stderr);
  });

  test("a person is asked for name and password, and what they type is not shown", async () => {
    const joe = new User();
    await using terminal = joe.terminal("login", locked.host);
    await terminal.shows(/Username: $/);
    terminal.type("joe\r");
    await terminal.shows(/Password: $/);
    terminal.type("wrong\x15secrex\x7ft\r");
    assert.equal(await terminal.exit, 0);
    assert.match(
      terminal.text,
      /Password: \r\n\r\nWARNING! Your credentials are stored unencrypted .*Login Succeeded\r\n$/s,
    );
    assert.doesNotMatch(terminal.text, /secre|wrong/);
    assert.deepEqual(joe.config, { auths: { [locked.host]: { auth: Buffer.from("joe:secret").toString("base64") } } });
  });

  test("a person who interrupts the question for the password has their terminal back", async () => {
    const joe = new User();
    await using shell = new Terminal("/bin/sh", [], {
      ...process.env,
      ...joe.env,
      GANTRY_HOST: `unix://${engine.socket}`,
      PS1: "$ ",
    });
    shell.type(`${GANTRY} login -u joe ${locked.host}; echo "code $?"\r`);
    await shell.shows(/Password: $/);
    shell.type("\x03");
    // What is typed before the shell asks for it is echoed before the prompt.
    await shell.shows(/code 130\r\n\$ $/);
    shell.type("echo sh''own\r");
    await shell.shows(/echo sh''own\r\nshown/);
    shell.type("exit\r");
    await shell.exit;
    assert.equal(existsSync(join(joe.folder, "config.json")), false);
  });

  test("on a terminal a pull of many layers keeps to the screen, and leaves all its lines", async () => {
    const layers = Array.from({ length: 40 }, (_, n) => layerOf([{ name: `f${n}`, body: `${n}\n` }]));
    await pushTo(open, "many:1", imageOf({ layers }));
    await using terminal = new User().terminal("pull", `${open.host}/many:1`);
    assert.equal(await terminal.exit, 0);
    const end = lastDrawing(terminal.text);
    // Lines that are as they were are passed over.
    assert.equal(end.slice(0, end.indexOf("Digest: ")).match(/\n/g)?.length, 41);
    const ups = [...terminal.text.matchAll(/\x1b\[(\d+)A/g)].map(([, count]) => Number(count));
    assert.ok(Math.max(...ups) < 30, "it never goes above the first line of its own");
    assert.match(end, /Status: Downloaded newer image for .*\/many:1\r\n.*\/many:1\r\n$/);
  });

  test("on a terminal the last line tells how fast a pull is and what remains", async () => {
    await pushTo(open, "big:1", randomImage("speed", { layers: 2, size: 16 << 20 }));
    await using terminal = new User().terminal("pull", `${open.host}/big:1`);
    assert.equal(await terminal.exit, 0);
    assert.match(terminal.text, /\d of \d done, [\d.]+[kM]B of [\d.]+MB/);
    assert.doesNotMatch(lastDrawing(terminal.text), /done, /);
  });

  test("on a terminal that can't redraw its lines a pull shows what it shows through a pipe", async () => {
    await pushTo(open, "plain:1", randomImage("plain", { layers: 2, size: 1 << 20 }));
    const user = new User();
    user.env.TERM = "dumb";
    await using terminal = user.terminal("pull", `${open.host}/plain:1`);
    assert.equal(await terminal.exit, 0);
    assert.doesNotMatch(terminal.text, /\x1b|\dMB/);
    assert.match(terminal.text, /^1: Pulling from plain\r\n[0-9a-f]{12}: Pulling fs layer\r\n/);
  });

  test("image copy brings all platforms of an image to another registry, each asked with its own credentials", async () => {
    const arm = imageOf({ platform: { os: "linux", architecture: "arm64" } });
    const digest = await pushTo(guarded, "multi/app:1", indexOf([imageOf(), arm], { attestations: true }));
    const joe = new User();
    const target = `${locked.host}/copied/app:new`;
    const copy = (...args: readonly string[]): Promise<Finished> =>
      joe.run(["image", "copy", ...args, `${guarded.host}/multi/app:1`, target]);
    const refused = await copy();
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /authentication required|unauthorized|no basic auth credentials/);
    await joe.run(["login", "-u", "joe", "--password-stdin", guarded.host], { input: "secret" });
    await joe.run(["login", "-u", "ann", "--password-stdin", locked.host], { input: "hunter2" });
    guarded.forget();
    locked.forget();
    const copied = await copy();
    assert.equal(copied.code, 0, copied.stderr);
    assert.match(copied.stdout, /: Copied\n/);
    const headers = { Accept: "application/vnd.oci.image.index.v1+json" };
    const found = await locked.request("HEAD", "/v2/copied/app/manifests/new", { headers });
    assert.equal(found.headers["docker-content-digest"], digest);
    const ann = `Basic ${Buffer.from("ann:hunter2").toString("base64")}`;
    for (const { headers } of locked.requests) assert.ok([undefined, ann].includes(headers.authorization));
    for (const { headers } of guarded.requests) assert.doesNotMatch(headers.authorization ?? "", /^Basic/);
    const again = await copy("-q");
    assert.deepEqual([again.code, again.stdout, again.stderr], [0, `${target}\n`, ""]);
    const one = await copy("--platform", "linux/riscv64");
    assert.equal(one.code, 1);
    assert.match(one.stderr, /no matching manifest for linux\/riscv64/);
  });

  test("where the engine has a default registry, names and login mean that one, and its credentials go to it", async () => {
    await using other = await startEngine({ args: ["--default-registry", locked.host], image: false });
    const hub = { auth: Buffer.from("hub:hubs-own").toString("base64") };
    const joe = new User({ auths: { "https://index.docker.io/v1/": hub } });
    const run = (args: readonly string[], input = "") => other.tool("gantry", args, { env: joe.env, input });
    locked.forget();
    assert.equal((await run(["pull", "-q", "secret/app:1"])).code, 1);
    for (const { headers } of locked.requests) assert.equal(headers.authorization, undefined);
    const said = await run(["login", "-u", "joe", "--password-stdin"], "secret");
    assert.equal(said.code, 0, said.stderr);
    assert.deepEqual(Object.keys(joe.config.auths as object).sort(), [locked.host, "https://index.docker.io/v1/"]);
    const pulled = await run(["pull", "-q", "secret/app:1"]);
    assert.deepEqual([pulled.code, pulled.stdout], [0, `${locked.host}/secret/app:1\n`], pulled.stderr);
    assert.equal((await run(["push", "-q", "secret/app:1"])).code, 0);
    assert.equal((await run(["search", "--format", "{{.Name}}", "secret"])).stdout, `${locked.host}/secret/app\n`);
    assert.equal((await run(["logout"])).stdout, `Removing login credentials for ${locked.host}\n`);
    assert.deepEqual(joe.config.auths, { "https://index.docker.io/v1/": hub });
  });

  test("content trust is refused with what to use instead", async () => {
    const joe = new User();
    const asked = [
      await joe.run(["pull", "--disable-content-trust=false", `${open.host}/db`]),
      await joe.run(["push", `${open.host}/db`], { env: { DOCKER_CONTENT_TRUST: "1" } }),
    ];
    for (const { code, stderr } of asked) {
      assert.equal(code, 1);
      assert.match(stderr, /^Docker Content Trust is not available: .*`gantry image sign`/);
    }
    const quiet = ["pull", "-q", "--disable-content-trust", `${open.host}/db`];
    assert.equal((await joe.run(quiet, { env: { DOCKER_CONTENT_TRUST: "1" } })).code, 0);
  });
});
