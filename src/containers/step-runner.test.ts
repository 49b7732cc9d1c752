import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { GantryError, isKind } from "../base/errors.ts";
import { cgroupAt, cgroupProcesses } from "../kernel/cgroup.ts";
import { listMounts } from "../kernel/mount.ts";
import { SupervisorClient } from "../runtime/supervisor-client.ts";
import { StepsFixture } from "./steps.fixture.ts";

let fixture: StepsFixture;
before(async () => {
  fixture = await StepsFixture.make();
});
after(() => fixture[Symbol.asyncDispose]());

/** What a step leaves beside its root. */
async function leftovers(): Promise<string[]> {
  await fixture.steps.quiet();
  const { execRoot } = fixture;
  const inside = ["bundles", "sources", "containers", "netns"].flatMap((name) =>
    existsSync(join(execRoot, name)) ? readdirSync(join(execRoot, name)) : [],
  );
  const mounts = listMounts(execRoot).filter(({ target }) => target !== execRoot && target !== fixture.root);
  return [...inside, ...mounts.map(({ target }) => target), ...cgroupProcesses(cgroupAt(fixture.cgroup)).map(String)];
}

test("a step's streams come apart, with its exit code, and nothing of it stays", async () => {
  const { code, stdout, stderr } = await fixture.run("echo out; echo err >&2; exit 7");
  assert.deepEqual({ code, stdout, stderr }, { code: 7, stdout: "out\n", stderr: "err\n" });
  assert.deepEqual(await leftovers(), []);
});

test("a step is jailed as a container is", async () => {
  const { stdout } = await fixture.run(
    "grep -E 'CapEff|Seccomp:' /proc/self/status; cat /etc/hosts | head -1; hostname; mount -t tmpfs x /tmp 2>&1; cat /proc/kcore | head -c 1 | wc -c",
  );
  assert.match(stdout, /CapEff:\t00000000a80425fb/);
  assert.match(stdout, /Seccomp:\t2/);
  assert.match(stdout, /127\.0\.0\.1\tlocalhost\nbuilder\n/);
  assert.match(stdout, /permission denied/i);
  assert.match(stdout, /\n0\n$/);
});

test("a folder that is missing is made to work in, for the step's user", async () => {
  const { stdout } = await fixture.run("pwd; id -u; stat -c '%u:%g' . ..", { cwd: "/srv/app/deep", user: "1000:1001" });
  assert.equal(stdout, "/srv/app/deep\n1000\n1000:1001\n1000:1001\n");
});

test("what is made to mount something on leaves no trace in the root, what the step makes stays", async () => {
  const secret = { type: "file", target: "/run/secrets/key", mode: 0o400, uid: 0, gid: 0 } as const;
  const mounts = [
    { ...secret, bytes: Buffer.from("hush") },
    { type: "tmpfs", target: "/deep/er/tmp", size: 0 },
  ] as const;
  const upper = fixture.upper;
  const first = await fixture.run("cat /run/secrets/key; stat -c ' %a' /run/secrets/key; df /deep/er/tmp | wc -l", {
    mounts,
  });
  assert.equal(first.stdout, "hush 400\n2\n");
  assert.equal(existsSync(join(upper, "deep")), false);
  assert.deepEqual(existsSync(join(upper, "run")) ? readdirSync(join(upper, "run")) : [], []);
  await fixture.run("touch /deep/er/mine", { mounts });
  assert.deepEqual(readdirSync(join(upper, "deep/er")), ["mine"]);
});

test("what a step puts in the place of a mount point is not followed when that is taken away", async () => {
  const victim = join(fixture.folder, "victim");
  mkdirSync(join(victim, "sub"), { recursive: true });
  const mounts = [{ type: "tmpfs", target: "/trap/sub", size: 0 }] as const;
  // The folder above the mount is moved away, and a link to the host's path is put there.
  const { code } = await fixture.run(
    `mv /trap /moved 2>/dev/null; ln -s ${victim} /trap; ln -s ${victim} /moved/x; true`,
    {
      mounts,
    },
  );
  assert.equal(code, 0);
  assert.ok(existsSync(join(victim, "sub")));
});

