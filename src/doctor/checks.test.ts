import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { selfSigned } from "../../test/certificates.ts";
import { drawFindings } from "../api/doctor.ts";
import { GantryError } from "../base/errors.ts";
import { listMounts } from "../kernel/mount.ts";
import type { Observation } from "../remote/observed.ts";
import { type Check, ok, runChecks } from "./check.ts";
import { isOlder } from "./checks/versions.ts";
import { CHECKS, chooseChecks } from "./checks.ts";
import { hostMachine } from "./host-machine.ts";
import type { Installation, Machine, RunningEngine } from "./machine.ts";

const FILES: Readonly<Record<string, string>> = {
  "/proc/filesystems": "nodev\tsysfs\nnodev\toverlay\n\text4\n",
  "/proc/sys/kernel/seccomp/actions_avail": "kill_process errno allow\n",
  "/proc/sys/user/max_user_namespaces": "15000\n",
  "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
  "/sys/fs/cgroup/cgroup.subtree_control": "cpuset cpu io memory pids\n",
  "/proc/sys/net/ipv4/ip_forward": "1\n",
  "/etc/resolv.conf": "nameserver 192.0.2.1\n",
  "/sys/class/rtc/rtc0/since_epoch": "1000000\n",
  "/proc/self/limits": "Max open files            1024                 1048576              files\n",
  "/proc/sys/kernel/pid_max": "4194304\n",
  "/proc/sys/kernel/threads-max": "60000\n",
  "/proc/sys/fs/inotify/max_user_instances": "1024\n",
  "/proc/sys/fs/inotify/max_user_watches": "524288\n",
  "/proc/sys/kernel/osrelease": "6.1.0-13-amd64\n",
};
const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  "/proc/self/ns": ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"],
  "/data": ["gantry.db"],
};

/** A machine on which all is well, but for what a test takes from it. */
interface Ills {
  readonly files?: Readonly<Record<string, string | undefined>>;
  readonly folders?: Readonly<Record<string, readonly string[]>>;
  readonly programs?: Readonly<Record<string, string | undefined>>;
  readonly noLibrary?: boolean;
  readonly calls?: Partial<Record<string, string>>;
  readonly disk?: Partial<Machine["disk"]>;
  readonly network?: Partial<Machine["network"]>;
  readonly clock?: Partial<Machine["clock"]>;
  readonly integrity?: () => Promise<string>;
  readonly installation?: Partial<Installation>;
  readonly engine?: Partial<RunningEngine>;
}

function machineWith(ills: Ills): Machine {
  const files: Readonly<Record<string, string | undefined>> = { ...FILES, ...ills.files };
  const folders: Readonly<Record<string, readonly string[]>> = { ...FOLDERS, ...ills.folders };
  const programs: Readonly<Record<string, string | undefined>> = {
    "/usr/bin/crun": "crun version 1.14.4\ncommit: x\n",
    [process.execPath]: "v24.1.0\n",
    ...ills.programs,
  };
  return {
    files: {
      read: (path) => files[path],
      list: (path) => folders[path] ?? [],
      resolve: (path) => (ills.noLibrary || !path.startsWith("/usr/lib64/") ? undefined : `${path}.1.0`),
    },
    programs: { run: async (name) => programs[name] },
    kernel: { refusal: (call) => ills.calls?.[call] },
    disk: {
      space: async () => ({ bytes: 1e12, freeBytes: 5e11, inodes: 1e6, freeInodes: 9e5, fileSystem: "ext4" }),
      overlayRefusal: async () => undefined,
      syncTimes: async () => [1, 2, 3],
      ...ills.disk,
    },
    network: {
      sandboxRefusals: () => ({}),
      forwardObstacles: async () => [],
      routes: () => [{ destination: "172.17.0.0/16", device: "gantry0" }],
      defaultMtu: () => 1500,
      loopbackRefusal: async () => undefined,
      ...ills.network,
    },
    clock: {
      synchronization: () => ({ isSynced: true, maxErrorMs: 1 }),
      now: () => 1_000_000_000,
      ...ills.clock,
    },
    records: { integrity: ills.integrity ?? (async () => "ok") },
  };
}

