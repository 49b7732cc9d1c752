import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

let engine: TestEngine;
/** A folder of the host that no container is given. */
let secret = "";

before(async () => {
  engine = await startEngine();
  secret = join(engine.root, "secret");
  mkdirSync(join(secret, "in"), { recursive: true });
  writeFileSync(join(secret, "key"), "host only\n");
});

after(() => engine[Symbol.asyncDispose]());

const run = (...args: readonly string[]) => engine.docker("run", "--rm", "--network", "none", ...args);
const dataOf = (volume: string) => join(engine.dataRoot, "volumes", volume, "_data");

/** An image that differs from busybox by what a script does to it. */
async function imageBy(name: string, script: string, ...changes: readonly string[]): Promise<void> {
  const id = await engine.ok("create", "--network", "none", "busybox", "sh", "-c", script);
  await engine.ok("start", "-a", id);
  await engine.ok("commit", ...changes.flatMap((change) => ["-c", change]), id, name);
  await engine.ok("rm", id);
}

function assertUntouched(): void {
  assert.deepEqual(readdirSync(secret).sort(), ["in", "key"]);
  assert.deepEqual(readdirSync(join(secret, "in")), []);
  assert.equal(readFileSync(join(secret, "key"), "utf8"), "host only\n");
  assert.deepEqual(mountsBelow(secret), []);
}

test("a destination behind an image's links stays within the container", { skip: NO_DOCKER }, async () => {
  const links = [
    ["/out", secret],
    ["/up", `/../../../../../..${secret}`],
    ["/rel", `../../../../../..${secret}`],
  ] as const;
  await imageBy("links", `${links.map(([name, target]) => `ln -s ${target} ${name}`).join("; ")}; true`);
  for (const [name] of links) {
    const { stdout } = await run(
      "-v",
      `fresh:${name}/in`,
      "links",
      "sh",
      "-c",
      `echo x >${name}/in/made; cat ${name}/key`,
    );
    assert.doesNotMatch(stdout, /host only/);
    assertUntouched();
  }
  // Nor does what is copied into a new volume come from there.
  await run("-v", "filled:/out", "links", "true");
  await run("-v", "filled:/out/in", "links", "true");
  assert.deepEqual(readdirSync(dataOf("filled")), []);
});

test("a destination that another container swaps for a link stays within the container", {
  skip: NO_DOCKER,
}, async () => {
  await engine.ok("volume", "create", "raced");
  mkdirSync(join(dataOf("raced"), "dir/in"), { recursive: true });
  symlinkSync(secret, join(dataOf("raced"), "link"));
  const swapper = await engine.ok(
    ...["run", "-d", "--network", "none", "-v", "raced:/r", "busybox", "sh", "-c"],
    "cd /r; while :; do mv dir x; mv link dir; mv dir link; mv x dir; done",
  );
  try {
    for (let turn = 0; turn < 10; turn++) {
      const mounts = ["-v", "raced:/r", "-v", "inner:/r/dir/in", "--tmpfs", "/r/dir/in/deep"];
      const { stdout } = await run(...mounts, "busybox", "sh", "-c", "touch /r/dir/in/made; cat /r/dir/key");
      assert.doesNotMatch(stdout, /host only/);
      assertUntouched();
    }
  } finally {
    await engine.ok("rm", "-f", swapper);
  }
});

test("nothing is mounted over what locks a process in", { skip: NO_DOCKER }, async () => {
  await imageBy("volume-on-proc", "true", "VOLUME /proc");
  await imageBy("volume-in-proc", "true", "VOLUME /proc/self/attr");
  await imageBy("proc-link", "ln -s /proc/self /x; ln -s /proc /y");
  const host = join(engine.root, "own");
  mkdirSync(host);
  writeFileSync(join(host, "file"), "12.0 3.0\n");
  const refused: readonly (readonly [readonly string[], RegExp])[] = [
    [["volume-on-proc"], /\/proc cannot be mounted because it is not of type proc/],
    [["volume-in-proc"], /cannot be mounted because it is inside \/proc/],
    [["-v", `${host}:/proc`, "busybox"], /\/proc cannot be mounted because it is not of type proc/],
    [["-v", `${host}:/proc/sys`, "busybox"], /\/proc\/sys cannot be mounted because it is inside \/proc/],
    [["--tmpfs", "/proc/acpi", "busybox"], /\/proc\/acpi cannot be mounted because it is inside \/proc/],
    [["--mount", "type=tmpfs,dst=/proc", "busybox"], /not of type proc/],
    [
      ["-v", `${host}:/x/attr`, "proc-link"],
      /check proc-safety of \/x\/attr mount: \/proc\/self\/attr cannot be mounted/,
    ],
    [["-v", `${host}:/y/../proc/self`, "busybox"], /inside \/proc/],
    [["-v", `${host}:/y/1`, "proc-link"], /\/proc\/1 cannot be mounted/],
  ];
  for (const [args, message] of refused) {
    const { code, stderr } = await run(...args, "true");
    assert.equal(code, 125, args.join(" "));
    assert.match(stderr, message);
  }
  assert.equal(
    (await run("-v", `${host}/file:/proc/uptime:ro`, "busybox", "cat", "/proc/uptime")).stdout,
    "12.0 3.0\n",
  );
  assert.equal(
    (await run("-v", "/proc:/proc", "busybox", "sh", "-c", "test -e /proc/1 && echo there")).stdout,
    "there\n",
  );
});

test("a source that is swapped for a link is the one that was there, or its link's end, never half of each", {
  skip: NO_DOCKER,
}, async () => {
  // Who may name a path of the host may name any; but a file is never mounted over a folder, nor anything made there.
  const host = join(engine.root, "sources");
  mkdirSync(host);
  symlinkSync(secret, join(host, "link"));
  symlinkSync(join(host, "nowhere"), join(host, "dangling"));
  symlinkSync("loop", join(host, "loop"));
  assert.equal((await run("-v", `${host}/link:/s:ro`, "busybox", "cat", "/s/key")).stdout, "host only\n");
  for (const [name, message] of [
    ["dangling", /error while creating mount source path '.*dangling': mkdir .*dangling: file exists/],
    ["loop", /error while creating mount source path '.*loop': /],
  ] as const) {
    const { code, stderr } = await run("-v", `${host}/${name}:/s`, "busybox", "true");
    assert.notEqual(code, 0, name);
    assert.match(stderr, message);
  }
  assert.deepEqual(readdirSync(host).sort(), ["dangling", "link", "loop"]);
  assertUntouched();
});
