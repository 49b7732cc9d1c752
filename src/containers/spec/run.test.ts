import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { cgroupAt, removeCgroup } from "../../kernel/cgroup.ts";
import { cgroupLayout } from "../../kernel/cgroup-hierarchy.ts";
import { buildSpec } from "./build.ts";
import { hostFacts } from "./host.ts";
import type { InputMount, SpecInput } from "./input.ts";
import { anInput } from "./spec.fixture.ts";

const parent = `gantry-spec-${randomBytes(6).toString("hex")}`;
const seccomp = "/usr/share/containers/seccomp.json";
let folder = "";
let rootfs = "";

before(() => {
  folder = mkdtempSync(join(tmpdir(), "spec-test-"));
  rootfs = join(folder, "rootfs");
  for (const name of ["bin", "etc", "proc", "sys", "dev", "tmp"]) mkdirSync(join(rootfs, name), { recursive: true });
  copyFileSync("/bin/busybox", join(rootfs, "bin/busybox"));
  for (const name of ["sh", "id", "cat", "env", "grep", "hostname", "mount", "ls", "mkdir", "unshare", "pwd", "stat"]) {
    symlinkSync("busybox", join(rootfs, "bin", name));
  }
  writeFileSync(join(rootfs, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n");
  writeFileSync(join(rootfs, "etc/group"), "root:x:0:\nann:x:1001:\nstaff:x:50:ann\nextra:x:60:\n");
  writeFileSync(join(folder, "hosts"), "127.0.0.1 written-by-engine\n");
});
after(async () => {
  await removeCgroup(cgroupAt(parent));
  rmSync(folder, { recursive: true, force: true });
});

interface Ran {
  readonly code: number | null;
  readonly output: string;
}

/** Runs a shell script in a container of the built spec, under the real crun. */
async function run(
  script: string,
  wishes: Parameters<typeof anInput>[0] = {},
  changes: Partial<SpecInput> = {},
): Promise<Ran> {
  const base = anInput({ ...wishes, config: { Cmd: ["/bin/sh", "-c", script], ...wishes?.config } });
  const input: SpecInput = {
    ...base,
    rootfs,
    host: hostFacts(),
    defaults: {
      ...base.defaults,
      cgroupParent: parent,
      seccompProfile: existsSync(seccomp) ? seccomp : "unconfined",
    },
    ...changes,
  };
  const bundle = mkdtempSync(join(folder, "bundle-"));
  writeFileSync(join(bundle, "config.json"), JSON.stringify(buildSpec(input).spec));
  // crun 1.8 refuses a v2 hierarchy beside v1's controllers.
  const hide = cgroupLayout() === "hybrid" ? "umount /sys/fs/cgroup/unified && " : "";
  const args = [
    "-m",
    "sh",
    "-c",
    `${hide}exec crun --root "$0" run --bundle "$1" "$2"`,
    join(folder, "crun"),
    bundle,
    input.id,
  ];
  const child = spawn("unshare", args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, output };
}

async function lines(...args: Parameters<typeof run>): Promise<string[]> {
  const { code, output } = await run(...args);
  assert.equal(code, 0, output);
  return output.trim().split("\n");
}

test("a container runs confined as the spec says", async () => {
  const said = await lines(
    "hostname; id -u; id -g; id -G; pwd; echo $HOME; grep -c . /proc/self/mountinfo >/dev/null; cat /etc/hosts; " +
      "grep CapBnd /proc/self/status; grep Seccomp: /proc/self/status; grep NoNewPrivs /proc/self/status; " +
      "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/kernel/domainname; cat /proc/interrupts | busybox wc -c",
    {
      config: { User: "ann", WorkingDir: "/tmp", Domainname: "example.test" },
      hostConfig: { GroupAdd: ["extra"], SecurityOpt: ["no-new-privileges"] },
    },
    { files: { hosts: join(folder, "hosts") } },
  );
  assert.deepEqual(said.slice(0, 7), [
    "box",
    "1000",
    "1001",
    "1001 50 60",
    "/tmp",
    "/home/ann",
    "127.0.0.1 written-by-engine",
  ]);
  assert.equal(said[7], "CapBnd:\t00000000a80425fb");
  assert.equal(said[8], existsSync(seccomp) ? "Seccomp:\t2" : "Seccomp:\t0");
  assert.equal(said[9], "NoNewPrivs:\t1");
  assert.deepEqual(said.slice(10), ["0", "example.test", "0"]);
});

test("limits hold, and no limit is none", async () => {
  const memory = cgroupAt(parent).memory ?? "";
  const input = anInput();
  const file = cgroupLayout() === "v2" ? "memory.max" : "memory.limit_in_bytes";
  const said = await lines(
    `ulimit -n; ulimit -t; cat /memory/${parent}/${input.id}/${file}`,
    {
      hostConfig: {
        Memory: 32 << 20,
        MemorySwap: 32 << 20,
        PidsLimit: 20,
        NanoCpus: 0.5e9,
        Ulimits: [
          { Name: "nofile", Soft: 100, Hard: 200 },
          { Name: "cpu", Soft: -1, Hard: -1 },
        ],
      },
    },
    {
      id: input.id,
      mounts: [
        {
          type: "bind",
          source: join(memory, ".."),
          destination: "/memory",
          readonly: true,
          propagation: "rprivate",
          recursive: true,
          options: [],
        },
      ],
    },
  );
  assert.deepEqual(said, ["100", "unlimited", `${32 << 20}`]);
});

test("privileged may what a plain container may not", async () => {
  const script =
    "mount -t tmpfs x /tmp && echo mounted; ls /dev | grep -c . >/dev/null; echo x >/dev/null && echo written";
  const plain = await run(script);
  assert.ok(!plain.output.includes("mounted\n"), plain.output);
  const said = await lines(script, { hostConfig: { Privileged: true } });
  assert.deepEqual(said, ["mounted", "written"]);
});

test("a read-only root, a tmpfs, an init and a device are as asked", async (t) => {
  // A static one: the root filesystem has no libc.
  const initPath = ["/usr/bin/tini-static", "/usr/libexec/podman/catatonit"].find((path) => existsSync(path));
  if (initPath === undefined) return t.skip("no init on this host");
  const said = await lines(
    "mkdir /x 2>/dev/null || echo read-only; mkdir /scratch/y && echo writable; grep -o noexec /proc/mounts | busybox head -n1; " +
      "busybox tr '\\0' ' ' </proc/1/cmdline | busybox cut -c1-20; busybox head -c 4 /dev/nil | busybox wc -c",
    {
      hostConfig: {
        ReadonlyRootfs: true,
        Init: true,
        Devices: [{ PathOnHost: "/dev/zero", PathInContainer: "/dev/nil", CgroupPermissions: "rwm" }],
      },
    },
    {
      defaults: { ...anInput().defaults, cgroupParent: parent, initPath },
      mounts: [
        {
          type: "tmpfs",
          source: "",
          destination: "/scratch",
          readonly: false,
          propagation: "",
          recursive: false,
          options: ["size=64k"],
        },
      ],
    },
  );
  assert.deepEqual(said, ["read-only", "writable", "noexec", "/sbin/docker-init --", "4"]);
});

test("a file, a socket and a device are bound where the image has nothing, and read-only holds", async () => {
  const file = join(folder, "shown");
  const socket = join(folder, "shown.sock");
  writeFileSync(file, "content\n");
  const server = createServer().listen(socket);
  await once(server, "listening");
  const bind = (source: string, destination: string): InputMount => ({
    ...{ type: "bind", source, destination, readonly: true, propagation: "rprivate", recursive: true, options: [] },
  });
  try {
    const said = await lines(
      "cat /made/file; echo x 2>/dev/null >/made/file || echo refused; " +
        "stat -c %F /made/socket; busybox head -c 2 /made/zero | busybox od -An -tx1",
      {},
      { mounts: [bind(file, "/made/file"), bind(socket, "/made/socket"), bind("/dev/zero", "/made/zero")] },
    );
    assert.deepEqual(said, ["content", "refused", "socket", " 00 00"]);
  } finally {
    server.close();
  }
});
