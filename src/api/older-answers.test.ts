import assert from "node:assert/strict";
import { test } from "node:test";
import { olderAnswer } from "./older-answers.ts";
import type { RouteName } from "./routes.ts";

/** Route, version, answer of the engine, and what a client of that version gets. */
const TABLE: readonly (readonly [RouteName, string, unknown, unknown])[] = [
  ["imageList", "1.51", [{ Size: 7, Containers: 2 }], [{ Size: 7, Containers: 2 }]],
  ["imageList", "1.50", [{ Size: 7, Containers: 2, Descriptor: {} }], [{ Size: 7, Containers: -1, Descriptor: {} }]],
  ["imageList", "1.47", [{ Size: 7, Containers: 2, Descriptor: {} }], [{ Size: 7, Containers: -1 }]],
  ["imageList", "1.43", [{ Size: 7 }], [{ Size: 7, Containers: -1, VirtualSize: 7 }]],
  [
    "imageList",
    "1.42",
    [{ Size: 7, RepoTags: [], RepoDigests: [] }],
    [{ Size: 7, Containers: -1, VirtualSize: 7, RepoTags: ["<none>:<none>"], RepoDigests: ["<none>@<none>"] }],
  ],
  ["imageInspect", "1.50", { Config: { Cmd: ["a"], Hostname: "h" } }, { Config: { Cmd: ["a"] } }],
  ["imageInspect", "1.51", { Config: null }, { Config: null }],
  [
    "containerInspect",
    "1.44",
    {
      Id: "0123456789abcdef",
      Config: { Hostname: "h" },
      NetworkSettings: { Networks: { bridge: { Aliases: null }, mine: { Aliases: ["web", "h"] } } },
    },
    {
      Id: "0123456789abcdef",
      Config: { Hostname: "h" },
      NetworkSettings: {
        Networks: { bridge: { Aliases: null }, mine: { Aliases: ["web", "h", "0123456789ab"] } },
      },
    },
  ],
  [
    "containerList",
    "1.45",
    [{ HostConfig: { NetworkMode: "x", Annotations: {} }, ImageManifestDescriptor: {} }],
    [{ HostConfig: { NetworkMode: "x" } }],
  ],
  ["version", "1.24", { Platform: {}, Components: [] }, { Platform: {}, Components: [] }],
  ["diskUsage", "1.43", { Images: [{ Size: 7, Descriptor: {} }] }, { Images: [{ Size: 7, VirtualSize: 7 }] }],
  ["diskUsage", "1.47", { Images: [{ Size: 7, Descriptor: {} }] }, { Images: [{ Size: 7 }] }],
  ["diskUsage", "1.24", { Images: null }, { Images: null }],
  [
    "diskUsage",
    "1.41",
    { Images: null, BuildCache: [{ ID: "b", Parents: ["a"] }, { ID: "a" }] },
    {
      Images: null,
      BuildCache: [
        { ID: "b", Parent: "a" },
        { ID: "a", Parent: "" },
      ],
    },
  ],
  [
    "diskUsage",
    "1.42",
    { Images: null, BuildCache: [{ ID: "b", Parents: ["a"] }] },
    { Images: null, BuildCache: [{ ID: "b", Parents: ["a"] }] },
  ],
];

test("each version gets the fields of its time", () => {
  for (const [route, version, newest, expected] of TABLE) {
    const before = structuredClone(newest);
    assert.deepEqual(olderAnswer(route, version, newest), expected, `${route} ${version}`);
    assert.deepEqual(newest, before, "the engine's own value is left alone");
  }
});

test("images were said to be configured like containers before 1.50", () => {
  const { Config, ContainerConfig, VirtualSize } = olderAnswer("imageInspect", "1.40", {
    Size: 3,
    Config: { Cmd: ["a"] },
  }) as Record<string, Record<string, unknown>>;
  assert.equal(Config?.AttachStdin, false);
  assert.deepEqual(Config?.Cmd, ["a"]);
  assert.equal(ContainerConfig?.Cmd, null);
  assert.equal(VirtualSize, 3);
});

test("security options of the engine were names alone before 1.25", () => {
  const [ContainerdCommit, RuncCommit, InitCommit] = [{ ID: "c" }, { ID: "r" }, { ID: "i" }];
  const SecurityOptions = ["name=seccomp,profile=builtin", "name=cgroupns"];
  const info = { SecurityOptions, RegistryConfig: {}, Runtimes: {}, ContainerdCommit, RuncCommit, InitCommit };
  const old = olderAnswer("info", "1.24", info) as Record<string, unknown>;
  assert.deepEqual(old.SecurityOptions, ["seccomp", "cgroupns"]);
  assert.deepEqual(old.RuncCommit, { ID: "r", Expected: "r" });
  assert.equal(old.ExecutionDriver, "<not supported>");
  assert.deepEqual((olderAnswer("info", "1.25", info) as typeof info).SecurityOptions, info.SecurityOptions);
});
