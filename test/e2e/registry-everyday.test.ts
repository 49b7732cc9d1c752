import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { request as forward } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { answer, oneImage, serve } from "../../src/remote/registry.fixture.ts";
import type { Finished } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { imageOf, indexOf, layerOf, pushTo, randomImage } from "../oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const SECRET = Buffer.from("joe:secret").toString("base64");

describe("what people do with registries every day", { skip: registryMissing() }, () => {
  let engine: TestEngine;
  let open: TestRegistry;
  let locked: TestRegistry;

  before(async () => {
    [open, locked] = await Promise.all([startRegistry(), startRegistry({ htpasswd: { joe: "secret" } })]);
    await pushTo(locked, "secret/app:1", imageOf({ layers: [layerOf([{ name: "a", body: "a\n" }])] }));
    engine = await startEngine({ image: false });
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await open?.[Symbol.asyncDispose]();
    await locked?.[Symbol.asyncDispose]();
  });

  const gantry = (args: readonly string[], env: NodeJS.ProcessEnv = {}, input?: string): Promise<Finished> =>
    engine.tool("gantry", args, { env, ...(input !== undefined && { input }) });

  const good = async (args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> => {
    const { code, stdout, stderr } = await gantry(args, env);
    assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
    return stdout;
  };

  const forget = async (): Promise<void> => {
    const rows = (await engine.request("GET", "/images/json")).json as { Id: string }[];
    for (const { Id } of rows) await engine.request("DELETE", `/images/${Id}?force=1`);
    await engine.request("POST", "/images/prune");
  };

  test("several images are pulled and pushed by one command, and one that fails leaves the others be", async () => {
    await forget();
    const names = ["one:1", "two:1", "three:1"].map((name) => `${open.host}/several/${name}`);
    for (const [index, name] of names.entries()) {
      await pushTo(open, name.slice(open.host.length + 1), imageOf({ layers: [layerOf([{ name: `f${index}` }])] }));
    }
    const missing = `${open.host}/several/none`;
    const pulled = await gantry(["pull", "-q", names[0]!, missing, names[1]!, names[2]!]);
    assert.equal(pulled.code, 1);
    assert.equal(pulled.stdout, `${names.join("\n")}\n`);
    assert.match(pulled.stderr, new RegExp(`^${missing}: Error response from daemon: manifest for .* not found`));
    await good(["tag", names[0]!, `${open.host}/several/new:1`]);
    const pushed = await gantry(["push", "-q", `${open.host}/several/none:1`, `${open.host}/several/new:1`]);
    assert.deepEqual([pushed.code, pushed.stdout], [1, `${open.host}/several/new:1\n`]);
    const wrong = await gantry(["pull", names[0]!, "UPPER"]);
    assert.deepEqual([wrong.code, wrong.stdout], [1, ""], "a name that is none is refused before anything is done");
  });

  test("a pull that is only tried says what it would download, and keeps nothing", async () => {
    await forget();
    const base = layerOf([{ name: "base", body: "base\n" }]);
    await pushTo(open, "plan/base:1", imageOf({ layers: [base] }));
    await pushTo(open, "plan/app:1", imageOf({ layers: [base, layerOf([{ name: "app", body: "app\n" }])] }));
    const name = `${open.host}/plan/app:1`;
    const first = await good(["pull", "--dry-run", name]);
    assert.match(
      first,
      new RegExp(
        `^[0-9a-f]{12}: \\d+B to download\\n[0-9a-f]{12}: \\d+B to download\\nDigest: sha256:\\S+\\n\\d+B to download for ${name} \\(linux/\\w+\\)\\n$`,
      ),
    );
    assert.deepEqual((await engine.request("GET", "/images/json")).json, []);
    assert.equal(open.asked("GET", "blobs").filter(({ received }) => received > 1000).length, 0);
    await good(["pull", "-q", `${open.host}/plan/base:1`]);
    assert.match(
      await good(["pull", "--dry-run", name]),
      /^[0-9a-f]{12}: Already exists\n[0-9a-f]{12}: \d+B to download\nDigest: .*\n\d+B of \d+B to download for /,
    );
    await good(["pull", "-q", name]);
    assert.match(await good(["pull", "--dry-run", "-q", name]), /^Nothing to download for /);
    for (const [args, why] of [
      [["-a", `${open.host}/plan/app`], /^--dry-run is for images/],
      [["--platform", "linux/s390x", `${open.host}/plan/none`], /not found/],
    ] as const) {
      const { code, stderr } = await gantry(["pull", "--dry-run", ...args]);
      assert.equal(code, 1);
      assert.match(stderr, why);
    }
    await pushTo(open, "plan/multi:1", indexOf([imageOf()]));
    const { stderr } = await gantry(["pull", "--dry-run", "--platform", "linux/s390x", `${open.host}/plan/multi:1`]);
    assert.match(stderr, /no matching manifest for linux\/s390x/);
  });

  test("a registry that counts pulls tells how many are left", async () => {
    await using hub = await serve((request, response) => {
      response.setHeader("RateLimit-Limit", "100;w=21600");
      response.setHeader("RateLimit-Remaining", "76;w=21600");
      oneImage(request, response);
    });
    const said = await good(["pull", "--dry-run", "--platform", "linux/arm64", `${hub.host}/a/b:1`]);
    assert.match(said, /\nRate limit: 76 of 100 pulls in 6 hours are left\nNothing to download for /);
  });

  test("a repository's tags are listed in the order that people count in, and filtered", async () => {
    const app = imageOf({ layers: [layerOf([{ name: "tags" }])] });
    for (const tag of ["v10", "v2", "latest", "v1"]) await pushTo(open, `tags/app:${tag}`, app);
    const name = `${open.host}/tags/app`;
    assert.equal(await good(["image", "tags", "-q", name]), "latest\nv1\nv2\nv10\n");
    assert.equal(await good(["image", "tags", "-q", "-f", "tag=v1*", "-f", "tag=l?test", name]), "latest\nv1\nv10\n");
    assert.equal(
      (await good(["image", "tags", "--format", "json", "-f", "tag=v2", name])).trim(),
      JSON.stringify({ Repository: name, Tag: "v2" }),
    );
    for (const [args, why] of [
      [[`${name}:v1`], /give a name without tag and digest/],
      [["-f", "name=x", name], /there is tag=PATTERN/],
      [[`${open.host}/tags/none`], /repository .*\/tags\/none not found/],
      [[`${locked.host}/secret/app`], /no basic auth credentials/],
    ] as const) {
      const { code, stderr } = await gantry(["image", "tags", ...args]);
      assert.equal(code, 1);
      assert.match(stderr, why);
    }
  });

  test("an image is removed at its registry with its tags, and one that lets nothing be removed says so", async () => {
    const name = `${open.host}/gone/app`;
    await pushTo(open, "gone/app:1", imageOf({ layers: [layerOf([{ name: "one" }])] }));
    const digest = await pushTo(open, "gone/app:2", imageOf({ layers: [layerOf([{ name: "two" }])] }));
    const byTag = await gantry(["image", "unpush", `${name}:2`]);
    assert.equal(byTag.code, 1);
    assert.match(
      byTag.stderr,
      new RegExp(`removes no tags, only images with all of their tags.* ${name}@${digest}\n$`),
    );
    const both = await gantry(["image", "unpush", `${name}:2@${digest}`]);
    assert.match(both.stderr, /with all of its tags: name the tag or the digest alone\n$/);
    assert.equal(await good(["image", "unpush", `${name}@${digest}`]), `Deleted: ${name}@${digest}\n`);
    assert.equal(await good(["image", "tags", "-q", name]), "1\n");
    const again = await gantry(["image", "unpush", `${name}:2`]);
    assert.match(again.stderr, /manifest for .*:2 not found/);
    const whole = await gantry(["image", "unpush", name]);
    assert.match(whole.stderr, /is a whole repository/);
    await using kept = await startRegistry({ delete: false });
    const other = await pushTo(kept, "kept/app:1", imageOf());
    const refused = await gantry(["image", "unpush", `${kept.host}/kept/app@${other}`]);
    assert.match(refused.stderr, /does not let anything be removed: unsupported/);
  });

  test("a tag is removed where the registry can do that", async () => {
    await using modern = await serve((request, response) => {
      if (request.method === "DELETE" && request.url === "/v2/a/b/manifests/1") answer(request, response, 202, "", "");
      else oneImage(request, response);
    });
    assert.equal(await good(["image", "unpush", `${modern.host}/a/b:1`]), `Untagged: ${modern.host}/a/b:1\n`);
  });

  test("credentials of the environment go before all others, and are written nowhere", async () => {
    const folder = mkdtempSync(join(engine.root, "user-"));
    const given = JSON.stringify({ auths: { [`http://${locked.host}/v2/`]: { auth: SECRET } } });
    const env = { DOCKER_CONFIG: folder, DOCKER_AUTH_CONFIG: given };
    assert.equal(await good(["pull", "-q", `${locked.host}/secret/app:1`], env), `${locked.host}/secret/app:1\n`);
    const proven = await gantry(["login", locked.host], env);
    assert.match(proven.stderr, /Warn -> DOCKER_AUTH_CONFIG is set and takes precedence\./);
    assert.equal(proven.stdout, "Login Succeeded\n");
    assert.equal(existsSync(join(folder, "config.json")), false);
    for (const [text, why] of [
      ['{"auths":', "unexpected EOF"],
      ["{} {}", "GANTRY_AUTH_CONFIG does not support more than one JSON object"],
      ['{"auths":{"a":{}}}', "GANTRY_AUTH_CONFIG environment variable is missing key `auth` for a"],
      ['{"auths":{"a":{"auth":"!"}}}', "the auth of a is not base64"],
      ['{"auths":[]}', "its auths are no object of objects"],
    ] as const) {
      const { code, stderr } = await gantry(["pull", "-q", `${locked.host}/secret/app:1`], {
        ...env,
        GANTRY_AUTH_CONFIG: text,
      });
      assert.equal(code, 1);
      assert.ok(stderr.startsWith(`Failed to create credential store from GANTRY_AUTH_CONFIG:  ${why}\n`), stderr);
    }
  });

  test("a person whom a registry doesn't let in is told how to log in, and a program is told no more than by docker", async () => {
    await good(["pull", "-q", `${locked.host}/secret/app:1`], {
      DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { [locked.host]: { auth: SECRET } } }),
    });
    for (const verb of ["pull", "push"]) {
      await using terminal = engine.terminal("gantry", verb, `${locked.host}/secret/app:1`);
      assert.equal(await terminal.exit, 1);
      assert.ok(terminal.text.includes("no basic auth credentials: log in by"), terminal.text);
      assert.ok(terminal.text.replace(/\r\n/g, "").includes(`'gantry login ${locked.host}'`), terminal.text);
      const { stderr } = await gantry([verb, `${locked.host}/secret/app:1`]);
      assert.match(stderr, /no basic auth credentials\n$/);
    }
  });

  test("where credentials are kept is listed without asking for one of them", async () => {
    const folder = mkdtempSync(join(engine.root, "user-"));
    const programs = join(folder, "bin");
    mkdirSync(programs);
    writeFileSync(
      join(programs, "docker-credential-box"),
      `#!/bin/sh\necho $1 >>${folder}/calls\n[ $1 = list ] && echo '{"https://index.docker.io/v1/":"ann","t.example":"<token>"}'\n`,
    );
    chmodSync(join(programs, "docker-credential-box"), 0o755);
    const config = {
      auths: { "f.example": { auth: SECRET }, "t.example": {}, "bad.example": { auth: "?" } },
      credsStore: "box",
      credHelpers: { "f.example": "", "bad.example": "" },
    };
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    const { code, stdout, stderr } = await gantry(["login", "--list"], {
      DOCKER_CONFIG: folder,
      PATH: `${programs}:${process.env.PATH}`,
      DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { "e.example": { auth: SECRET } } }),
    });
    assert.equal(code, 1);
    assert.equal(stderr, "WARNING: the auth of bad.example is not base64\n");
    assert.deepEqual(
      stdout.split("\n").map((line) => line.trimEnd().split(/ {2,}/)),
      [
        ["REGISTRY", "USERNAME", "KEPT IN"],
        ["docker.io", "ann", "docker-credential-box"],
        ["e.example", "joe", "DOCKER_AUTH_CONFIG"],
        ["f.example", "joe", join(folder, "config.json")],
        ["t.example", "docker-credential-box"],
        [""],
      ],
    );
    assert.equal(readFileSync(join(folder, "calls"), "utf8"), "list\n");
    const wrong = await gantry(["login", "--list", "f.example"]);
    assert.deepEqual([wrong.code, wrong.stderr], [1, "--list takes no server\n"]);
  });

  test("the settings' proxy is the way to a registry, and the mirror of any registry is asked in its place", async () => {
    const made = imageOf({ layers: [layerOf([{ name: "far", body: "far\n" }])] });
    await pushTo(open, "far/app:1", made);
    // Addresses that nobody has: what is asked of them goes by the settings, or nowhere.
    const [proxied, mirrored] = ["198.51.100.7:5000", "198.51.100.8:5000"];
    await using proxy = await serve((request, response) => {
      const { host, pathname, search } = new URL(request.url ?? "");
      if (host !== proxied) return void response.writeHead(502).end();
      const { headers, method } = request;
      const onward = forward(`http://${open.host}${pathname}${search}`, { method, headers }, (answered) => {
        response.writeHead(answered.statusCode ?? 0, answered.headers);
        answered.pipe(response);
      });
      onward.on("error", () => response.destroy());
      request.pipe(onward);
    });
    const ways = ["--http-proxy", `http://${proxy.host}`, "--https-proxy", `http://${proxy.host}`];
    await using other = await startEngine({
      image: false,
      args: [...ways, "--insecure-registry", proxied, "--registry", `${mirrored}=http://${open.host}`],
    });
    for (const host of [proxied, mirrored]) {
      const { code, stderr } = await other.tool("gantry", ["pull", "-q", `${host}/far/app:1`]);
      assert.equal(code, 0, stderr);
      const { json } = await other.request("GET", `/images/${host}/far/app:1/json`);
      assert.equal(json.Id, made.config.digest);
    }
    const urls = proxy.requests.map(({ url = "" }) => url);
    assert.ok(urls.length > 0 && urls.every((url) => url.startsWith(`http://${proxied}/v2/`)), urls.join("\n"));
  });

  test("downloads and uploads keep below the rates that are set, from a reload on", async () => {
    await forget();
    const size = 1 << 20;
    await pushTo(open, "rate/app:1", randomImage("rate", { layers: 2, size: size / 2 }));
    const name = `${open.host}/rate/app:1`;
    const time = async (...args: readonly string[]): Promise<number> => {
      const begun = performance.now();
      await good(args);
      return performance.now() - begun;
    };
    await engine.reload({ "max-download-rate": "512k", "max-upload-rate": "512k" });
    const pulled = await time("pull", "-q", name);
    assert.ok(pulled > 1500, `a megabyte came in ${pulled} ms`);
    await good(["tag", name, `${locked.host}/rate/app:1`]);
    const env = { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { [locked.host]: { auth: SECRET } } }) };
    const begun = performance.now();
    await good(["push", "-q", `${locked.host}/rate/app:1`], env);
    assert.ok(performance.now() - begun > 1500, "a megabyte went too fast");
    await forget();
    await engine.reload({});
    const free = await time("pull", "-q", name);
    assert.ok(free < pulled, `without a bound it took ${free} ms, with one ${pulled}`);
  });
});
