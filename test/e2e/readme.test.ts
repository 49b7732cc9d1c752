import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { findProgram, finish } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { imageOf, indexOf, layerOf, pushTo, randomImage } from "../oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

interface Step {
  readonly command: string;
  readonly output: string;
}

/** The commands of a page's consoles, each with the output that it shows. */
function tour(page: string): readonly Step[] {
  return [...page.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, block = ""]) =>
    block
      .split(/^# /m)
      .slice(1)
      .map((text) => ({ command: text.split("\n")[0] ?? "", output: text.slice(text.indexOf("\n") + 1) })),
  );
}

/**
 * What two runs have in common: ids, times, versions and the machine's own addresses are named, columns closed up. A page
 * whose examples choose their addresses has them compared.
 */
function shape(text: string, addresses: "named" | "compared" = "named"): string {
  return text
    .replace(/\b[0-9a-f]{64}\b/g, "<id>")
    .replace(/\b[0-9a-f]{12}\b/g, "<short id>")
    .replace(/(Less than a second|About a minute|\d+ (seconds?|minutes?))( ago)?/g, "<time>")
    .replace(/\[::ffff:[\d.]+\]:\d+/g, "<client>")
    .replace(addresses === "named" ? /\b\d+\.\d+\.\d+\b/g : /(?<![\d.])\d+\.\d+\.\d+(?![\d.])/g, "<version>")
    .replace(/\b\d+\.\d+s\b/g, "<seconds>")
    .replace(/\d+ applets/, "<n> applets")
    .replace(/ {2,}/g, "  ")
    .replace(/ +$/gm, "")
    .trimEnd();
}

function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const server = createServer().listen(0, () => {
    const address = server.address();
    server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
  });
  return promise;
}

test("the README's tour does what it shows", {
  skip: findProgram("busybox") === undefined && "no busybox",
}, async () => {
  const steps = tour(readFileSync(join(ROOT, "README.md"), "utf8"));
  assert.ok(steps.length >= 8, "the tour was not found in the README");
  await using engine = await startEngine({ image: false });
  const port = String(await freePort());
  const env = { PATH: `${join(ROOT, "bin")}${delimiter}${process.env.PATH}` };
  for (const { command, output } of steps) {
    const words = command.replaceAll("8080", port);
    const { code, stdout, stderr } = await engine.run("sh", ["-c", words], { env });
    assert.equal(code, 0, `${words}: ${stderr}`);
    assert.equal(shape(stdout + stderr).replaceAll(port, "8080"), shape(output), words);
  }
});

const MISSING = ["busybox", "curl"].find((program) => findProgram(program) === undefined);

describe("the pages of docs/ show what their commands print", {
  skip: MISSING !== undefined && `no ${MISSING}`,
}, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine({ args: (root) => ["-H", `unix://${root}/read.sock?access=read`] });
  });
  after(() => engine?.[Symbol.asyncDispose]());

  /** Does in the engine's folder what a page shows, and holds what is printed against it. */
  async function follow(name: string, on: TestEngine, addresses?: "compared"): Promise<void> {
    const steps = tour(page(name));
    assert.ok(steps.length > 0, "the page shows no command");
    const env = { PATH: `${join(ROOT, "bin")}${delimiter}${process.env.PATH}` };
    for (const { command, output } of steps) {
      const words = command.replaceAll("/run/gantry/", `${on.root}/`);
      const { stdout, stderr } = await on.run("sh", ["-c", `cd ${on.root}\n${words}`], { env });
      assert.equal(shape(stdout + stderr, addresses), shape(output, addresses), words);
    }
  }

  for (const name of ["api", "build", "doctor", "files", "health", "metrics", "volumes"])
    test(`${name}.md`, () => follow(name, engine));

  test("network.md, on a host of its own with a link eth0", {
    skip: findProgram("ip") === undefined && "no ip",
  }, async (t) => {
    const links = "ip link set lo up && ip link add eth0 type veth peer name wire && ip link set eth0 up";
    await using host = await startEngine({ wrap: ["unshare", "-n", "sh", "-c", `${links} && exec "$@"`, "sh"] });
    const probe = ["-n", "-t", String(host.pid), "ip", "link", "add", "probe", "link", "eth0", "type", "macvlan"];
    const { code, stderr } = await finish("nsenter", probe, { env: process.env });
    if (code !== 0) return t.skip(`the page's macvlan can't be had: ${stderr}`);
    await finish("nsenter", [...probe.slice(0, 5), "delete", "probe"], { env: process.env });
    await follow("network", host, "compared");
  });
});

