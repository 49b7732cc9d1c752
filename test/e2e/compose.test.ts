import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Finished, findProgram } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { BUILDX, COMPOSE_2, NO_BUILDX, NO_COMPOSE_2 } from "../newer-clients.ts";
import { registryMissing, startRegistry } from "../registry.ts";

const COMPOSE = findProgram("docker-compose");
const VERSION = COMPOSE === undefined ? "" : spawnSync(COMPOSE, ["version", "--short"], { encoding: "utf8" }).stdout;
const HTTPD = "mkdir -p /www && echo $$GREETING > /www/index.html && exec httpd -f -p 8080 -h /www";
const LOOP = "trap 'exit 0' TERM; echo $$(hostname) works; while :; do sleep 600 & wait; done";

interface Choices {
  readonly greeting?: string;
}

/** JSON is YAML, and leaves no doubt of what is meant. */
function project({ greeting = "hello" }: Choices = {}): string {
  const shell = (script: string) => ["sh", "-c", script];
  return JSON.stringify({
    version: "3.8",
    services: {
      db: {
        image: "busybox",
        command: shell("sleep 0.3; touch /ready; exec httpd -f -p 5432 -h /data"),
        healthcheck: { test: ["CMD", "test", "-e", "/ready"], interval: "100ms", timeout: "5s", retries: 50 },
        volumes: ["data:/data"],
        init: true,
        networks: { back: { aliases: ["database"] } },
      },
      web: {
        image: "busybox",
        command: shell(HTTPD),
        environment: { GREETING: greeting },
        depends_on: { db: { condition: "service_healthy" } },
        ports: ["127.0.0.1::8080"],
        volumes: ["/anonymous", "./files:/files:ro"],
        networks: ["front", "back"],
        init: true,
        labels: { role: "web" },
      },
      worker: {
        image: "busybox",
        command: shell(LOOP),
        networks: ["back"],
        stop_grace_period: "10s",
        depends_on: ["web"],
      },
    },
    networks: { front: {}, back: { internal: true, ipam: { config: [{ subnet: "10.212.7.0/24" }] } } },
    volumes: { data: { labels: { keep: "no" } } },
  });
}

