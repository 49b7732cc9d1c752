import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type ContainersTool, ContainersTools, toolMissing } from "../containers-tools.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { imageOf, layerOf, pushTo } from "../oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

/** `docker-daemon:` is how skopeo, podman and buildah reach an engine: by its `save` and its `load`. */
describe("images that go through the engine's socket", { skip: registryMissing() || toolMissing("skopeo") }, () => {
  let engine: TestEngine;
  let registry: TestRegistry;
  let tools: ContainersTools;

  before(async () => {
    registry = await startRegistry();
    engine = await startEngine();
    tools = new ContainersTools(`${engine.root}/tools`);
    // podman and buildah know no other place; the tools have a /run of their own.
    symlinkSync(engine.socket, join(tools.folder, "run/docker.sock"));
  });
  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const daemon = (): string => `unix://${engine.socket}`;
  const idOf = (name: string): Promise<string> => engine.ok("inspect", "-f", "{{.Id}}", name);

  test("skopeo copies from a registry into the engine, and from there to a registry", async () => {
    const layers = [
      layerOf([{ name: "a", body: "a\n" }]),
      layerOf([{ name: "big", body: randomBytes(3 << 20) }]),
      layerOf([{ name: "c", body: "c\n" }], { compression: "none" }),
    ];
    const made = imageOf({ layers, process: { Labels: { from: "skopeo" } } });
    await pushTo(registry, "daemon/app:1", made);
    const from = `docker://${registry.host}/daemon/app:1`;
    const here = "docker-daemon:daemon/app:here";
    await tools.ok("skopeo", "copy", "--src-tls-verify=false", "--dest-daemon-host", daemon(), from, here);
    assert.equal(await idOf("daemon/app:here"), made.config.digest, "the config is the author's, byte by byte");
    const diffIds = JSON.parse(await engine.ok("inspect", "-f", "{{json .RootFS.Layers}}", "daemon/app:here"));
    assert.deepEqual(
      diffIds,
      layers.map(({ diffId }) => diffId),
    );

    const to = `docker://${registry.host}/daemon/back:1`;
    await tools.ok("skopeo", "copy", "--dest-tls-verify=false", "--src-daemon-host", daemon(), here, to);
    await engine.ok("pull", `${registry.host}/daemon/back:1`);
    assert.equal(await idOf(`${registry.host}/daemon/back:1`), made.config.digest);

    const shown = await tools.ok("skopeo", "inspect", "--daemon-host", daemon(), here);
    assert.deepEqual(JSON.parse(shown).Labels, { from: "skopeo" });
    assert.deepEqual(JSON.parse(shown).Layers, diffIds);
  });

  test("skopeo inspects and copies what was pulled, by name and by id", async () => {
    const made = imageOf();
    await pushTo(registry, "daemon/pulled:1", made);
    const name = `${registry.host}/daemon/pulled:1`;
    await engine.ok("pull", name);
    for (const source of [`docker-daemon:${name}`, `docker-daemon:${made.config.digest}`]) {
      const to = `docker://${registry.host}/daemon/copied:1`;
      await tools.ok("skopeo", "copy", "--dest-tls-verify=false", "--src-daemon-host", daemon(), source, to);
      const raw = await tools.ok("skopeo", "inspect", "--tls-verify=false", "--raw", to);
      assert.equal(JSON.parse(raw).config.digest, made.config.digest);
    }
    const missing = await tools.run("skopeo", ["inspect", "--daemon-host", daemon(), "docker-daemon:daemon/nobody:1"]);
    assert.notEqual(missing.code, 0);
    assert.match(missing.stderr, /[Nn]o such image: daemon\/nobody:1/);
  });

  for (const tool of ["podman", "buildah"] as const satisfies readonly ContainersTool[]) {
    test(`${tool} pulls from the engine, and pushes back to it`, { skip: toolMissing(tool) }, async () => {
      const run = (...args: readonly string[]): Promise<string> => tools.ok(tool, ...args);
      const id = await idOf("busybox");
      const pulled = await run("pull", "--quiet", "docker-daemon:busybox:latest");
      assert.equal(`sha256:${pulled.replace(/^sha256:/, "")}`, id);
      await run("push", "--format", "v2s2", pulled, `docker-daemon:from/${tool}:1`);
      assert.equal(await engine.ok("run", "--rm", "--network", "none", `from/${tool}:1`, "echo", "here"), "here");
      assert.deepEqual(
        await engine.ok("inspect", "-f", "{{.RootFS.Layers}}", `from/${tool}:1`),
        await engine.ok("inspect", "-f", "{{.RootFS.Layers}}", "busybox"),
      );
    });
  }
});