test("mounts are looked up by the root's links, inside of it", async () => {
  symlinkSync("/../../../../../../../tmp", join(fixture.root, "out"));
  const name = `gantry-${fixture.cgroup.slice(-8)}`;
  const mounts = [
    { type: "file", target: `/out/${name}`, bytes: Buffer.from("x"), mode: 0o400, uid: 0, gid: 0 },
  ] as const;
  const { stdout } = await fixture.run(`cat /tmp/${name}`, { mounts });
  assert.equal(stdout, "x");
  assert.equal(existsSync(`/tmp/${name}`), false);
});

test("one mount may lie in another, whichever comes first", async () => {
  const folder = join(fixture.folder, "cache");
  mkdirSync(folder);
  const source = openSync(folder, "r");
  try {
    const mounts = [
      { type: "file", target: "/c/d/file", bytes: Buffer.from("in"), mode: 0o444, uid: 0, gid: 0 },
      { type: "bind", target: "/c", source, readonly: false },
    ] as const;
    const { stdout } = await fixture.run("cat /c/d/file; echo kept > /c/kept", { mounts });
    assert.equal(stdout, "in");
    assert.equal(readFileSync(join(folder, "kept"), "utf8"), "kept\n");
    const readonly = [{ type: "bind", target: "/c", source, readonly: true }] as const;
    assert.match((await fixture.run("touch /c/no", { mounts: readonly })).stderr, /Read-only/);
  } finally {
    closeSync(source);
  }
});

test("connections to a socket come to its owner", async () => {
  const abort = new AbortController();
  const answered = Promise.withResolvers<string>();
  const mounts = [
    {
      type: "socket",
      target: "/run/agent.sock",
      mode: 0o600,
      uid: 1000,
      gid: 0,
      connected: (connection: Duplex) => connection.on("data", (bytes) => connection.end(`${bytes} answered`)),
    },
  ] as const;
  const running = fixture.steps.run(fixture.step("stat -c '%F %a %u' /run/agent.sock; sleep 1000", { mounts }), {
    signal: abort.signal,
    output: {
      kind: "streams",
      take: (_stream, bytes) => {
        assert.equal(String(bytes), "socket 600 1000\n");
        const [pid] = cgroupProcesses(cgroupAt(fixture.cgroup));
        const client = connect(`/proc/${pid}/root/run/agent.sock`, () => client.write("question"));
        client.on("data", (answer) => answered.resolve(String(answer)));
        client.on("error", answered.reject);
      },
    },
  });
  assert.equal(await answered.promise, "question answered");
  abort.abort();
  await assert.rejects(running, (error) => isKind(error, "cancelled"));
});

test("an abort kills a step with all that it started", async () => {
  const abort = new AbortController();
  const running = fixture.steps.run(fixture.step("setsid sleep 1000 & (sleep 1000 &) ; echo up; sleep 1000"), {
    signal: abort.signal,
    output: { kind: "streams", take: () => abort.abort() },
  });
  await assert.rejects(running, (error) => isKind(error, "cancelled"));
  assert.deepEqual(await leftovers(), []);
});

test("a step waits for who takes its output", async () => {
  const open = Promise.withResolvers<void>();
  let total = 0;
  let calls = 0;
  const running = fixture.steps.run(fixture.step("head -c 50000000 /dev/zero; echo done > /progress"), {
    signal: new AbortController().signal,
    output: {
      kind: "streams",
      take: async (_stream, bytes) => {
        total += bytes.length;
        if (++calls === 1) await open.promise;
      },
    },
  });
  await standsStill();
  assert.equal(existsSync(join(fixture.root, "progress")), false);
  assert.ok(total < 1 << 20);
  open.resolve();
  await running;
  assert.equal(total, 50_000_000);
});

/** Until a process of a step waits for room in its pipe, and goes on doing so. */
async function standsStill(): Promise<void> {
  for (let times = 0; times < 20; ) {
    const waits = cgroupProcesses(cgroupAt(fixture.cgroup)).some((pid) =>
      readFileSync(`/proc/${pid}/wchan`, "utf8").includes("pipe_write"),
    );
    times = waits ? times + 1 : 0;
    await setTimeout(5);
  }
}

