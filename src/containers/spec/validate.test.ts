import assert from "node:assert/strict";
import { test } from "node:test";
import type { ContainerConfig, HostConfig } from "../../api/container.ts";
import { aConfig, aHostConfig } from "../request.fixture.ts";
import { aHost } from "./spec.fixture.ts";
import { checkRequest } from "./validate.ts";

const MiB = 1024 * 1024;

function check(hostConfig: object, config: object = {}, host = aHost()): string[] {
  const request = {
    Config: { ...aConfig(), ...config } as ContainerConfig,
    HostConfig: { ...aHostConfig(), ...hostConfig } as HostConfig,
  };
  return checkRequest(request, { runtimes: new Map([["crun", {}]]) }, host);
}

const binding = (HostPort: string, HostIp = "") => [{ HostPort, HostIp }];
const refusals: readonly (readonly [object, string, object?])[] = [
  [
    { Dns: ["1.1.1.1\nnameserver 6.6.6.6"] },
    'invalid DNS server "1.1.1.1\\nnameserver 6.6.6.6": it holds a control character',
  ],
  [{ DnsSearch: ["a\nb"] }, 'invalid DNS search domain "a\\nb": it holds a control character'],
  [{ DnsOptions: ["a\rb"] }, 'invalid DNS option "a\\rb": it holds a control character'],
  [{ ExtraHosts: ["a\n6.6.6.6 b:1.2.3.4"] }, 'invalid add-host "a\\n6.6.6.6 b:1.2.3.4": it holds a control character'],
  [{ Links: ["web:a\nb"] }, 'invalid link "web:a\\nb": it holds a control character'],
  [{}, 'invalid hostname "a\\n6.6.6.6 b": it holds a control character', { Hostname: "a\n6.6.6.6 b" }],
  [{}, 'invalid domainname "\\u001b[2J": it holds a control character', { Domainname: "\u001b[2J" }],
  [{ Memory: -1 }, "Minimum memory limit allowed is 6MB"],
  [{ Memory: 5 * MiB }, "Minimum memory limit allowed is 6MB"],
  [
    { Memory: 64 * MiB, MemorySwap: 32 * MiB },
    "Minimum memoryswap limit should be larger than memory limit, see usage",
  ],
  [{ MemorySwap: 64 * MiB }, "You should always set the Memory limit when using Memoryswap limit, see usage"],
  [{ MemorySwappiness: 101 }, "Invalid value: 101, valid memory swappiness range is 0-100"],
  [{ MemorySwappiness: -2 }, "Invalid value: -2, valid memory swappiness range is 0-100"],
  [{ MemoryReservation: MiB }, "Minimum memory reservation allowed is 6MB"],
  [
    { Memory: 8 * MiB, MemoryReservation: 16 * MiB },
    "Minimum memory limit can not be less than memory reservation limit, see usage",
  ],
  [{ NanoCpus: 5e9 }, "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"],
  [{ NanoCpus: 1e9, CpuPeriod: 5000 }, "Conflicting options: Nano CPUs and CPU Period cannot both be set"],
  [{ NanoCpus: 1e9, CpuQuota: 5000 }, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"],
  [{ CpuPeriod: 10 }, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"],
  [{ CpuQuota: 10 }, "CPU cfs quota can not be less than 1ms (i.e. 1000)"],
  [{ CpuShares: -1 }, "invalid CPU shares (-1): value must be a positive integer"],
  [{ CpusetCpus: "0-7" }, "Requested CPUs are not available - requested 0-7, available: 0-3"],
  [{ CpusetCpus: "a" }, "Invalid value a for cpuset cpus: invalid format: a"],
  [{ CpusetCpus: "1-9999999" }, "Invalid value 1-9999999 for cpuset cpus: value of out range, maximum is 8192"],
  [{ CpusetMems: "3" }, "Requested memory nodes are not available - requested 3, available: 0"],
  [{ BlkioWeight: 5 }, "Range of blkio weight is from 10 to 1000"],
  [{ ShmSize: -1 }, "SHM size can not be less than 0"],
  [{ OomScoreAdj: 1001 }, "Invalid value 1001, range for oom score adj is [-1000, 1000]"],
  [{ Ulimits: [{ Name: "files", Soft: 1, Hard: 1 }] }, "invalid ulimit type: files"],
  [
    { Ulimits: [{ Name: "nofile", Soft: 2, Hard: 1 }] },
    "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
  ],
  [
    { RestartPolicy: { Name: "always", MaximumRetryCount: 0 }, AutoRemove: true },
    "can't create 'AutoRemove' container with restart policy",
  ],
  [
    { RestartPolicy: { Name: "always", MaximumRetryCount: 3 } },
    "invalid restart policy: maximum retry count can only be used with 'on-failure'",
  ],
  [
    { RestartPolicy: { Name: "on-failure", MaximumRetryCount: -1 } },
    "invalid restart policy: maximum retry count cannot be negative",
  ],
  [
    { RestartPolicy: { Name: "sometimes", MaximumRetryCount: 0 } },
    "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
  ],
  [{ CapAdd: ["FLY"] }, 'invalid CapAdd: unknown capability: "CAP_FLY"'],
  [{ CapDrop: ["cap_fly"] }, 'invalid CapDrop: unknown capability: "CAP_FLY"'],
  [{ SecurityOpt: ["shields=up"] }, 'invalid --security-opt 2: "shields=up"'],
  [{ SecurityOpt: ["shields"] }, 'invalid --security-opt 1: "shields"'],
  [{ SecurityOpt: ["no-new-privileges=maybe"] }, 'invalid --security-opt 2: "no-new-privileges=maybe"'],
  [{ IpcMode: "ours" }, "invalid IPC mode: ours"],
  [{ PidMode: "private" }, "invalid PID mode: private"],
  [{ UTSMode: "ours" }, "invalid UTS mode: ours"],
  [{ CgroupnsMode: "ours" }, "invalid cgroup namespace mode: ours"],
  [{ DeviceCgroupRules: ["c 1:3 rwx"] }, "invalid device cgroup rule format: 'c 1:3 rwx'"],
  [{ PortBindings: { "0/tcp": [] } }, 'invalid port specification: "0/tcp"'],
  [{ PortBindings: { "80/icmp": [] } }, 'invalid port specification: "80/icmp"'],
  [{ PortBindings: { "80/tcp": binding("90-80") } }, 'invalid port specification: "90-80"'],
  [{ PortBindings: { "80/tcp": binding("65536") } }, 'invalid port specification: "65536"'],
  [{ PortBindings: { "80/tcp": binding("80", "1.2.3") } }, "invalid IP address: 1.2.3"],
  [{ Sysctls: { "kernel.panic": "1" } }, 'sysctl "kernel.panic" is not in a separate kernel namespace'],
  [{ Sysctls: { "net..x": "1" } }, 'sysctl "net..x" is not a valid name'],
  [
    { Sysctls: { "net.ipv4.ip_forward": "1" }, NetworkMode: "host" },
    'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
  ],
  [
    { LogConfig: { Type: "papyrus", Config: null } },
    'error looking up logging plugin papyrus: plugin "papyrus" not found',
  ],
  [{ LogConfig: { Type: "json-file", Config: { size: "1m" } } }, "unknown log opt 'size' for json-file log driver"],
  [{ LogConfig: { Type: "local", Config: { size: "x" } } }, "unknown log opt 'size' for log driver local"],
  [{ Runtime: "walk" }, "unknown or invalid runtime name: walk"],
  [{ ExtraHosts: ["box"] }, 'bad format for add-host: "box"'],
  [{ Tmpfs: { "/x": "bind" } }, 'invalid tmpfs option ["bind"]'],
  [{}, "invalid signal: BANG", { StopSignal: "BANG" }],
  [{}, "the working directory 'here' is invalid, it needs to be an absolute path", { WorkingDir: "here" }],
  [{}, "invalid environment variable: =x", { Env: ["A=1", "=x"] }],
  [{}, "Interval in Healthcheck cannot be less than 1ms", { Healthcheck: { Interval: 999 } }],
  [{ UTSMode: "host" }, "conflicting options: hostname and the UTS mode", { Hostname: "x" }],
  [{ NetworkMode: "container:x" }, "conflicting options: hostname and the network mode", { Hostname: "x" }],
  [
    { NetworkMode: "container:x", PublishAllPorts: true },
    "conflicting options: port publishing and the container type network mode",
  ],
  [
    { NetworkMode: "container:x" },
    "conflicting options: port exposing and the container type network mode",
    { ExposedPorts: { "80/tcp": {} } },
  ],
  [{ NetworkMode: "container:" }, "invalid network mode: invalid container format container:<name|id>"],
];

for (const [hostConfig, message, config] of refusals) {
  test(`${JSON.stringify({ ...hostConfig, ...config })} is refused: ${message}`, () => {
    assert.throws(() => check(hostConfig, config), { kind: "invalid", message });
  });
}

for (const hostConfig of [
  {},
  { Memory: 64 * MiB, MemorySwap: -1, MemorySwappiness: -1 },
  { NanoCpus: 1.5e9, CpusetCpus: "0,2-3" },
  { PortBindings: { "80/tcp": binding("8000-8010", "127.0.0.1"), "53/udp": binding(""), "90": null } },
  { SecurityOpt: ["no-new-privileges:true", "label=disable", "apparmor=x", 'seccomp={"defaultAction":"x"}'] },
  { Sysctls: { "net.ipv4.conf.eth0/1.rp_filter": "1", "kernel.shmmax": "1", "fs.mqueue.msg_max": "9" } },
  { CapAdd: ["ALL"], CapDrop: ["cap_chown", "Kill"], Runtime: "crun" },
  { RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 } },
]) {
  test(`${JSON.stringify(hostConfig)} is taken without a word`, () => assert.deepEqual(check(hostConfig), []));
}

test("what the kernel cannot limit is told, not refused", () => {
  const none = Object.fromEntries(Object.keys(aHost().supports).map((name) => [name, false]));
  const host = aHost({ supports: none as unknown as ReturnType<typeof aHost>["supports"] });
  const wishes = { Memory: 64 * MiB, MemorySwappiness: 1, OomKillDisable: true, PidsLimit: 5, CpuShares: 2 };
  assert.deepEqual(
    check({ ...wishes, BlkioDeviceReadBps: [{ Path: "/dev/null", Rate: 1 }] }, {}, host).map((text) =>
      text.replace(/^Your kernel does not support /, "").replace(/ (capabilities )?or the cgroup.*/, ""),
    ),
    [
      "memory limit",
      "memory swappiness",
      "OomKillDisable. OomKillDisable discarded.",
      "PIDs limit",
      "CPU shares",
      "BPS Block I/O read limit",
    ],
  );
});