function installationWith(ills: Ills): Installation {
  return {
    version: "1.0.0",
    dataRoot: "/data",
    execRoot: "/exec",
    pidfile: "/exec/gantryd.pid",
    mtu: 1500,
    bridge: "gantry0",
    runtime: { name: "crun", path: "/usr/bin/crun" },
    seccompProfile: "",
    lazyRefusal: undefined,
    signaturePolicy: "",
    certificateFolders: ["/etc/gantry/certs.d"],
    proxies: { http: "", https: "", exceptions: "" },
    engine: {
      registries: () => [],
      askSupervisor: async () => [],
      imagesUnderWay: () => [],
      running: async () => ["aaa"],
      networks: () => [{ name: "bridge", subnets: ["172.17.0.0/16"], link: "gantry0" }],
      ...ills.engine,
    },
    ...ills.installation,
  };
}

const space = { bytes: 1e12, freeBytes: 5e11, inodes: 1e6, freeInodes: 9e5, fileSystem: "ext4" };
const policy = (text: string): Ills => ({ files: { "/p": text }, installation: { signaturePolicy: "/p" } });
const noEngine = { installation: { engine: undefined } };

/** A folder of certificates for one registry. */
function certificates(files: Readonly<Record<string, string>>, now = 0): Ills {
  const folder = "/etc/gantry/certs.d/registry.example:5000";
  return {
    files: Object.fromEntries(Object.entries(files).map(([name, text]) => [`${folder}/${name}`, text])),
    folders: { "/etc/gantry/certs.d": ["registry.example:5000"], [folder]: Object.keys(files) },
    clock: { now: () => now },
  };
}

function proxies(http: string, exceptions = ""): Ills {
  return { installation: { proxies: { http, https: "", exceptions } } };
}

/** A registry that was used a minute ago. */
function used(seen: Partial<Observation>): Ills {
  const row = { host: "registry.example", problem: undefined, at: 1_000_000_000 - 60_000, aheadMs: 0 };
  return { engine: { registries: () => [{ ...row, rateLimit: undefined, ...seen }] } };
}

const ENDS = Date.parse("2030-01-01");
const PEM = selfSigned({ from: new Date("2020-01-01"), until: new Date(ENDS) }).cert;
const DAY = 86_400_000;

