import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

/** Bits of the fourteen capabilities that Docker leaves to a container. */
const DEFAULT_CAPS = "00000000a80425fb";

describe("the jail", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const sees = (flags: readonly string[], script: string): Promise<string> =>
    engine.ok("run", "--rm", ...flags, "busybox", "sh", "-c", script);
  const status = (flags: readonly string[], field: string): Promise<string> =>
    sees(flags, `sed -n 's/^${field}:[[:space:]]*//p' /proc/self/status`);

  test("capabilities are Docker's fourteen, none inheritable or ambient", async () => {
    for (const set of ["CapBnd", "CapEff", "CapPrm"]) assert.equal(await status([], set), DEFAULT_CAPS, set);
    assert.equal(await status([], "CapInh"), "0000000000000000");
    assert.equal(await status([], "CapAmb"), "0000000000000000");
  });

  test("capabilities can be dropped and added", async () => {
    assert.equal(await status(["--cap-drop", "ALL"], "CapBnd"), "0000000000000000");
    assert.equal(await status(["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"], "CapBnd"), "0000000000000400");
    assert.equal(await status(["--cap-add", "CAP_NET_ADMIN"], "CapBnd"), "00000000a80435fb");
    assert.match(
      (await engine.docker("run", "--rm", "--cap-add", "NONSENSE", "busybox")).stderr,
      /invalid capability|invalid CapAdd/,
    );
  });

  test("seccomp filters unless unconfined, and no-new-privileges holds", async () => {
    assert.equal(await status([], "Seccomp"), "2");
    assert.equal(await status(["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
    assert.equal(await status([], "NoNewPrivs"), "0");
    assert.equal(await status(["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
  });

  test("the process sees itself alone, as number one", async () => {
    // Itself alone: a glob is the shell's own doing and starts no process.
    assert.equal(await sees([], "echo $$ /proc/[0-9]*"), "1 /proc/1");
    assert.equal(await sees(["--init"], "cat /proc/1/comm").then((name) => /init|tini|catatonit/.test(name)), true);
    assert.equal(await sees(["--pid", "host"], `[ -d /proc/${process.pid} ] && echo host`), "host");
  });

  test("kernel knobs are masked or read-only", async () => {
    assert.equal(await sees([], "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c"), "0");
    assert.notEqual(
      (await engine.docker("run", "--rm", "busybox", "sh", "-c", "echo 1 > /proc/sys/vm/drop_caches")).code,
      0,
    );
    assert.notEqual(
      (await engine.docker("run", "--rm", "busybox", "sh", "-c", "echo b > /proc/sysrq-trigger")).code,
      0,
    );
    assert.notEqual((await engine.docker("run", "--rm", "busybox", "touch", "/sys/x")).code, 0);
    assert.notEqual((await engine.docker("run", "--rm", "busybox", "mount", "-t", "tmpfs", "x", "/root")).code, 0);
  });

  test("devices of the host are out of reach", async () => {
    assert.equal(
      await sees([], "ls /dev | tr '\\n' ' '"),
      "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
    );
    const raw = await engine.docker("run", "--rm", "busybox", "sh", "-c", "mknod /d b 254 0 && head -c 1 /d");
    assert.notEqual(raw.code, 0);
    assert.equal(await sees(["--device", "/dev/zero:/dev/nothing:r"], "head -c 2 /dev/nothing | od -An -tx1"), "00 00");
  });

  test("only the three standard descriptors are open", async () => {
    // By ls itself: a shell has ends of pipes open while it runs one. The fourth is the listing's own.
    assert.equal(await engine.ok("run", "--rm", "busybox", "ls", "/proc/self/fd"), "0\n1\n2\n3");
  });

  test("user, groups, working directory, environment and names are as asked", async () => {
    assert.equal(await sees(["-u", "1234:5678", "--group-add", "42"], "id -u; id -g; id -G"), "1234\n5678\n5678 42");
    assert.equal(await sees(["-u", "nobody"], "id -un"), "nobody");
    assert.equal(await sees(["-w", "/a/b"], "pwd"), "/a/b");
    assert.equal(await sees(["-e", "X=y z"], "echo $X"), "y z");
    assert.equal(await sees(["-h", "box.example", "--domainname", "d"], "hostname"), "box.example");
    assert.equal(await engine.ok("run", "--rm", "--entrypoint", "echo", "busybox", "a", "b"), "a b");
    assert.match(
      (await engine.docker("run", "--rm", "-u", "stranger", "busybox")).stderr,
      /unable to find user stranger: no matching entries in passwd file/,
    );
  });

  test("limits reach the kernel", async () => {
    assert.equal(await sees(["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn"), "100\n200");
    const memory = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    assert.equal(await sees(["-m", "64m"], memory), String(64 << 20));
    const pids = "cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max";
    assert.equal(await sees(["--pids-limit", "33"], pids), "33");
    assert.equal(await sees(["--shm-size", "1m"], "df -k /dev/shm | awk 'NR==2{print $2}'"), "1024");
    assert.equal(await sees(["--sysctl", "net.ipv4.ip_default_ttl=33"], "cat /proc/sys/net/ipv4/ip_default_ttl"), "33");
    assert.equal(await sees(["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
  });

  test("a container over its memory is killed and says so", async () => {
    const end = await engine.docker(
      "run",
      "--name",
      "greedy",
      "-m",
      "16m",
      "--memory-swap",
      "16m",
      "busybox",
      "sh",
      "-c",
      "x=a; while :; do x=$x$x; done",
    );
    assert.equal(end.code, 137);
    assert.equal(await engine.ok("inspect", "-f", "{{.State.OOMKilled}}", "greedy"), "true");
    await engine.ok("rm", "greedy");
  });

  test("a read-only root refuses writes, a tmpfs takes them", async () => {
    assert.notEqual((await engine.docker("run", "--rm", "--read-only", "busybox", "touch", "/x")).code, 0);
    assert.equal(
      await sees(["--read-only", "--tmpfs", "/t:size=1m"], "touch /t/x && df -k /t | awk 'NR==2{print $2}'"),
      "1024",
    );
    assert.match(await sees(["--tmpfs", "/t"], "grep ' /t ' /proc/mounts"), /nosuid,nodev,noexec/);
  });

  test("binds and volumes show the right files, and ro holds", async () => {
    const hostname = readFileSync("/etc/hostname", "utf8").trim();
    assert.equal(await sees(["-v", "/etc/hostname:/their:ro"], "cat /their"), hostname);
    assert.notEqual(
      (await engine.docker("run", "--rm", "-v", "/etc/hostname:/their:ro", "busybox", "sh", "-c", "echo x > /their"))
        .code,
      0,
    );
    await sees(["-v", "kept:/v"], "echo stays > /v/file");
    assert.equal(await sees(["--mount", "type=volume,src=kept,dst=/v,readonly"], "cat /v/file"), "stays");
    await engine.ok("volume", "rm", "kept");
    assert.match(
      (await engine.docker("run", "--rm", "--mount", "type=bind,src=/no/such,dst=/x", "busybox")).stderr,
      /bind source path does not exist/,
    );
  });

  test("privileged lifts the walls", async () => {
    const own = /^CapBnd:\s*(\S+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    assert.equal(await status(["--privileged"], "CapBnd"), own);
    assert.equal(await status(["--privileged"], "Seccomp"), "0");
    assert.equal(await sees(["--privileged"], "mount -t tmpfs x /root && echo mounted"), "mounted");
  });
});
