import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import { after, afterEach, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { isKind } from "../../base/errors.ts";
import { cgroupAt, cgroupProcesses } from "../../kernel/cgroup.ts";
import { listMounts } from "../../kernel/mount.ts";
import { ProcessFailure } from "../process-failure.ts";
import { bind, cache, ExecFixture, secret } from "./exec.fixture.ts";

let fixture: ExecFixture;
before(async () => {
  fixture = await ExecFixture.make();
});
after(() => fixture[Symbol.asyncDispose]());
afterEach(async () => {
  await fixture.steps.steps.quiet();
  fixture.request = {};
  fixture.client.secrets.clear();
  fixture.client.agents.clear();
  const { execRoot, dataRoot, root } = fixture.steps;
  const mounts = listMounts(execRoot).map(({ target }) => target);
  assert.deepEqual(
    mounts.filter((path) => path !== execRoot && path !== root),
    [],
  );
  for (const folder of [
    join(execRoot, "build/writable"),
    join(dataRoot, "build/writable"),
    join(execRoot, "bundles"),
  ]) {
    assert.deepEqual(readdirSync(folder), []);
  }
});

test("a command that can't be started has BuildKit's exit code, and its output says why", async () => {
  const message = 'process "/nosuch x" did not complete successfully: exit code: 1';
  await assert.rejects(fixture.run("", { args: ["/nosuch", "x"] }), { name: "StartFailure", message });
  assert.equal(
    fixture.printed,
    'crun run failed: unable to start container process: exec: "/nosuch": stat /nosuch: no such file or directory\n',
  );
});

test("a command that fails is named with its exit code, a kill for want of memory as such", async () => {
  const failed = (error: unknown) => error instanceof ProcessFailure && error.exitCode === 3;
  await assert.rejects(fixture.run("exit 3"), failed);
  await assert.rejects(fixture.run("exit 3"), {
    message: 'process "/bin/sh -c exit 3" did not complete successfully: exit code: 3',
  });
  const { limits } = fixture.steps.step("");
  fixture.request = { limits: { ...limits, memory: 32 << 20, memorySwap: 32 << 20 } };
  await assert.rejects(fixture.run("exec dd if=/dev/zero of=/dev/null bs=64M count=1"), /: cannot allocate memory$/);
});

test("a part of an input is mounted read-only, or takes writes that are lost", async () => {
  const { path, root } = fixture.folder();
  mkdirSync(join(path, "src/deep"), { recursive: true });
  writeFileSync(join(path, "src/deep/file"), "text\n");
  const inputs = [root];
  assert.match(
    await fixture.run("cat /m/file; touch /m/new 2>&1 || true", { inputs, mounts: [bind("/m", "/src/deep")] }),
    /text\n.*Read-only/,
  );
  const written = "echo more >> /m/deep/file; rm -f /m/nothing; touch /m/new; cat /m/deep/file";
  assert.equal(await fixture.run(written, { inputs, mounts: [bind("/m", "src", true)] }), "text\nmore\n");
  assert.equal(
    await fixture.run("echo lost > /m; cat /m", { inputs, mounts: [bind("/m", "/src/deep/file", true)] }),
    "lost\n",
  );
  assert.equal(readFileSync(join(path, "src/deep/file"), "utf8"), "text\n");
  assert.deepEqual(readdirSync(join(path, "src")), ["deep"]);
});

test("an empty root is an empty folder", async () => {
  assert.equal(await fixture.run("ls -A /m | wc -l", { inputs: [undefined], mounts: [bind("/m")] }), "0\n");
});

test("a mount's target is below the working folder where it isn't absolute", async () => {
  const { path, root } = fixture.folder();
  writeFileSync(join(path, "here"), "");
  assert.equal(await fixture.run("ls; pwd", { inputs: [root], cwd: "/seen", mounts: [bind(".")] }), "here\n/seen\n");
});

test("mounts lie in others, read-only ones too, without a trace in the input", async () => {
  const { path, root } = fixture.folder();
  writeFileSync(join(path, "file"), "in");
  fixture.client.secrets.set("key", "hush");
  const mounts = [secret("/m/a/key", "key"), cache("/m/cache"), bind("/m")];
  const output = await fixture.run("cat /m/file /m/a/key; echo 1 > /m/cache/x; touch /m/y 2>&1 || true", {
    inputs: [root],
    mounts,
  });
  assert.match(output, /^inhushtouch: \/m\/y: Read-only/);
  assert.deepEqual(readdirSync(path), ["file"]);
});

test("a source can't lead out of its input, by links or by dots", async () => {
  const { path, root } = fixture.folder();
  const outside = join(fixture.steps.folder, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "prize"), "from the host");
  symlinkSync(outside, join(path, "absolute"));
  symlinkSync("../../../../../../../../../../etc", join(path, "dots"));
  symlinkSync("/proc/self/root", join(path, "magic"));
  symlinkSync("loop", join(path, "loop"));
  const inputs = [root];
  for (const source of ["absolute", "dots", "dots/passwd", "magic", "magic/etc", "loop", "../../..//etc", outside]) {
    await assert.rejects(
      fixture.run("ls /m", { inputs, mounts: [bind("/m", source)] }),
      /failed to calculate checksum of ref: .*: not found/,
      source,
    );
    await assert.rejects(fixture.run("ls /m", { inputs, mounts: [bind("/m", source, true)] }), /not found/, source);
    const from = [cache("/m", { id: source, input: 0, source })];
    await assert.rejects(fixture.run("ls /m", { inputs, mounts: from }), /not found/, source);
  }
  // Those that stay inside are followed as a process in there would.
  mkdirSync(join(path, "etc"));
  writeFileSync(join(path, "etc/own"), "");
  assert.equal(await fixture.run("ls /m", { inputs, mounts: [bind("/m", "dots")] }), "own\n");
  assert.equal(await fixture.run("ls /m", { inputs, mounts: [bind("/m", "../../etc")] }), "own\n");
});