describe("docker-compose 1.29 against the engine", {
  skip: VERSION.startsWith("1.") ? false : `docker-compose 1 is not on the PATH (found: ${VERSION.trim() || "none"})`,
}, () => {
  let engine: TestEngine;
  let folder = "";

  before(async () => {
    engine = await startEngine();
    folder = join(engine.root, "shop");
    mkdirSync(join(folder, "files"), { recursive: true });
    writeFileSync(join(folder, "files/seen"), "from the host\n");
    writeFileSync(join(folder, "docker-compose.yml"), project());
    mkdirSync(join(engine.root, "job"));
  });
  after(() => engine?.[Symbol.asyncDispose]());

  async function compose(...args: readonly string[]): Promise<Finished> {
    const env = { COMPOSE_HTTP_TIMEOUT: "60", PYTHONDONTWRITEBYTECODE: "1" };
    return engine.run(
      COMPOSE ?? "",
      ["--project-directory", folder, "-f", join(folder, "docker-compose.yml"), ...args],
      {
        env,
      },
    );
  }

  async function ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await compose(...args);
    assert.equal(code, 0, `docker-compose ${args.join(" ")}: ${stderr}${stdout}`);
    return stdout.trim();
  }

  const idOf = (service: string): Promise<string> =>
    engine.ok("ps", "-q", "--no-trunc", "--filter", `label=com.docker.compose.service=${service}`);
  const inspected = (id: string, format: string): Promise<string> => engine.ok("inspect", "-f", format, id);

  test("up starts what others depend on first, and waits for its health", async () => {
    await ok("up", "-d");
    assert.match(await ok("ps"), /shop_web_1 .* Up .*127\.0\.0\.1:\d+->8080\/tcp/);
    const until = (Date.now() / 1000).toFixed(3);
    const format = '{{index .Actor.Attributes "name"}} {{.Action}}';
    const events = (await engine.ok("events", "--since", "10m", "--until", until, "--format", format)).split("\n");
    const [healthy, started] = [events.indexOf("shop_db_1 health_status: healthy"), events.indexOf("shop_web_1 start")];
    assert.ok(healthy >= 0 && started > healthy, events.join("\n"));
  });

  test("up again changes nothing", async () => {
    const before = await engine.ok("ps", "-aq", "--no-trunc");
    const { stderr } = await compose("up", "-d");
    for (const service of ["db", "web", "worker"]) assert.match(stderr, new RegExp(`shop_${service}_1 is up-to-date`));
    assert.equal(await engine.ok("ps", "-aq", "--no-trunc"), before);
  });

  test("exec finds services by name and alias, and passes the exit code and files", async () => {
    await ok("exec", "-T", "db", "sh", "-c", "echo kept > /data/file");
    assert.equal(await ok("exec", "-T", "worker", "wget", "-qO-", "http://database:5432/file"), "kept");
    assert.equal(await ok("exec", "-T", "worker", "wget", "-qO-", "http://web:8080/"), "hello");
    assert.equal(await ok("exec", "-T", "web", "cat", "/files/seen"), "from the host");
    assert.equal((await compose("exec", "-T", "web", "sh", "-c", "exit 7")).code, 7);
    const address = await ok("port", "web", "8080");
    const page = await fetch(`http://${address}/`);
    assert.equal(await page.text(), "hello\n");
  });

  test("scale makes and removes containers, and logs show all of them", async () => {
    await ok("up", "-d", "--scale", "worker=3");
    const workers = (await idOf("worker")).split("\n");
    assert.equal(workers.length, 3);
    const found = await ok("exec", "-T", "web", "nslookup", "worker");
    assert.equal(new Set(found.match(/10\.212\.7\.\d+/g)).size, 3, found);
    const hosts = workers.map((id) => id.slice(0, 12)).sort();
    const printed = (await ok("logs", "--no-color", "worker")).match(/\| [0-9a-f]{12} works$/gm) ?? [];
    assert.deepEqual(printed.map((line) => line.slice(2, 14)).sort(), hosts);
    await ok("up", "-d", "--scale", "worker=1");
    assert.equal(await ok("ps", "-q", "worker"), await idOf("worker"));
    assert.match(await ok("top", "worker"), /sleep 600/);
  });

  test("what changed is made anew, with its volumes; the rest stays", async () => {
    const [db, web] = [await idOf("db"), await idOf("web")];
    await ok("exec", "-T", "web", "sh", "-c", "echo mine > /anonymous/file");
    writeFileSync(join(folder, "docker-compose.yml"), project({ greeting: "changed" }));
    const { code, stderr } = await compose("up", "-d");
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Recreating shop_web_1/);
    assert.deepEqual([(await idOf("db")) === db, (await idOf("web")) === web], [true, false]);
    assert.equal(await ok("exec", "-T", "worker", "wget", "-qO-", "http://web:8080/"), "changed");
    assert.equal(await ok("exec", "-T", "web", "cat", "/anonymous/file"), "mine");
    await ok("up", "-d", "--force-recreate", "--no-deps", "db");
    assert.notEqual(await idOf("db"), db);
    assert.equal(await ok("exec", "-T", "db", "cat", "/data/file"), "kept");
  });

  test("restart, pause, unpause, kill, start and stop", async () => {
    const worker = await idOf("worker");
    const pid = await inspected(worker, "{{.State.Pid}}");
    await ok("restart", "-t", "10", "worker");
    assert.notEqual(await inspected(worker, "{{.State.Pid}}"), pid);
    await ok("pause", "worker");
    assert.equal(await inspected(worker, "{{.State.Status}}"), "paused");
    await ok("unpause", "worker");
    await ok("kill", "-s", "TERM", "worker");
    await engine.ok("wait", worker);
    assert.equal(await inspected(worker, "{{.State.ExitCode}}"), "0");
    await ok("start", "worker");
    await ok("stop", "worker");
    assert.equal(await inspected(worker, "{{.State.Status}}"), "exited");
  });

  test("run passes output, exit code and environment, and leaves nothing", async () => {
    const { code, stdout } = await compose(
      ...["run", "--rm", "--no-deps", "-T", "-e", "A=b", "web", "sh", "-c", "echo $A $GREETING; exit 5"],
    );
    assert.deepEqual([code, stdout.trim()], [5, "b changed"]);
    assert.equal(await engine.ok("ps", "-aq", "--filter", "label=com.docker.compose.oneoff=True"), "");
  });

  test("up in the foreground prints what all say, and ends with the one that matters", async () => {
    const services = {
      job: { image: "busybox", command: ["sh", "-c", "sleep 0.5; echo from the job; exit 3"] },
      aside: { image: "busybox", command: ["sh", "-c", LOOP], stop_grace_period: "10s" },
    };
    const file = join(engine.root, "job/docker-compose.yml");
    writeFileSync(file, JSON.stringify({ version: "3.8", services }));
    const { code, stdout } = await engine.run(COMPOSE ?? "", [
      "-f",
      file,
      "up",
      "--no-color",
      "--exit-code-from",
      "job",
    ]);
    assert.equal(code, 3, stdout);
    assert.match(stdout, /^job_1 +\| from the job$/m);
    assert.match(stdout, /^aside_1 +\| [0-9a-f]{12} works$/m);
    const down = await engine.run(COMPOSE ?? "", ["-f", file, "down"]);
    assert.equal(down.code, 0, down.stderr);
  });

  test("images that only a registry has are pulled by up and pull, and pushed", {
    skip: registryMissing(),
  }, async () => {
    await using registry = await startRegistry({ htpasswd: { joe: "secret" } });
    const image = `${registry.host}/shop/job:1`;
    const file = join(engine.root, "job/registry.yml");
    const services = { job: { image, command: ["sh", "-c", "echo pulled and run"], network_mode: "none" } };
    writeFileSync(file, JSON.stringify({ version: "3.8", services }));
    const run = (...args: readonly string[]): Promise<Finished> =>
      engine.run(COMPOSE ?? "", ["-p", "pulled", "-f", file, ...args]);
    await engine.ok("tag", "busybox", image);
    await engine.tool("docker", ["login", "-u", "joe", "--password-stdin", registry.host], { input: "secret" });
    // It pushes only what it could have built.
    const built = join(engine.root, "job/built.yml");
    writeFileSync(built, JSON.stringify({ version: "3.8", services: { job: { image, build: "." } } }));
    const pushed = await engine.run(COMPOSE ?? "", ["-p", "pulled", "-f", built, "push"]);
    assert.equal(pushed.code, 0, pushed.stderr);
    assert.match(pushed.stderr, /Pushing job/);
    await engine.ok("rmi", image);
    const up = await run("up", "--no-color");
    assert.equal(up.code, 0, up.stderr);
    assert.match(up.stdout, /pulled and run/);
    assert.match(up.stderr, /Pulling job/);
    registry.forget();
    const pulled = await run("pull");
    assert.equal(pulled.code, 0, pulled.stderr);
    assert.deepEqual(registry.asked("GET", "blobs"), []);
    assert.equal((await run("down", "--rmi", "all")).code, 0);
    const missing = join(engine.root, "job/missing.yml");
    const nobody = { job: { image: `${registry.host}/shop/nobody:1` } };
    writeFileSync(missing, JSON.stringify({ version: "3.8", services: nobody }));
    for (const command of ["pull", "up"]) {
      const failed = await engine.run(COMPOSE ?? "", ["-p", "pulled", "-f", missing, command]);
      assert.equal(failed.code, 1);
      assert.match(failed.stderr, /manifest for .*\/shop\/nobody:1 not found/);
    }
    await engine.run(COMPOSE ?? "", ["-p", "pulled", "-f", missing, "down"]);
  });

  test("down with volumes leaves nothing of the project", async () => {
    await ok("down", "-v", "--remove-orphans");
    const own = "label=com.docker.compose.project";
    assert.equal(await engine.ok("ps", "-aq", "--filter", own), "");
    assert.equal(await engine.ok("network", "ls", "-q", "--filter", own), "");
    // What was anonymous is named by the container that was made anew, and then nobody's: dockerd keeps it, too.
    assert.equal(await engine.ok("volume", "ls", "-q", "--filter", own), "");
  });
});

