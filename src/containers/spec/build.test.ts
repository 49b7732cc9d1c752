import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import type { RuntimeSpec } from "../../oci/runtime-spec.ts";
import { buildSpec } from "./build.ts";
import type { InputMount } from "./input.ts";
import { aHost, anInput } from "./spec.fixture.ts";

type Wishes = Parameters<typeof anInput>[0];
type Changes = Parameters<typeof anInput>[1];

function build(wishes: Wishes = {}, changes: Changes = {}): RuntimeSpec {
  return buildSpec(anInput(wishes, changes)).spec;
}

function options(spec: RuntimeSpec, destination: string): string[] | undefined {
  return spec.mounts.find((mount) => mount.destination === destination)?.options;
}

const bind = (changes: Partial<InputMount>): InputMount => ({
  type: "bind",
  source: "/",
  destination: "/mnt",
  readonly: false,
  propagation: "rprivate",
  recursive: true,
  options: [],
  ...changes,
});
const DEFAULT_CAPS = build().process.capabilities?.bounding ?? [];

test("a plain container gets Docker's defaults", () => {
  const spec = build();
  assert.deepEqual(spec.process.args, ["true"]);
  assert.deepEqual(spec.process.env, [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOSTNAME=box",
    "HOME=/",
  ]);
  assert.equal(spec.process.cwd, "/");
  assert.equal(DEFAULT_CAPS.length, 14);
  assert.deepEqual(spec.process.capabilities?.inheritable, []);
  assert.deepEqual(spec.process.capabilities?.ambient, []);
  assert.equal(spec.process.noNewPrivileges, false);
  assert.equal(spec.hostname, "box");
  assert.match(spec.linux.cgroupsPath ?? "", /^\/gantry\/[0-9a-f]{64}$/);
  assert.deepEqual(
    spec.linux.namespaces.map((row) => row.type),
    ["mount", "network", "uts", "pid", "ipc", "cgroup"],
  );
  assert.deepEqual(
    spec.mounts.map((mount) => mount.destination),
    ["/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"],
  );
  assert.ok(options(spec, "/sys/fs/cgroup")?.includes("ro"));
  assert.ok(options(spec, "/dev/shm")?.includes("size=67108864"));
  assert.equal(spec.linux.sysctl?.["net.ipv4.ip_unprivileged_port_start"], "0");
  assert.deepEqual(spec.linux.resources?.devices?.[0], { allow: false, access: "rwm" });
  assert.ok(spec.linux.maskedPaths?.includes("/proc/kcore"));
  assert.ok(spec.linux.readonlyPaths?.includes("/proc/sys"));
});

for (const [add, drop, expected] of [
  [["NET_ADMIN"], [], [...DEFAULT_CAPS, "CAP_NET_ADMIN"]],
  [["cap_net_admin"], ["ALL"], ["CAP_NET_ADMIN"]],
  [[], ["all"], []],
  [[], ["Chown", "CAP_KILL"], DEFAULT_CAPS.filter((name) => name !== "CAP_CHOWN" && name !== "CAP_KILL")],
  [["ALL"], ["SYS_ADMIN"], aHost().capabilities.filter((name) => name !== "CAP_SYS_ADMIN")],
] as const) {
  test(`capabilities +[${add}] -[${drop}] are ${expected.length}`, () => {
    const { capabilities } = build({ hostConfig: { CapAdd: [...add], CapDrop: [...drop] } }).process;
    assert.deepEqual(capabilities?.bounding, expected);
    assert.deepEqual(capabilities?.effective, expected);
  });
}

test("nobody gets a capability that the engine lacks, and asking for one by name is refused", () => {
  const host = aHost({ capabilities: ["CAP_CHOWN", "CAP_KILL"] });
  assert.deepEqual(build({ hostConfig: { CapAdd: ["ALL"] } }, { host }).process.capabilities?.bounding, [
    "CAP_CHOWN",
    "CAP_KILL",
  ]);
  assert.throws(() => build({ hostConfig: { CapAdd: ["SYS_ADMIN"] } }, { host }), /not supported by your kernel/);
});