test("a source that another step changes into a link under way is what it was when it was found", async () => {
  const { path, root } = fixture.folder();
  const outside = join(fixture.steps.folder, "swapped");
  mkdirSync(outside);
  writeFileSync(join(outside, "prize"), "");
  mkdirSync(join(path, "real"));
  writeFileSync(join(path, "real/mine"), "");
  const swap = `cd ${path}; while [ -d real ] || [ -L real ]; do ln -s ${outside} link && mv -T link real 2>/dev/null; mv real kept 2>/dev/null; mv -T link real 2>/dev/null; rm -f real; mv kept real; done`;
  const racer = execFileSync("sh", ["-c", `(${swap}) >/dev/null 2>&1 </dev/null & echo $!`], {
    encoding: "utf8",
  }).trim();
  try {
    let found = 0;
    for (let round = 0; round < 20 || (found === 0 && round < 500); round++) {
      const seen = await fixture.run("ls /m", { inputs: [root], mounts: [bind("/m", "real")] }).catch(String);
      assert.doesNotMatch(seen, /prize/);
      if (seen === "mine\n") found++;
    }
    assert.notEqual(found, 0);
  } finally {
    process.kill(Number(racer), "SIGKILL");
  }
});

test("a secret is a file of the given owner and mode, or a variable, and never in the root", async () => {
  fixture.client.secrets.set("token", "s3cr3t");
  const mounts = [{ ...secret("/run/secrets/token", "token"), mode: 0o440, uid: 5, gid: 6 } as const];
  const secretEnv = [{ name: "TOKEN", id: "token", required: true }];
  const script =
    "stat -c '%a %u %g' /run/secrets/token; cat /run/secrets/token; echo $TOKEN; (echo x > /run/secrets/token) 2>/dev/null || true";
  assert.equal(await fixture.run(script, { mounts, secretEnv }), "440 5 6\ns3cr3ts3cr3t\n");
  assert.equal(existsSync(join(fixture.steps.root, "run/secrets")), false);
});

test("a secret that isn't there is refused in BuildKit's words, unless it need not be", async () => {
  await assert.rejects(fixture.run("true", { mounts: [secret("/s", "none")] }), { message: "secret none: not found" });
  const secretEnv = [{ name: "X", id: "none", required: true }];
  await assert.rejects(fixture.run("true", { secretEnv }), { message: "secret none: not found" });
  const mounts = [secret("/s", "none", false)];
  assert.equal(
    await fixture.run("ls /s 2>/dev/null; echo ${X-unset}", {
      mounts,
      secretEnv: [{ ...secretEnv[0]!, required: false }],
    }),
    "\n",
  );
  fixture.client.secrets.set("big", "x".repeat(600_000));
  await assert.rejects(fixture.run("true", { mounts: [secret("/s", "big")] }), /longer than/);
});

test("an agent is reached by a socket that goes with the step", async () => {
  const ssh = { type: "ssh", target: "/run/buildkit/ssh_agent.0", id: "default", mode: 0o600, uid: 0, gid: 0 } as const;
  const mounts = [{ ...ssh, required: true }];
  await assert.rejects(fixture.run("true", { mounts }), /unset ssh forward key default/);
  assert.equal(await fixture.run("ls /run", { mounts: [{ ...ssh, required: false }] }), "");
  fixture.client.agents.add("default");
  const abort = new AbortController();
  const answered = Promise.withResolvers<string>();
  const running = fixture.run("echo $SSH_AUTH_SOCK; stat -c %F $SSH_AUTH_SOCK; sleep 1000", {
    mounts,
    signal: abort.signal,
  });
  running.catch(answered.reject);
  const client = connect(await Promise.race([socketOf(ssh.target, abort.signal), answered.promise]), () =>
    client.write("hello"),
  );
  client.on("data", (bytes) => answered.resolve(String(bytes)));
  client.on("error", answered.reject);
  assert.equal(await answered.promise, "hello");
  const closed = new Promise((resolve) => client.once("close", resolve));
  abort.abort();
  await assert.rejects(running, (error) => isKind(error, "cancelled"));
  await closed;
});