describe("the pages about registries show what their commands print", {
  skip:
    registryMissing() ||
    (MISSING !== undefined && `no ${MISSING}`) ||
    (process.arch !== "x64" && "they are of a machine for linux/amd64"),
}, () => {
  let engine: TestEngine;
  let open: TestRegistry;
  let locked: TestRegistry;

  before(async () => {
    [open, locked] = await Promise.all([startRegistry(), startRegistry({ htpasswd: { joe: "secret" } })]);
    const app = randomImage("page", { layers: 1, size: 1 << 20 });
    for (const tag of ["v10", "latest"]) await pushTo(open, `team/app:${tag}`, app);
    await pushTo(open, "team/app:v2", imageOf({ layers: [layerOf([{ name: "old" }])] }));
    await pushTo(locked, "team/app:v10", app);
    const [one, two, three, four] = ["1", "2", "3", "4"].map((name) => layerOf([{ name, body: name }]));
    await pushTo(open, "three:v1", imageOf({ layers: [one!, two!, three!] }));
    await pushTo(open, "three:v2", imageOf({ layers: [one!, two!, three!, four!] }));
    await pushTo(open, "team/web:1", imageOf({ layers: [layerOf([{ name: "web" }])] }));
    await pushTo(open, "big:latest", randomImage("big", { layers: 2, size: 1 << 20 }));
    const platforms = ["amd64", "arm64"].map((architecture) => ({ os: "linux", architecture }));
    for (const platform of platforms) await pushTo(open, `team/multi:${platform.architecture}`, imageOf({ platform }));
    await pushTo(open, "multi:latest", indexOf(platforms.map((platform) => imageOf({ platform }))));
    engine = await startEngine();
    await engine.run("sh", [
      "-c",
      `cd ${engine.root} && mkdir rootfs && touch rootfs/sh && tar -C rootfs -cJf rootfs.tar.xz .`,
    ]);
    await engine.tool("gantry", ["save", "-o", `${engine.root}/whole.tar`, "busybox"]);
    await engine.run("sh", ["-c", `cd ${engine.root} && head -c 3000 whole.tar >truncated.tar`]);
    await engine.tool("gantry", ["pull", "-q", `${open.host}/three:v1`]);
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await open?.[Symbol.asyncDispose]();
    await locked?.[Symbol.asyncDispose]();
  });

  /** As a person at a terminal: both streams in their order, one shell for all. */
  async function follow(
    name: string,
    { before, ...more }: { readonly env?: NodeJS.ProcessEnv; before?(command: string): Promise<void> } = {},
  ): Promise<void> {
    const steps = tour(page(name));
    assert.ok(steps.length > 0, "the page shows no command");
    const env = { ...more.env, PATH: `${join(ROOT, "bin")}${delimiter}${process.env.PATH}` };
    const hosts = [
      ...(name === "signatures" ? [["127.0.0.1:5317", open.host] as const] : []),
      ["127.0.0.1:5000", open.host],
      ["127.0.0.1:5001", locked.host],
      ["/root/.docker/", `${engine.root}/config/`],
      ["/etc/gantry/", `${engine.root}/`],
    ] as const;
    for (const { command, output } of steps) {
      await before?.(command);
      const words = hosts.reduce((text, [shown, own]) => text.replaceAll(shown, own), command);
      const { stdout } = await engine.run("sh", ["-c", `cd ${engine.root}; exec 2>&1\n${words}`], { env });
      const told = hosts.reduce((text, [shown, own]) => text.replaceAll(own, shown), stdout);
      const same = (text: string): string =>
        shape(text, "compared")
          .replace(/\bsize: \d+/g, "size: <n>")
          .replace(/\bSHA256:[\w+/]{43}/g, "SHA256:<key>");
      assert.equal(same(told), same(output.replace(/^Enter .*:\n/gm, "")), words);
    }
  }

  test("images.md", async () => {
    const login = ["login", "-u", "joe", "--password-stdin", locked.host];
    await engine.tool("gantry", login, { input: "secret" });
    await follow("images");
    await engine.tool("gantry", ["logout", locked.host]);
  });

  test("cli.md", () => follow("cli"));

  test("registries.md", () => follow("registries"));

  test("signatures.md, but for the questions at a terminal", async () => {
    for (const name of ["team/app:1.0", "team/new:1"]) {
      await pushTo(open, name, imageOf({ layers: [layerOf([{ name }])] }));
    }
    const env = { GANTRY_KEY_PASSWORD: "secret" };
    await engine.tool("gantry", ["image", "keygen", "--output-key-prefix", `${engine.root}/other`], { env });
    const [, policy = ""] = /^```json\n(.*?)^```$/ms.exec(page("signatures")) ?? [];
    const before = async (command: string): Promise<void> => {
      if (!command.includes("--policy")) return;
      const path = join(engine.root, "policy.json");
      writeFileSync(path, policy.replaceAll("/etc/gantry", engine.root).replaceAll("127.0.0.1:5317", open.host));
      await engine.reload({ "signature-policy": path });
    };
    await follow("signatures", { env, before });
    await engine.reload({});
  });
});

/** Flags that a text names: `--word`. */
function flagsIn(text: string): ReadonlySet<string> {
  return new Set(text.match(/(?<![\w-])--[a-z][a-z0-9-]*/g));
}

function page(name: string): string {
  return readFileSync(join(ROOT, "docs", `${name}.md`), "utf8");
}

test("docs/engine.md names every flag of gantryd", async () => {
  const { stdout } = await finish(join(ROOT, "bin/gantryd"), ["--help"], { env: process.env });
  const told = flagsIn(page("engine"));
  assert.deepEqual(
    [...flagsIn(stdout)].filter((flag) => !told.has(flag) && flag !== "--version"),
    [],
  );
});

test("docs/containers.md names no flag that run does not have", async () => {
  const { stdout } = await finish(join(ROOT, "bin/gantry"), ["run", "--help"], { env: process.env });
  const has = flagsIn(stdout);
  assert.deepEqual(
    [...flagsIn(page("containers"))].filter((flag) => !has.has(flag) && flag !== "--help"),
    [],
  );
});