test("privileged lifts masks, filters and read-only mounts and hands on the host's devices", () => {
  const spec = build(
    { hostConfig: { Privileged: true } },
    { defaults: { ...anInput().defaults, seccompProfile: "/nonexistent" } },
  );
  assert.deepEqual(spec.process.capabilities?.bounding, aHost().capabilities);
  assert.deepEqual(spec.linux.maskedPaths, []);
  assert.deepEqual(spec.linux.readonlyPaths, []);
  assert.equal(spec.linux.seccomp, undefined);
  for (const path of ["/sys", "/sys/fs/cgroup"]) assert.ok(!options(spec, path)?.includes("ro"));
  assert.deepEqual(spec.linux.resources?.devices, [{ allow: true, access: "rwm" }]);
  assert.ok(spec.linux.devices?.some((device) => device.path === "/dev/null" && device.major === 1));
  assert.ok(!spec.linux.devices?.some((device) => device.path.startsWith("/dev/pts/")));
});

test("devices are handed on with their permissions, whole folders too", () => {
  const spec = build({
    hostConfig: {
      Devices: [{ PathOnHost: "/dev/zero", PathInContainer: "/dev/nil", CgroupPermissions: "r" }],
      DeviceCgroupRules: ["b *:7 rw"],
    },
  });
  const device = spec.linux.devices?.[0];
  assert.deepEqual([device?.path, device?.type, device?.major, device?.minor], ["/dev/nil", "c", 1, 5]);
  assert.deepEqual(spec.linux.resources?.devices?.slice(-2), [
    { allow: true, type: "c", major: 1, minor: 5, access: "r" },
    { allow: true, type: "b", minor: 7, access: "rw" },
  ]);
  const folder = [{ PathOnHost: "/dev/", PathInContainer: "/dev/host", CgroupPermissions: "rwm" }];
  assert.ok(build({ hostConfig: { Devices: folder } }).linux.devices?.some((each) => each.path === "/dev/host/null"));
  for (const PathOnHost of ["/etc/hostname", "/dev/absent"]) {
    const Devices = [{ PathOnHost, PathInContainer: "/dev/x", CgroupPermissions: "rwm" }];
    assert.throws(() => build({ hostConfig: { Devices } }), /error gathering device information while adding custom/);
  }
});

test("environment: the user's over the defaults, in place, a bare name taken away", () => {
  const { env } = build({ config: { Env: ["PATH=/x", "A=1=2", "HOSTNAME", "HOME=/h"], Tty: true } }).process;
  assert.deepEqual(env, ["PATH=/x", "TERM=xterm", "A=1=2", "HOME=/h"]);
});

test("namespaces are the host's, another container's or the sandbox's as the modes say", () => {
  const host = build({
    hostConfig: { NetworkMode: "host", PidMode: "host", IpcMode: "host", UTSMode: "host", CgroupnsMode: "host" },
  });
  assert.deepEqual(host.linux.namespaces, [{ type: "mount" }]);
  assert.equal(host.hostname, undefined);
  assert.deepEqual(host.linux.sysctl, {});
  assert.equal(host.mounts.find((mount) => mount.destination === "/dev/shm")?.source, "/dev/shm");
  const joined = build(
    { hostConfig: { NetworkMode: "container:x", PidMode: "container:x", IpcMode: "container:x" } },
    { joined: { net: "/proc/7/ns/net", pid: "/proc/7/ns/pid", ipc: "/proc/7/ns/ipc" }, shmPath: "/run/shm7" },
  );
  assert.deepEqual(
    joined.linux.namespaces.flatMap((row) => row.path ?? []),
    ["/proc/7/ns/net", "/proc/7/ns/pid", "/proc/7/ns/ipc"],
  );
  assert.equal(joined.mounts.find((mount) => mount.destination === "/dev/shm")?.source, "/run/shm7");
  const own = build({}, { netns: "/run/netns/x", host: aHost({ cgroupLayout: "v1" }) });
  assert.ok(own.linux.namespaces.some((row) => row.type === "network" && row.path === "/run/netns/x"));
  assert.ok(!own.linux.namespaces.some((row) => row.type === "cgroup"));
  assert.throws(() => build({ hostConfig: { PidMode: "container:x" } }), { kind: "conflict" });
  assert.equal(options(build({ hostConfig: { IpcMode: "none" } }), "/dev/shm"), undefined);
});