const CASES: readonly [id: string, ills: Ills, status: string, found: RegExp][] = [
  ["engine.images-under-way", { installation: { lazyRefusal: "there is no /dev/fuse" } }, "note", /no \/dev\/fuse/],
  [
    "engine.images-under-way",
    { engine: { imagesUnderWay: () => [{ name: "a:1", problem: "no route" }] } },
    "warning",
    /the rest of a:1 can't be had: no route/,
  ],
  ["registries.certificates", {}, "ok", /authorities hold/],
  ["registries.certificates", certificates({ "ca.crt": PEM }, ENDS - 99 * DAY), "ok", /in order/],
  ["registries.certificates", certificates({ "ca.crt": PEM }, ENDS - DAY), "warning", /ca\.crt ends on 2030-01-01/],
  ["registries.certificates", certificates({ "ca.crt": PEM }, ENDS + 1), "warning", /ca\.crt ended on 2030-01-01/],
  ["registries.certificates", certificates({ "ca.crt": "?" }), "warning", /ca\.crt holds no certificate/],
  ["registries.certificates", certificates({ "ca.pem": PEM }), "warning", /ca\.pem is passed over/],
  ["registries.certificates", certificates({ "client.cert": PEM }), "warning", /has no client\.key beside it/],
  ["registries.certificates", certificates({ "client.key": "" }), "warning", /has no client\.cert beside it/],
  ["registries.proxies", {}, "ok", /asked directly/],
  [
    "registries.proxies",
    proxies("http://joe:pw@proxy:3128", "*.example, 10.0.0.0/8"),
    "ok",
    /^http:\/\/xxxxx:xxxxx@proxy/,
  ],
  ["registries.proxies", proxies("socks5://proxy:1080"), "failure", /must be an http/],
  ["registries.proxies", proxies("proxy:3128", "https://registry.example"), "warning", /is no host and no range/],
  ["registries.answers", noEngine, "note", /only it knows/],
  ["registries.answers", {}, "ok", /none/],
  ["registries.answers", used({}), "ok", /registry\.example: in order/],
  ["registries.answers", used({ problem: "refused" }), "warning", /could not be reached 60 seconds ago: refused/],
  ["registries.answers", used({ problem: "refused", at: 0 }), "ok", /in order/],
  ["registries.answers", used({ aheadMs: 7_200_000 }), "warning", /is 2 hours ahead of this one/],
  ["registries.answers", used({ aheadMs: -300_000 }), "warning", /is 5 minutes behind this one/],
  ["registries.answers", used({ rateLimit: { limit: 100, remaining: 3, seconds: 1 } }), "warning", /3 of 100 pulls/],
  ["kernel.overlay", { files: { "/proc/filesystems": "\text4\n" } }, "failure", /does not know it/],
  ["kernel.seccomp", { files: { "/proc/sys/kernel/seccomp/actions_avail": undefined } }, "failure", /unconfined/],
  ["kernel.seccomp", { installation: { seccompProfile: "unconfined" } }, "warning", /filter nothing/],
  ["kernel.namespaces", { folders: { "/proc/self/ns": ["mnt", "net", "pid"] } }, "failure", /lacks uts, ipc, cgroup/],
  ["kernel.user-namespaces", { files: { "/proc/sys/user/max_user_namespaces": "0\n" } }, "note", /there are none/],
  ["kernel.pidfd", { calls: { pidfd: "pidfd_open: ENOSYS" } }, "failure", /ENOSYS/],
  ["kernel.openat2", { calls: { openat2: "openat2: EPERM" } }, "failure", /EPERM/],
  ["kernel.mount-api", { calls: { "mount-api": "fsopen: ENOSYS" } }, "failure", /fsopen/],
  ["cgroup.layout", { files: { "/sys/fs/cgroup/cgroup.controllers": undefined } }, "failure", /none are mounted/],
  [
    "cgroup.layout",
    { files: { "/sys/fs/cgroup/cgroup.controllers": undefined }, folders: { "/sys/fs/cgroup": ["memory"] } },
    "note",
    /version 1/,
  ],
  [
    "cgroup.controllers",
    { files: { "/sys/fs/cgroup/cgroup.controllers": "cpu pids\n" } },
    "warning",
    /memory \(--memory\), cpuset/,
  ],
  [
    "cgroup.controllers",
    {
      files: {
        "/sys/fs/cgroup/cgroup.controllers": undefined,
        "/proc/cgroups":
          "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t1\t0\nblkio\t1\t1\t1\ncpuset\t1\t1\t1\npids\t1\t1\t1\n",
      },
    },
    "warning",
    /off: memory \(--memory\)$/,
  ],
  [
    "cgroup.delegation",
    { files: { "/sys/fs/cgroup/cgroup.subtree_control": "cpu\n" } },
    "note",
    /memory, pids not handed down/,
  ],
  [
    "storage.space",
    { disk: { space: async () => ({ ...space, freeBytes: 1e6 }) } },
    "failure",
    /free in \/data \(ext4\)/,
  ],
  ["storage.space", { disk: { space: async () => ({ ...space, freeBytes: 2e10 }) } }, "warning", /free in/],
  ["storage.inodes", { disk: { space: async () => ({ ...space, freeInodes: 0 }) } }, "failure", /^0 of 1000000/],
  ["storage.inodes", { disk: { space: async () => ({ ...space, freeInodes: 9 }) } }, "warning", /^9 of/],
  ["storage.overlay", { disk: { overlayRefusal: async () => "no d_type" } }, "failure", /fails: no d_type/],
  ["storage.sync", { disk: { syncTimes: async () => [1, 80, 90] } }, "note", /^80\.0 ms/],
  ["network.forwarding", { files: { "/proc/sys/net/ipv4/ip_forward": "0\n" } }, "warning", /not forwarded/],
  ["network.bridge", { network: { sandboxRefusals: () => ({ bridge: "EOPNOTSUPP" }) } }, "failure", /EOPNOTSUPP/],
  ["network.veth", { network: { sandboxRefusals: () => ({ namespace: "EPERM" }) } }, "failure", /EPERM/],
  ["network.nftables", { network: { sandboxRefusals: () => ({ nftables: "no table" }) } }, "failure", /no table/],
  [
    "network.foreign-rules",
    {
      network: {
        forwardObstacles: async () => [
          { program: "ufw", where: "ip filter FORWARD", commands: ["ufw route allow in on gantry0"] },
        ],
      },
    },
    "warning",
    /^ufw \(ip filter FORWARD\) drops/,
  ],
  [
    "network.subnets",
    { network: { routes: () => [{ destination: "172.17.4.0/24", device: "vpn0" }] } },
    "warning",
    /bridge \(172\.17\.0\.0\/16\) covers 172\.17\.4\.0\/24, which is reached by vpn0/,
  ],
  [
    "network.subnets",
    {
      network: {
        routes: () => [
          { destination: "172.16.0.0/12", device: "tun0" },
          { destination: "172.17.4.0/24", device: "vpn0" },
        ],
      },
    },
    "warning",
    /lies in 172\.16\.0\.0\/12, which is reached by tun0; .* covers 172\.17\.4\.0\/24, which is reached by vpn0/,
  ],
  ["network.mtu", { network: { defaultMtu: () => 1400 } }, "warning", /1500 bytes at once, the way out takes 1400/],
  ["network.mtu", { network: { defaultMtu: () => undefined } }, "note", /no default route/],
  ["network.loopback", { network: { loopbackRefusal: async () => "ENETUNREACH" } }, "failure", /ENETUNREACH/],
  ["dns.resolvers", { files: { "/etc/resolv.conf": "# none\n" } }, "warning", /names none/],
  ["dns.resolvers", { files: { "/etc/resolv.conf": undefined } }, "warning", /can't be read/],
  [
    "dns.resolvers",
    { files: { "/etc/resolv.conf": "nameserver 127.0.0.53\n" } },
    "warning",
    /nothing listens at 127\.0\.0\.53/,
  ],
  [
    "clock.synchronization",
    { clock: { synchronization: () => ({ isSynced: false, maxErrorMs: 16000 }) } },
    "note",
    /nobody/,
  ],
  ["clock.drift", { clock: { now: () => 1_000_300_000 } }, "warning", /300 s apart/],
  [
    "limits.files",
    { files: { "/proc/self/limits": "Max open files  1024  4096  files\n" } },
    "warning",
    /no more than 4096/,
  ],
  ["limits.processes", { files: { "/proc/sys/kernel/pid_max": "4096\n" } }, "warning", /no more than 4096/],
  ["limits.inotify", { files: { "/proc/sys/fs/inotify/max_user_instances": "128\n" } }, "note", /^128 watchers/],
  ["version.runtime", { installation: { runtime: { name: "crun", path: undefined } } }, "failure", /not installed/],
  ["version.runtime", { programs: { "/usr/bin/crun": undefined } }, "failure", /does not say its version/],
  ["version.runtime", { programs: { "/usr/bin/crun": "runc version 1.1.5\n" } }, "warning", /older than 1\.1\.12: CVE/],
  [
    "version.runtime",
    { programs: { "/usr/bin/crun": "runc version 1.1.5+ds1\n" } },
    "note",
    /distribution may have mended/,
  ],
  ["version.libnftables", { noLibrary: true }, "failure", /not installed/],
  ["version.kernel", { files: { "/proc/sys/kernel/osrelease": "4.19.0-5\n" } }, "warning", /older than 5\.10/],
  ["version.node", { programs: { [process.execPath]: "v22.9.0\n" } }, "failure", /22\.9\.0 is older/],
  ["engine.records", { integrity: async () => "row 3 missing from index" }, "failure", /damaged: row 3/],
  ["engine.records", { integrity: () => Promise.reject(new Error("not a database")) }, "failure", /not a database/],
  [
    "engine.supervisor",
    { engine: { askSupervisor: () => Promise.reject(new Error("gone")) } },
    "failure",
    /answer: gone/,
  ],
  [
    "engine.supervisor",
    {
      ...noEngine,
      files: { "/proc/net/unix": "Num\n0000: 00000002 00000000 00010000 0001 01 77 /exec/supervisor.sock\n" },
    },
    "note",
    /runs without an engine/,
  ],
  [
    "engine.supervisor",
    {
      ...noEngine,
      files: {
        "/proc/net/unix": "Num\n0000: 00000002 00000000 00010000 0001 01 77 /exec/supervisor.sock\n",
        "/exec/gantryd.pid": "77",
        "/proc/77/cmdline": "node\0/usr/lib/gantry/dist/engine/main.js\0",
      },
    },
    "ok",
    /^it runs, and so does the engine/,
  ],
  [
    "engine.signatures",
    { installation: { signaturePolicy: "/p" } },
    "failure",
    /^\/p can't be used: \/p can't be read$/,
  ],
  ["engine.signatures", { ...policy("{}") }, "failure", /^\/p can't be used: default/],
  ["engine.signatures", { ...policy('{"default":[{"type":"reject"}]}') }, "ok", /^\/p: 0 scopes, 0 keys$/],
  [
    "engine.signatures",
    { ...policy('{"default":[{"type":"sigstoreSigned","keyPath":"/k"}]}') },
    "failure",
    /^\/p can't be used: \/k can't be read$/,
  ],
  [
    "engine.signatures",
    { ...policy('{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]}') },
    "warning",
    /^the default in \/p demands what is not checked here/,
  ],
  [
    "engine.signatures",
    { ...policy('{"default":[{"type":"reject"}],"transports":{"docker":{"busybox":[{"type":"reject"}]}}}') },
    "warning",
    /^no image lies in the scope "busybox" of \/p/,
  ],
  ["engine.leftovers", { folders: { "/exec/bundles": ["aaa", "bbb"] } }, "warning", /^1 folders .*: bbb/],
  ["engine.leftovers", { ...noEngine, folders: { "/exec/bundles": ["aaa"] } }, "note", /^1 containers' folders/],
];

for (const [id, ills, status, found] of CASES) {
  test(`${id} finds: ${found.source}`, async () => {
    const [finding, ...more] = await runChecks(chooseChecks([id]), machineWith(ills), installationWith(ills));
    assert.deepEqual([finding?.ID, finding?.Status, more.length], [id, status, 0], finding?.Found);
    assert.match(finding?.Found ?? "", found);
    if (status === "failure" || status === "warning") assert.notEqual(finding?.Mend, "");
  });
}

test("every check has a case in which it finds something", () => {
  const tried = new Set(CASES.map(([id]) => id));
  assert.deepEqual(
    CHECKS.map(({ id }) => id).filter((id) => !tried.has(id)),
    [],
  );
});

test("on a machine where all is well, all is well", async () => {
  const findings = await runChecks(CHECKS, machineWith({}), installationWith({}));
  assert.deepEqual(
    findings.filter(({ Status }) => Status !== "ok"),
    [],
  );
  assert.match(drawFindings(findings, { color: false, quiet: false }), /\n\n\d+ checks, all well\n$/);
});

test("a check that throws or takes for ever takes no other with it", async () => {
  const check = (id: string, run: Check["run"]): Check => ({ id, title: id, run });
  const checks = [
    check("throws", () => {
      throw new Error("broken");
    }),
    check("hangs", () => new Promise<never>(() => {})),
    check("fine", () => ok("well")),
  ];
  const findings = await runChecks(checks, machineWith({}), installationWith({}), 50);
  assert.deepEqual(
    findings.map(({ ID, Status, Found }) => [ID, Status, Found]),
    [
      ["throws", "warning", "it could not be told: broken"],
      ["hangs", "warning", "it could not be told within 0.05 seconds"],
      ["fine", "ok", "well"],
    ],
  );
});

test("chooses checks by id and by area, and refuses what there isn't", () => {
  assert.deepEqual(
    chooseChecks(["kernel.overlay", "dns"]).map(({ id }) => id),
    ["kernel.overlay", "dns.resolvers"],
  );
  assert.throws(
    () => chooseChecks(["nothing"]),
    (error: unknown) => error instanceof GantryError && error.kind === "invalid",
  );
});

test("orders versions by their numbers", () => {
  assert.ok(isOlder("1.1.5+ds1", "1.1.12"));
  assert.ok(isOlder("5.4.0-100", "5.10"));
  assert.ok(!isOlder("1.14", "1.14.0"));
  assert.ok(!isOlder("24.21.0", "24.0"));
});

test("draws aligned lines, in color only where it is told to", () => {
  const findings = [
    { ID: "a.b", Title: "short", Status: "ok" as const, Found: "well", Mend: "" },
    { ID: "a.c", Title: "much longer", Status: "failure" as const, Found: "not\x1b[31m well", Mend: "mend it" },
  ];
  assert.equal(
    drawFindings(findings, { color: false, quiet: false }),
    "✓ short        well\n✗ much longer  not [31m well\n               mend it\n\n1 of 2 checks failed\n",
  );
  assert.equal(
    drawFindings(findings, { color: false, quiet: true }),
    "✗ much longer  not [31m well\n               mend it\n",
  );
  assert.match(drawFindings(findings, { color: true, quiet: true }), /^\x1b\[31m✗\x1b\[0m much longer/);
});

test("what is tried on this machine leaves nothing behind", {
  skip: process.getuid?.() === 0 ? false : "needs root",
}, async () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-doctor-"));
  try {
    const machine = hostMachine();
    const [overlay, times, loopback] = await Promise.all([
      machine.disk.overlayRefusal(root),
      machine.disk.syncTimes(root),
      machine.network.loopbackRefusal(),
    ]);
    assert.deepEqual([overlay, loopback, times.length], [undefined, undefined, 9]);
    assert.deepEqual(machine.network.sandboxRefusals(root), {});
    assert.deepEqual(readdirSync(root), []);
    assert.deepEqual(listMounts(root), []);
    assert.match((await machine.disk.overlayRefusal("/proc/self")) ?? "", /ENOENT|EACCES|EPERM/);
    writeFileSync(join(root, "bad.db"), "this is no database, and long enough to be looked at as one".repeat(20));
    await assert.rejects(machine.records.integrity(join(root, "bad.db")), /not a database/);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