/** Where a file of the step that runs can be reached, once it can be. */
async function socketOf(path: string, signal: AbortSignal): Promise<string> {
  for (; ; signal.throwIfAborted()) {
    for (const pid of cgroupProcesses(cgroupAt(fixture.steps.cgroup))) {
      if (existsSync(`/proc/${pid}/root${path}`)) return `/proc/${pid}/root${path}`;
    }
    await setTimeout(5);
  }
}

test("a cache keeps what steps put there, and several targets may be one", async () => {
  await fixture.run("echo 1 > /c/file", { mounts: [cache("/c")] });
  assert.equal(
    await fixture.run("cat /c/file; echo 2 > /other/file; cat /c/file", {
      mounts: [cache("/c"), cache("/other", { id: "/c", sharing: "locked" })],
    }),
    "1\n2\n",
  );
  assert.match(
    await fixture.run("touch /c/x 2>&1 || true", { mounts: [cache("/c", { readonly: true })] }),
    /Read-only/,
  );
  const { path, root } = fixture.folder();
  mkdirSync(join(path, "seed"));
  writeFileSync(join(path, "seed/begun"), "");
  assert.equal(
    await fixture.run("ls /c", { inputs: [root], mounts: [cache("/c", { input: 0, source: "seed" })] }),
    "begun\n",
  );
  assert.equal(existsSync(join(fixture.steps.root, "c")), false);
});

test("what needs an entitlement is refused without it", async () => {
  await assert.rejects(fixture.run("true", { security: "insecure" }), { message: "security.insecure is not allowed" });
  await assert.rejects(fixture.run("true", { network: "host" }), { message: "network.host is not allowed" });
  fixture.request = { entitlements: ["security.insecure"] };
  assert.match(await fixture.run("grep CapEff /proc/self/status", { security: "insecure" }), /0000[0-9a-f]{4}[^0]/);
  fixture.request = { network: "host" };
  await assert.rejects(fixture.run("true", { network: "default" }), { message: "network.host is not allowed" });
  fixture.request = { network: "host", entitlements: ["network.host"] };
  assert.match(await fixture.run("ls /sys/class/net", { network: "default" }), /lo/);
});

test("a step for another architecture is refused where nothing can run it", async () => {
  const platform = { os: "linux", architecture: process.arch === "s390x" ? "riscv64" : "s390x" };
  if (existsSync("/proc/sys/fs/binfmt_misc/status")) return;
  await assert.rejects(fixture.run("true", { platform }), /no emulator/);
});

test("a shell opens in a step that failed, with its mounts, and the step goes with it", async () => {
  fixture.client.secrets.set("key", "hush");
  fixture.request = { keepFailed: true };
  const change = { mounts: [secret("/key", "key"), cache("/shell")], env: ["PATH=/bin", "MINE=1"], cwd: "/tmp" };
  await assert.rejects(fixture.run("echo begun > /tmp/state; exit 1", change), ProcessFailure);
  const { failed } = fixture.parts;
  assert.deepEqual(failed.shell("build"), { status: "kept" });
  assert.equal(fixture.held.size, 1);
  const [near, far] = duplexPair();
  const size = { rows: 30, columns: 100 };
  const shell = failed.openShell("build", { args: [], ...size }, () => ({
    socket: far,
    head: new Uint8Array(),
    preamble: Buffer.from("hello "),
  }));
  let shown = "";
  near.on("data", (bytes) => {
    shown += bytes;
  });
  near.write("cat state /key; echo; pwd; echo mine=$MINE; ls -d /shell; exit 5\n");
  assert.equal(await shell, 5);
  assert.match(shown.replaceAll("\r", ""), /^hello [\s\S]*begun\nhush\n\/tmp\nmine=1\n\/shell\n/);
  assert.deepEqual(failed.shell("build"), { status: "ended", exitCode: 5 });
  await assert.rejects(
    failed.openShell("build", { args: [], ...size }, () => assert.fail()),
    /no failed step of build build is kept/,
  );
  assert.equal(fixture.held.size, 0);
});

test("a failed step is let go of when its client leaves, shell or not", async () => {
  fixture.request = { keepFailed: true };
  await assert.rejects(fixture.run("exit 1"), ProcessFailure);
  const [near, far] = duplexPair();
  const request = { args: ["/bin/sh"], rows: 0, columns: 0 };
  const shell = fixture.parts.failed.openShell("build", request, () => ({
    ...{ socket: far, head: new Uint8Array() },
    preamble: new Uint8Array(),
  }));
  await new Promise((resolve) => near.once("data", resolve));
  const second = fixture.parts.failed.openShell("build", request, () => assert.fail());
  await assert.rejects(second, /a shell in the failed step of build build is open/);
  fixture.client.left.abort();
  await assert.rejects(shell, (error) => isKind(error, "cancelled"));
  assert.throws(() => fixture.parts.failed.shell("build"), /is kept/);
  assert.equal(fixture.held.size, 0);
});