test("the user's mounts come last and cover the engine's", () => {
  const spec = build(
    {},
    {
      files: { hosts: "/h/hosts", hostname: "/h/hostname" },
      mounts: [
        bind({ destination: "/etc/hosts", readonly: true }),
        bind({ destination: "/a", readonly: true, readonlyNonRecursive: true, recursive: false }),
        bind({ destination: "/file", readonly: true, source: import.meta.filename }),
        bind({ destination: "/dev/shm", type: "tmpfs", source: "", options: ["exec", "size=1m"] }),
      ],
    },
  );
  assert.deepEqual(
    spec.mounts.slice(-5).map((mount) => [mount.destination, mount.options]),
    [
      ["/etc/hostname", ["rbind", "rprivate"]],
      ["/etc/hosts", ["rbind", "rro", "rprivate"]],
      ["/a", ["bind", "ro", "private"]],
      ["/file", ["rbind", "ro", "rprivate"]],
      ["/dev/shm", ["exec", "nosuid", "nodev", "rprivate", "size=1m"]],
    ],
  );
  const covered = build({}, { mounts: [bind({ destination: "/dev" })] });
  assert.deepEqual(
    covered.mounts.map((mount) => mount.destination).filter((path) => path.startsWith("/dev")),
    ["/dev"],
  );
});

test("a shared mount of a source that isn't shared is refused", () => {
  assert.throws(() => build({}, { mounts: [bind({ source: "/proc", propagation: "rshared" })] }), {
    kind: "invalid",
    message: /^path \/proc is mounted on \/proc but it is not a shared mount$/,
  });
});

test("a read-only root leaves the user's mounts and /dev as they are", () => {
  const spec = build(
    { hostConfig: { ReadonlyRootfs: true } },
    { files: { hosts: "/h" }, mounts: [bind({ destination: "/data" })] },
  );
  assert.equal(spec.root.readonly, true);
  assert.ok(options(spec, "/etc/hosts")?.includes("ro"));
  for (const path of ["/data", "/dev", "/dev/shm", "/proc"]) assert.ok(!options(spec, path)?.includes("ro"), path);
});

test("limits become the OCI's", () => {
  const { resources } = build({
    hostConfig: {
      Memory: 64 << 20,
      MemorySwap: 128 << 20,
      MemoryReservation: 32 << 20,
      MemorySwappiness: 0,
      NanoCpus: 1.5e9,
      CpuShares: 512,
      CpusetCpus: "0-1",
      PidsLimit: 10,
      BlkioWeight: 300,
      BlkioDeviceReadBps: [{ Path: "/dev/null", Rate: 1024 }],
    },
  }).linux;
  const { devices, ...limits } = resources ?? {};
  assert.ok(devices);
  assert.deepEqual(limits, {
    memory: { limit: 64 << 20, swap: 128 << 20, reservation: 32 << 20, swappiness: 0 },
    cpu: { shares: 512, quota: 150_000, period: 100_000, cpus: "0-1" },
    pids: { limit: 10 },
    blockIO: { weight: 300, throttleReadBpsDevice: [{ major: 1, minor: 3, rate: 1024 }] },
  });
});

