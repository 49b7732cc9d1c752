import assert from "node:assert/strict";
import { hostname } from "node:os";
import { describe, it } from "node:test";
import type { ContainerConfig, HostConfig } from "../api/container.ts";
import { completeHostConfig, mergeConfig, newId } from "./create.ts";
import type { ContainerSettings } from "./ports.ts";
import { aConfig, aHostConfig } from "./request.fixture.ts";

function merge(
  user: Partial<ContainerConfig>,
  image: Parameters<typeof mergeConfig>[1],
  hostConfig: Partial<HostConfig> = {},
): ContainerConfig {
  return mergeConfig({ ...aConfig(), ...user }, image, "0123456789abcdef", { ...aHostConfig(), ...hostConfig });
}

describe("the configuration of a container", () => {
  const image = {
    Entrypoint: ["/entry"],
    Cmd: ["default"],
    Env: ["PATH=/bin", "A=image"],
    WorkingDir: "/srv",
    User: "app",
  };

  const commands: [string, Partial<ContainerConfig>, string[] | null, string[] | null][] = [
    ["takes both from the image", {}, ["/entry"], ["default"]],
    ["replaces the command only", { Cmd: ["mine"] }, ["/entry"], ["mine"]],
    ["drops the image's command with its entrypoint", { Entrypoint: ["/mine"] }, ["/mine"], null],
    ["replaces both", { Entrypoint: ["/mine"], Cmd: ["x"] }, ["/mine"], ["x"]],
    ["clears the entrypoint by an empty one", { Entrypoint: [""], Cmd: ["x"] }, null, ["x"]],
  ];
  for (const [name, user, Entrypoint, Cmd] of commands) {
    it(name, () => {
      const merged = merge(user, image);
      assert.deepEqual([merged.Entrypoint, merged.Cmd], [Entrypoint, Cmd]);
    });
  }

  it("puts the user's variables first, keeps the image's others, and removes by a bare name", () => {
    assert.deepEqual(merge({ Env: ["A=mine", "B=1"] }, image).Env, ["A=mine", "B=1", "PATH=/bin"]);
    assert.deepEqual(merge({ Env: ["A"] }, image).Env, ["PATH=/bin"]);
  });

  it("takes user and folder from the image unless told otherwise", () => {
    assert.deepEqual([merge({}, image).User, merge({ User: "0" }, image).User], ["app", "0"]);
    assert.deepEqual([merge({}, image).WorkingDir, merge({ WorkingDir: "/w" }, image).WorkingDir], ["/srv", "/w"]);
  });

  it("is called by the start of its id unless it has a host name, or the host's network", () => {
    assert.equal(merge({}, image).Hostname, "0123456789ab");
    assert.equal(merge({}, image, { UTSMode: "host" }).Hostname, "0123456789ab");
    assert.equal(merge({}, image, { NetworkMode: "host" }).Hostname, hostname());
    assert.equal(merge({ Hostname: "web" }, image, { NetworkMode: "host" }).Hostname, "web");
  });

  it("refuses a stop signal of its image that is none", () => {
    const bad = { ...image, StopSignal: "99" };
    assert.throws(() => merge({}, bad), { kind: "invalid", message: "invalid signal: 99" });
    assert.equal(merge({ StopSignal: "SIGINT" }, bad).StopSignal, "SIGINT");
  });

  it("refuses to have no command", () => {
    assert.throws(() => merge({}, {}), { kind: "invalid", message: "no command specified" });
    assert.throws(() => merge({ Entrypoint: [""] }, image), { kind: "invalid", message: "no command specified" });
  });
});

describe("what the user left to the engine", () => {
  const settings = {
    defaultRuntime: "crun",
    defaultShmSize: 1 << 20,
    logDriver: "json-file",
    logOptions: { "max-size": "9m", "max-file": "2" },
  } as Partial<ContainerSettings> as ContainerSettings;
  const complete = (wanted: Partial<HostConfig>, cgroupLayout: "v1" | "hybrid" | "v2" = "v2"): HostConfig =>
    completeHostConfig({ ...aHostConfig(), ...wanted }, settings, { cgroupLayout });

  it("lets the container's log options go over the engine's, its driver named or not", () => {
    const merged = { Type: "json-file", Config: { "max-size": "1m", "max-file": "2" } };
    for (const Type of ["", "json-file"])
      assert.deepEqual(complete({ LogConfig: { Type, Config: { "max-size": "1m" } } }).LogConfig, merged);
    assert.deepEqual(complete({ LogConfig: { Type: "none", Config: null } }).LogConfig, { Type: "none", Config: {} });
  });

  it("settles the cgroup namespace by the host's layout", () => {
    assert.equal(complete({ CgroupnsMode: "" }, "v2").CgroupnsMode, "private");
    assert.equal(complete({ CgroupnsMode: "" }, "hybrid").CgroupnsMode, "host");
    assert.equal(complete({ CgroupnsMode: "host" }, "v2").CgroupnsMode, "host");
  });

  it("takes a swappiness of -1 for none, and 0 for 0", () => {
    assert.equal(complete({ MemorySwappiness: -1 }).MemorySwappiness, null);
    assert.equal(complete({ MemorySwappiness: 0 }).MemorySwappiness, 0);
  });

  it("masks what it should unless the container is privileged or has a list of its own", () => {
    assert.ok(complete({ MaskedPaths: null }).MaskedPaths?.includes("/proc/kcore"));
    assert.equal(complete({ MaskedPaths: null, Privileged: true }).MaskedPaths, null);
    assert.deepEqual(complete({ MaskedPaths: [], ReadonlyPaths: ["/proc/sys"] }).MaskedPaths, []);
    assert.deepEqual(complete({ ReadonlyPaths: ["/proc/sys"], Privileged: true }).ReadonlyPaths, ["/proc/sys"]);
  });
});

describe("a new id", () => {
  it("is 64 hex digits whose first twelve do not read as a number", () => {
    for (let i = 0; i < 200; i++) assert.match(newId(), /^(?!\d{12})[0-9a-f]{64}$/);
  });
});