test("a step that fails to take its output ends", async () => {
  const running = fixture.steps.run(fixture.step("yes"), {
    signal: new AbortController().signal,
    output: {
      kind: "streams",
      take: () => {
        throw new Error("no room");
      },
    },
  });
  await assert.rejects(running, /no room/);
  assert.deepEqual(await leftovers(), []);
});

test("a step is not let into a container's network", async () => {
  const refused = fixture.run("true", { network: "container:other" });
  await assert.rejects(refused, /a step cannot be on the network of a container \(container:other\): name a network/);
});

test("where steps follow each other, the network of the next is made while one runs, and goes if none comes", async () => {
  const namespaces = () => readdirSync(join(fixture.execRoot, "netns"));
  const inode = async (hostname: string, script = "true") => {
    const { stdout } = await fixture.run(`${script}; stat -L -c %i /proc/self/ns/net`, { network: "bridge", hostname });
    return stdout.trim();
  };
  const inodes = () => namespaces().map((name) => String(statSync(join(fixture.execRoot, "netns", name)).ino));
  await inode("builder");
  await fixture.steps.quiet();
  const running = inode("builder", "while [ ! -e /tmp/go ]; do sleep 0.05; done; rm /tmp/go");
  while (namespaces().length < 2) await setTimeout(10);
  const made = inodes();
  writeFileSync(join(fixture.root, "tmp/go"), "");
  const first = await running;
  const next = await inode("builder");
  assert.deepEqual(made.sort(), [first, next].sort(), "the step that came next was in the namespace that was there");
  assert.equal((await fixture.run("hostname", { network: "bridge", hostname: "other" })).stdout, "other\n");
  // Nothing has to ask for it.
  while (namespaces().length > 0) await setTimeout(10);
  assert.deepEqual(await leftovers(), []);
});

test("what can't be started is refused in the runtime's words, and leaves nothing", async () => {
  const nothing = fixture.run("", { args: ["/no/such"] });
  await assert.rejects(nothing, /exec: "\/no\/such": stat \/no\/such: no such file or directory|executable file/);
  await assert.rejects(fixture.run("", { user: "nobody-here" }), /unable to find user nobody-here/);
  await assert.rejects(
    fixture.run("", { mounts: [{ type: "tmpfs", target: "/..", size: 0 }] }),
    /invalid mount target/,
  );
  assert.deepEqual(await leftovers(), []);
});

test("limits hold for a step", async () => {
  const limits = { ...fixture.step("").limits, memory: 32 << 20, memorySwap: 32 << 20 };
  const end = await fixture.run("dd if=/dev/zero of=/dev/null bs=64M count=1", { limits });
  assert.deepEqual({ code: end.code, oomKilled: end.oomKilled }, { code: 137, oomKilled: true });
  const ulimits = [{ name: "nofile", soft: 77, hard: 88 }];
  const { stdout } = await fixture.run("ulimit -n; ulimit -Hn", { limits: { ...fixture.step("").limits, ulimits } });
  assert.equal(stdout, "77\n88\n");
});

test("names are looked up in the root's own passwd and group", async () => {
  writeFileSync(join(fixture.root, "etc/passwd"), "app:x:1234:99::/home/app:/bin/sh\n");
  writeFileSync(join(fixture.root, "etc/group"), "more:x:77:app\n");
  const { stdout } = await fixture.run("id; echo $HOME", { user: "app" });
  assert.match(stdout, /uid=1234\(app\) gid=99 groups=77\(more\),99\n\/home\/app/);
});

test("what can't be taken down at once goes when all has ended", async (t) => {
  const { delete: really } = SupervisorClient.prototype;
  let client: SupervisorClient | undefined;
  t.mock.method(SupervisorClient.prototype, "delete", function (this: SupervisorClient, id: string) {
    if (client !== undefined) return really.call(this, id);
    client = this;
    return Promise.reject(new GantryError("internal", "cannot remove cgroup: processes stay"));
  });
  assert.equal((await fixture.run("true")).code, 0);
  await fixture.steps.quiet();
  assert.deepEqual(await client?.list(), []);
});