describe("docker compose 2 against the engine", { skip: NO_COMPOSE_2 || NO_BUILDX }, () => {
  let engine: TestEngine;
  let folder = "";

  before(async () => {
    engine = await startEngine();
    folder = join(engine.root, "stall");
    for (const [name, text] of Object.entries({
      api: "FROM busybox\nRUN --network=none echo made > /made\n",
      web: "FROM lower\nARG GREETING\nRUN --network=none echo $GREETING >> /made\n",
    })) {
      mkdirSync(join(folder, name), { recursive: true });
      writeFileSync(join(folder, name, "Dockerfile"), text);
    }
    const services = {
      api: { build: "api", command: ["sh", "-c", "touch /ready; echo api is up; exec sleep 600"], init: true },
      web: {
        build: { context: "web", args: { GREETING: "hello" }, additional_contexts: { lower: "service:api" } },
        command: ["sh", "-c", "echo web is up; exec sleep 600"],
        init: true,
        depends_on: ["api"],
        volumes: ["kept:/kept"],
      },
    };
    writeFileSync(join(folder, "compose.yaml"), JSON.stringify({ services, volumes: { kept: {} } }));
    // By which it builds.
    mkdirSync(join(engine.root, "config/cli-plugins"), { recursive: true });
    symlinkSync(BUILDX!, join(engine.root, "config/cli-plugins/docker-buildx"));
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const compose = (...args: readonly string[]): Promise<Finished> => engine.run(COMPOSE_2!, args, { cwd: folder });

  async function ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await compose(...args);
    assert.equal(code, 0, `docker compose ${args.join(" ")}: ${stderr}${stdout}`);
    return stdout.trim();
  }

  test("builds without another plugin's help", async () => {
    const { code, stderr } = await engine.run(COMPOSE_2!, ["build", "api"], {
      cwd: folder,
      env: { COMPOSE_BAKE: "false" },
    });
    assert.equal(code, 0, stderr);
  });

  test("builds services that stand on each other, and runs them", async () => {
    await ok("up", "--detach", "--build");
    const states = (await ok("ps", "--format", "{{.Service}} {{.State}}")).split("\n").sort();
    assert.deepEqual(states, ["api running", "web running"]);
    assert.equal(await ok("exec", "-T", "web", "cat", "/made"), "made\nhello");
    assert.equal((await compose("exec", "-T", "web", "sh", "-c", "exit 7")).code, 7);
    assert.match(await ok("logs", "--no-color"), /api-1 +\| api is up/);
    assert.match(await ok("images"), /stall-web/);
  });

  test("leaves alone what is as it should be, and makes anew what isn't", async () => {
    const before = await ok("ps", "-q");
    await ok("up", "--detach");
    assert.equal(await ok("ps", "-q"), before);
    await ok("up", "--detach", "--force-recreate", "--no-deps", "web");
    assert.notEqual(await ok("ps", "-q"), before);
    await ok("restart", "--timeout", "1", "api");
    assert.match(await ok("top", "api"), /sleep 600/);
  });

  test("takes down all it made", async () => {
    await ok("down", "--timeout", "1", "--volumes");
    assert.equal(await ok("ps", "--all", "-q"), "");
    assert.equal(await engine.ok("volume", "ls", "-q"), "");
    assert.doesNotMatch(await engine.ok("network", "ls"), /stall/);
  });
});
