import assert from "node:assert/strict";
import { test } from "node:test";
import type { ContainerCreateRequest, HostConfig } from "./container.ts";
import { decodeCreateRequest } from "./create-request.ts";
import { olderCreateRequest } from "./older-requests.ts";

const request = (body: object): ContainerCreateRequest => decodeCreateRequest(JSON.stringify({ Image: "a", ...body }));
const hostOf = (version: string, host: object): HostConfig =>
  olderCreateRequest(version, request({ HostConfig: host })).HostConfig;

test("the newest version's request is taken as it comes", () => {
  const body = request({ HostConfig: { AutoRemove: true, Annotations: { a: "b" }, ConsoleSize: [1, 2] } });
  assert.equal(olderCreateRequest("1.51", body), body);
});

test("defaults are those of the client's time", () => {
  for (const [version, ipc, cgroup] of [
    ["1.41", "", ""],
    ["1.40", "", "host"],
    ["1.39", "shareable", "host"],
  ]) {
    const host = hostOf(version!, {});
    assert.deepEqual([host.IpcMode, host.CgroupnsMode], [ipc, cgroup], version);
  }
  assert.equal(hostOf("1.24", { IpcMode: "host" }).IpcMode, "host");
  assert.equal(hostOf("1.24", { AutoRemove: true }).AutoRemove, false);
  assert.equal(hostOf("1.25", { AutoRemove: true }).AutoRemove, true);
  assert.deepEqual(hostOf("1.41", { ConsoleSize: [1, 2] }).ConsoleSize, [0, 0]);
  assert.equal(hostOf("1.42", { Annotations: { a: "b" } }).Annotations, undefined);
});

test("mounts have what their version had, and what it would have done otherwise is refused", () => {
  const mounts = (version: string, mount: object) =>
    hostOf(version, { Mounts: [{ Target: "/t", ...mount }] }).Mounts?.[0];
  const bind = { Type: "bind", Source: "/s" };
  assert.equal(mounts("1.43", { ...bind, ReadOnly: true })?.BindOptions?.ReadOnlyNonRecursive, true);
  assert.equal(mounts("1.44", { ...bind, ReadOnly: true })?.BindOptions, undefined);
  assert.equal(
    mounts("1.41", { ...bind, BindOptions: { CreateMountpoint: true } })?.BindOptions?.CreateMountpoint,
    undefined,
  );
  assert.equal(mounts("1.41", { ...bind, VolumeOptions: { NoCopy: true } })?.VolumeOptions, undefined);
  assert.equal(mounts("1.41", { Type: "volume", VolumeOptions: { NoCopy: true } })?.VolumeOptions?.NoCopy, true);
  for (const [version, mount, message] of [
    ["1.44", { Type: "volume", VolumeOptions: { Subpath: "a" } }, "VolumeOptions.Subpath needs API v1.45 or newer"],
    ["1.43", { ...bind, BindOptions: { ReadOnlyForceRecursive: true } }, /ReadOnlyForceRecursive needs API v1.44/],
    ["1.47", { Type: "image", Source: "a" }, /needs API v1.48/],
  ] as const) {
    assert.throws(() => mounts(version, mount), { kind: "invalid", message });
    assert.doesNotThrow(() => mounts("1.51", mount));
  }
});

test("several networks at once are refused before 1.44", () => {
  const body = request({ NetworkingConfig: { EndpointsConfig: { a: {}, b: { GwPriority: 3 } } } });
  assert.throws(() => olderCreateRequest("1.43", body), { kind: "invalid", message: /network endpoints: a, b$/ });
  assert.equal(olderCreateRequest("1.47", body).NetworkingConfig.EndpointsConfig.b?.GwPriority, 0);
  assert.equal(olderCreateRequest("1.48", body).NetworkingConfig.EndpointsConfig.b?.GwPriority, 3);
});