test("ulimits: the user's over the engine's, and no limit is written as 64 bits of ones", () => {
  const ulimit = (Name: string, value: number) => ({ Name, Soft: value, Hard: value });
  const { spec, warnings } = buildSpec(
    anInput(
      { hostConfig: { Ulimits: [ulimit("core", 0), ulimit("nofile", -1)] } },
      { defaults: { ...anInput().defaults, ulimits: [ulimit("core", 5), ulimit("cpu", -1)] } },
    ),
  );
  const limits = spec.process.rlimits ?? [];
  assert.deepEqual(
    limits.map((row) => row.type),
    ["RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_NOFILE"],
  );
  assert.deepEqual(limits[0], { type: "RLIMIT_CORE", soft: 0, hard: 0 });
  assert.equal(
    JSON.stringify(limits[1]),
    '{"type":"RLIMIT_CPU","soft":18446744073709551615,"hard":18446744073709551615}',
  );
  assert.ok((limits[2]?.hard ?? Infinity) <= aHost().maxOpenFiles);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /^The ulimit nofile=-1:-1 is more than the engine may give/);
});

test("a score that may not be lowered is clamped with a warning", () => {
  const host = aHost({ mayLowerOomScore: false, oomScoreAdj: 100 });
  const lowered = buildSpec(anInput({ hostConfig: { OomScoreAdj: -500 } }, { host }));
  assert.equal(lowered.spec.process.oomScoreAdj, 100);
  assert.equal(lowered.warnings.length, 1);
  const plain = buildSpec(anInput({}, { host }));
  assert.equal(plain.spec.process.oomScoreAdj, 100);
  assert.deepEqual(plain.warnings, []);
});

test("an init goes first, unless the pid namespace is somebody else's", () => {
  const spec = build({ hostConfig: { Init: true } });
  assert.deepEqual(spec.process.args, ["/sbin/docker-init", "--", "true"]);
  assert.deepEqual(options(spec, "/sbin/docker-init"), ["bind", "ro"]);
  assert.deepEqual(build({ hostConfig: { Init: true, PidMode: "host" } }).process.args, ["true"]);
  assert.deepEqual(
    build({ hostConfig: { Init: false } }, { defaults: { ...anInput().defaults, init: true } }).process.args,
    ["true"],
  );
  const without = { defaults: { ...anInput().defaults, initPath: undefined } };
  assert.throws(() => build({ hostConfig: { Init: true } }, without), { kind: "invalid" });
});

test("security options reach the process", () => {
  const apparmor = { enabled: true, defaultProfileLoaded: true };
  const of = (SecurityOpt: string[], host = aHost({ apparmor })) => build({ hostConfig: { SecurityOpt } }, { host });
  assert.equal(of(["no-new-privileges"]).process.noNewPrivileges, true);
  assert.equal(of([]).process.apparmorProfile, "docker-default");
  assert.equal(of(["apparmor=mine"]).process.apparmorProfile, "mine");
  assert.equal(of(["apparmor=mine"], aHost()).process.apparmorProfile, undefined);
  assert.deepEqual(of(["systempaths=unconfined"]).linux.maskedPaths, []);
  assert.deepEqual(build({ hostConfig: { MaskedPaths: ["/x"], ReadonlyPaths: [] } }).linux.maskedPaths, ["/x"]);
  assert.deepEqual(of(['seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}']).linux.seccomp, {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [],
  });
});

test("the distribution's seccomp profile widens with the capabilities", (t) => {
  const seccompProfile = "/usr/share/containers/seccomp.json";
  if (!existsSync(seccompProfile)) return t.skip("no profile here");
  const allowed = (CapAdd: string[]) =>
    build({ hostConfig: { CapAdd } }, { defaults: { ...anInput().defaults, seccompProfile } })
      .linux.seccomp?.syscalls?.filter((rule) => rule.action === "SCMP_ACT_ALLOW" && !rule.args)
      .flatMap((rule) => rule.names) ?? [];
  assert.ok(allowed([]).includes("openat2"));
  assert.ok(!allowed([]).includes("bpf"));
  assert.ok(allowed(["SYS_ADMIN"]).includes("bpf"));
});

test("a cgroup parent cannot lead out of the hierarchy", () => {
  const path = build({ hostConfig: { CgroupParent: "../../evil" } }).linux.cgroupsPath;
  assert.match(path ?? "", /^\/evil\/[0-9a-f]{64}$/);
});
