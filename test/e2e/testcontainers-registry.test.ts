import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startEngine, type TestEngine } from "../engine.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 600 & wait; done"];
const ONCE = ["sh", "-c", "cat /which"];

/** Credentials are read where the library is loaded: it is loaded here, when the registry and its users are known. */
describe("testcontainers for Node with images of a registry", { skip: registryMissing() }, () => {
  const own = process.env;
  let engine: TestEngine;
  let registry: TestRegistry;
  let library: typeof import("testcontainers");

  before(async () => {
    registry = await startRegistry({ htpasswd: { joe: "secret" } });
    engine = await startEngine();
    const auth = Buffer.from("joe:secret").toString("base64");
    process.env = {
      ...own,
      DOCKER_HOST: `unix://${engine.socket}`,
      DOCKER_CONFIG: join(engine.root, "config"),
      DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { [registry.host]: { auth } } }),
      HOME: engine.root,
      TESTCONTAINERS_HOST_OVERRIDE: "127.0.0.1",
      TESTCONTAINERS_RYUK_DISABLED: "true",
    };
    library = await import("testcontainers");
  });
  after(async () => {
    process.env = own;
    await engine?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  /** Puts busybox with a file that says `text` into the registry, and leaves no image of it here. */
  async function put(tag: string, text: string): Promise<string> {
    const name = `${registry.host}/tc/app:${tag}`;
    const container = await engine.ok("create", "--network", "none", "busybox", "true");
    await engine.run("sh", [
      "-c",
      `printf ${text} > ${engine.root}/which && docker cp ${engine.root}/which "$0":/`,
      container,
    ]);
    await engine.ok("commit", container, name);
    await engine.ok("rm", container);
    await engine.tool("docker", ["login", "-u", "joe", "--password-stdin", registry.host], { input: "secret" });
    await engine.ok("push", name);
    await engine.ok("rmi", name);
    return name;
  }

  test("an image that isn't here is pulled, by who is in DOCKER_AUTH_CONFIG", async () => {
    const name = await put("1", "first");
    registry.forget();
    await using container = await new library.GenericContainer(name).withCommand(FOREVER).start();
    assert.equal((await container.exec(["cat", "/which"])).output, "first");
    const pulled = registry.asked("GET", "manifests");
    assert.match(String(pulled.at(-1)?.headers.authorization), /^Basic /);
  });

  test("an image that is here is asked for again under the policy that says so, and not under the other", async () => {
    const { GenericContainer, PullPolicy, Wait } = library;
    const name = await put("2", "old");
    const outputOf = async (policy: InstanceType<typeof GenericContainer>): Promise<string> => {
      const lines: string[] = [];
      const whole = Promise.withResolvers<void>();
      await using _ = await policy
        .withCommand(ONCE)
        .withWaitStrategy(Wait.forOneShotStartup())
        .withLogConsumer((stream) => stream.on("data", (line) => lines.push(String(line))).on("end", whole.resolve))
        .start();
      // It is started when it has ended, which may be before its log is read.
      await whole.promise;
      return lines.join("").trim();
    };
    const container = (): InstanceType<typeof GenericContainer> => new GenericContainer(name);
    assert.equal(await outputOf(container()), "old");
    await engine.ok("tag", name, "kept:1");
    await put("2", "new");
    await engine.ok("tag", "kept:1", name);
    assert.equal(await outputOf(container()), "old");
    assert.equal(await outputOf(container().withPullPolicy(PullPolicy.alwaysPull())), "new");
  });

  test("what the registry hasn't got fails the start in its words", async () => {
    const name = `${registry.host}/tc/nobody:1`;
    await assert.rejects(
      new library.GenericContainer(name).start(),
      /manifest for .*\/tc\/nobody:1 not found: manifest unknown/,
    );
  });
});
