import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

let engine: TestEngine;
/** A shared mount since before the engine: what is mounted in there later the runtime sees, whatever namespace it is in. */
let host = "";

before(async () => {
  engine = await startEngine({
    args: (root) => {
      host = join(root, "host");
      mkdirSync(host);
      execFileSync("mount", ["--bind", host, host]);
      execFileSync("mount", ["--make-shared", host]);
      return [];
    },
  });
});

after(async () => {
  execFileSync("umount", ["-R", host]);
  await engine[Symbol.asyncDispose]();
});

const sh = (mounts: readonly string[], script: string) =>
  engine.docker("run", "--rm", "--network", "none", ...mounts, "busybox", "sh", "-c", script);

async function says(mounts: readonly string[], script: string): Promise<string> {
  const { code, stdout, stderr } = await sh(mounts, script);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

const dataOf = (volume: string) => join(engine.dataRoot, "volumes", volume, "_data");
const sources = () => {
  const folder = join(engine.execRoot, "sources");
  return [...(existsSync(folder) ? readdirSync(folder) : []), ...mountsBelow(folder)];
};

test("a part of a volume is mounted, a folder or a file, and must be there by the start", {
  skip: NO_DOCKER,
}, async () => {
  await engine.ok("volume", "create", "parts");
  mkdirSync(join(dataOf("parts"), "a/b"), { recursive: true });
  writeFileSync(join(dataOf("parts"), "a/b/file"), "inside\n");
  const part = (subpath: string, more = "") => [
    "--mount",
    `type=volume,src=parts,dst=/p,volume-subpath=${subpath}${more}`,
  ];
  assert.equal(await says(part("a/b"), "cat /p/file; echo new >/p/made; ls /p"), "inside\nfile\nmade");
  assert.equal(await says(part("a/b/file"), "cat /p"), "inside");
  assert.equal(readFileSync(join(dataOf("parts"), "a/b/made"), "utf8"), "new\n");
  assert.match((await sh(part("a/b", ",readonly"), "echo x >/p/y")).stderr, /Read-only file system/);
  const missing = await sh(part("nowhere"), "true");
  assert.match(missing.stderr, /cannot access path .*\/parts\/_data\/nowhere: no such file or directory/);
  for (const [subpath, text] of [
    ["../x", "subpath must be a relative path within the volume"],
    ["a/../../x", "subpath must be a relative path within the volume"],
    ["/a", "subpath must be a relative path within the volume"],
  ] as const) {
    assert.ok((await sh(part(subpath), "true")).stderr.includes(text), subpath);
  }
  const nameless = await sh(["--mount", "type=volume,dst=/p,volume-subpath=a"], "true");
  assert.match(nameless.stderr, /must not set Subpath when using anonymous volumes/);
  // The image's content is copied into a part as it is into a whole.
  mkdirSync(join(dataOf("parts"), "empty"));
  const copied = await says(["--mount", "type=volume,src=parts,dst=/bin,volume-subpath=empty"], "ls /bin | head -1");
  assert.ok(copied !== "" && existsSync(join(dataOf("parts"), "empty", copied)));
  assert.deepEqual(sources(), []);
});

test("a part that links lead out of is refused, whoever put them there", { skip: NO_DOCKER }, async () => {
  const secret = join(engine.root, "secret");
  mkdirSync(secret);
  writeFileSync(join(secret, "key"), "host only\n");
  await engine.ok("volume", "create", "links");
  const plant = (name: string, target: string) => symlinkSync(target, join(dataOf("links"), name));
  mkdirSync(join(dataOf("links"), "real"));
  plant("absolute", secret);
  plant("up", "../../../secret");
  plant("proc", "/proc/self/root");
  plant("loop", "loop");
  plant("within", "real");
  for (const name of ["absolute", "absolute/key", "up", "proc", "proc/etc", "loop", "within"]) {
    const { code, stdout, stderr } = await sh(
      ["--mount", `type=volume,src=links,dst=/p,volume-subpath=${name}`],
      "cat /p /p/key; ls /p",
    );
    assert.notEqual(code, 0, name);
    assert.doesNotMatch(stdout, /host only|key/, name);
    assert.match(stderr, /too many levels of symbolic links|escapes the base directory/, name);
  }
  rmSync(dataOf("links"), { recursive: true });
  symlinkSync(secret, dataOf("links"));
  // The volume's own folder in the place of another is no way out either.
  const { stdout } = await sh(["--mount", "type=volume,src=links,dst=/p,volume-subpath=key"], "cat /p");
  assert.doesNotMatch(stdout, /host only/);
  rmSync(dataOf("links"));
  mkdirSync(dataOf("links"));
  assert.deepEqual(sources(), []);
});

test("a container that swaps a folder for a link meanwhile gets no other out of the volume", {
  skip: NO_DOCKER,
}, async () => {
  const secret = join(engine.root, "raced");
  mkdirSync(join(secret, "in"), { recursive: true });
  writeFileSync(join(secret, "in/key"), "host only\n");
  await engine.ok("volume", "create", "raced");
  mkdirSync(join(dataOf("raced"), "real/in"), { recursive: true });
  symlinkSync(secret, join(dataOf("raced"), "link"));
  const swapper = await engine.ok(
    ...["run", "-d", "--network", "none", "-v", "raced:/r", "busybox", "sh", "-c"],
    "cd /r; while :; do mv real x; mv link real; mv real link; mv x real; done",
  );
  try {
    // Half of the time a link is in the folder's place.
    for (let turn = 0; turn < 12; turn++) {
      const { stdout } = await sh(
        ["--mount", "type=volume,src=raced,dst=/p,volume-subpath=real/in"],
        "ls /p; cat /p/key",
      );
      assert.doesNotMatch(stdout, /key|host only/);
    }
  } finally {
    await engine.ok("rm", "-f", swapper);
  }
  assert.deepEqual(sources(), []);
});

test("an image is mounted read-only, whole or in part, and stays while a container has it", {
  skip: NO_DOCKER,
}, async () => {
  await engine.ok("tag", "busybox", "files:1");
  const image = ["--mount", "type=image,src=files:1,dst=/i"];
  assert.equal(
    await says(image, "ls -d /i/bin/sh; touch /i/x 2>&1 | grep -o 'Read-only file system'"),
    "/i/bin/sh\nRead-only file system",
  );
  assert.equal(await says(["--mount", "type=image,src=files:1,dst=/i,image-subpath=bin"], "ls -d /i/sh"), "/i/sh");
  const id = await engine.ok(
    "create",
    "--network",
    "none",
    ...image,
    "--mount",
    "type=image,src=files:1,dst=/j",
    "busybox",
    "ls",
    "/j/bin/sh",
  );
  const { json } = await engine.request("GET", `/containers/${id}/json`);
  const [row] = json.Mounts as Record<string, unknown>[];
  assert.deepEqual(
    { ...row, Source: "" },
    { Type: "image", Name: "files:1", Source: "", Destination: "/i", Mode: "", RW: false, Propagation: "rprivate" },
  );
  assert.equal(await engine.ok("start", "-a", id), "/j/bin/sh");
  await engine.ok("cp", `${id}:/i/bin/busybox`, join(engine.root, "copied"));
  assert.ok(existsSync(join(engine.root, "copied")));
  assert.notEqual((await engine.docker("cp", join(engine.root, "copied"), `${id}:/i/bin/x`)).code, 0);
  const missing = await sh(["--mount", "type=image,src=nobody:1,dst=/i"], "true");
  assert.match(missing.stderr, /No such image: nobody:1/);
  assert.doesNotMatch(missing.stderr, /Unable to find image/);
  await engine.kill();
  await engine.start();
  assert.equal(await engine.ok("start", "-a", id), "/j/bin/sh");
  await engine.ok("rm", id);
  await engine.ok("rmi", "files:1");
  assert.deepEqual(sources(), []);
});

test("read-only reaches what is mounted below, but for a client of before or a user who says otherwise", {
  skip: NO_DOCKER,
}, async () => {
  const source = join(host, "tree");
  mkdirSync(join(source, "below"), { recursive: true });
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(source, "below")]);
  try {
    const write = "echo x >/t/below/f && echo written || echo refused";
    const mount = (more: string) => ["--mount", `type=bind,src=${source},dst=/t,readonly${more}`];
    assert.equal(await says(mount(""), write), "refused");
    assert.equal(await says(mount(",bind-recursive=enabled"), write), "refused");
    assert.equal(await says(mount(",bind-recursive=writable"), write), "written");
    assert.equal(await says(mount(",bind-recursive=readonly,bind-propagation=rprivate"), write), "refused");
    assert.equal(await says(mount(",bind-recursive=disabled"), "ls /t/below | wc -l"), "0");
    assert.equal(await says(["-v", `${source}:/t:ro`], write), "refused");
    const env = { DOCKER_API_VERSION: "1.43" };
    const old = await engine.tool(
      "docker",
      ["run", "--rm", "--network", "none", "-v", `${source}:/t:ro`, "busybox", "sh", "-c", write],
      { env },
    );
    assert.equal(old.stdout.trim(), "written", old.stderr);
  } finally {
    execFileSync("umount", [join(source, "below")]);
  }
});

test("mounts of the host appear in a container as its propagation says", { skip: NO_DOCKER }, async () => {
  const source = join(host, "propagating");
  mkdirSync(join(source, "late"), { recursive: true });
  for (const [propagation, seen] of [
    ["private", "0"],
    ["rprivate", "0"],
    ["slave", "1"],
    ["rslave", "1"],
    ["shared", "1"],
    ["rshared", "1"],
  ] as const) {
    const id = await engine.ok(
      ...["run", "-d", "--network", "none", "-v", `${source}:/s:${propagation}`, "busybox", "sleep", "100"],
    );
    const { json } = await engine.request("GET", `/containers/${id}/json`);
    assert.equal(json.Mounts[0].Propagation, propagation);
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(source, "late")]);
    try {
      const count = await engine.ok("exec", id, "sh", "-c", "grep -c ' /s/late ' /proc/mounts || true");
      assert.equal(count, seen, propagation);
    } finally {
      execFileSync("umount", [join(source, "late")]);
      await engine.ok("rm", "-f", id);
    }
  }
  const id = await engine.ok("create", "--network", "none", "-v", "/proc:/s:shared", "busybox", "true");
  const { stderr } = await engine.docker("start", id);
  assert.match(stderr, /path \/proc is mounted on \/proc but it is not a shared mount/);
  await engine.ok("rm", id);
});

test("what is mounted over the engine's own folder lets go of what ends in there", { skip: NO_DOCKER }, async () => {
  const id = await engine.ok(
    "create",
    "--network",
    "none",
    "-v",
    `${engine.dataRoot}:/d:ro`,
    "-v",
    "/:/h:ro",
    "busybox",
    "true",
  );
  const { json } = await engine.request("GET", `/containers/${id}/json`);
  assert.deepEqual(
    (json.Mounts as { Propagation: string }[]).map(({ Propagation }) => Propagation),
    ["rslave", "rslave"],
  );
  await engine.ok("start", "-a", id);
  await engine.ok("rm", id);
  const refused = await engine.docker("create", "-v", `${engine.dataRoot}:/d:private`, "busybox");
  assert.match(
    refused.stderr,
    /must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root/,
  );
});

test("volumes of others come in order, read-only if told so, and what is asked for here goes before", {
  skip: NO_DOCKER,
}, async () => {
  for (const name of ["one", "two"]) {
    await engine.ok(
      "create",
      "--name",
      `of-${name}`,
      "-v",
      `${name}-v:/both`,
      "-v",
      `${name}-only:/${name}`,
      "busybox",
    );
    writeFileSync(join(dataOf(`${name}-v`), "who"), `${name}\n`);
  }
  await engine.ok("create", "--name", "of-tmpfs", "--mount", "type=tmpfs,dst=/t", "busybox");
  const from = (...specs: string[]) => specs.flatMap((spec) => ["--volumes-from", spec]);
  assert.equal(
    await says(
      from("of-one", "of-two:ro", "of-tmpfs"),
      "cat /both/who; touch /one/x; touch /two/x 2>&1 | grep -o 'Read-only.*'",
    ),
    "two\nRead-only file system",
  );
  assert.equal(await says(from("of-two", "of-one"), "cat /both/who"), "one");
  assert.equal(await says([...from("of-one"), "--tmpfs", "/both"], "ls /both | wc -l"), "0");
  for (const [spec, text] of [
    ["of-one:nocopy", "invalid mode: nocopy"],
    ["of-one:rslave", "invalid mode: rslave"],
    ["of-one:ro:rw", "invalid mode: ro:rw"],
    ["nobody", "No such container: nobody"],
  ] as const) {
    assert.match((await sh(from(spec), "true")).stderr, new RegExp(text), spec);
  }
  const id = await engine.ok("create", ...from("of-one:ro"), "busybox");
  const { json } = await engine.request("GET", `/containers/${id}/json`);
  assert.deepEqual(
    (json.Mounts as { Name: string; Mode: string; RW: boolean }[]).map(({ Name, Mode, RW }) => [Name, Mode, RW]).sort(),
    [
      ["one-only", "", false],
      ["one-v", "", false],
    ],
  );
  await engine.ok("rm", id, "of-one", "of-two", "of-tmpfs");
});

test("a tmpfs has its size, its mode and the words that are allowed", { skip: NO_DOCKER }, async () => {
  const mount = "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1750";
  assert.match(
    await says(["--mount", mount], "stat -c %a /t; grep ' /t ' /proc/mounts"),
    /^1750\n.*noexec.*size=1024k/,
  );
  const answer = async (TmpfsOptions: object) => {
    const HostConfig = { Mounts: [{ Type: "tmpfs", Target: "/t", TmpfsOptions }] };
    return (await engine.request("POST", "/containers/create", { Image: "busybox", HostConfig })).json.message;
  };
  assert.equal(await answer({ Options: [["uid", "7"]] }), 'invalid mount config for type "tmpfs": invalid option: uid');
  assert.equal(
    await answer({ Options: [["a", "b", "c"]] }),
    'invalid mount config for type "tmpfs": invalid option array length',
  );
  assert.equal(await answer({ SizeBytes: -1 }), 'invalid mount config for type "tmpfs": invalid tmpfs size: -1');
});

test("a new volume gets what the image has, once, with owners and modes; a declared one can't be where a file is", {
  skip: NO_DOCKER,
}, async () => {
  const script =
    "mkdir -p /full/deep; echo content >/full/deep/file; ln /full/deep/file /full/hard; chmod 1750 /full; chown 12:34 /full /full/deep/file";
  const id = await engine.ok("create", "--network", "none", "busybox", "sh", "-c", script);
  await engine.ok("start", "-a", id);
  await engine.ok("commit", "-c", "VOLUME /full", id, "full");
  await engine.ok("rm", id);
  const look = ["full", "sh", "-c", "stat -c '%a %u %g' /full; stat -c '%u %h' /full/deep/file; cat /full/hard"];
  const expected = "1750 12 34\n12 2\ncontent";
  for (const flags of [[], ["-v", "kept:/full"], ["--mount", "src=other,dst=/full"], ["-v", "/full"]]) {
    assert.equal(await engine.ok("run", "--rm", "--network", "none", ...flags, ...look), expected, flags.join(" "));
  }
  const count = async (...flags: string[]) =>
    engine.ok("run", "--rm", "--network", "none", ...flags, "full", "sh", "-c", "ls /full | wc -l");
  assert.equal(await count("-v", "without:/full:nocopy"), "0");
  assert.equal(await count("--mount", "src=without2,dst=/full,volume-nocopy"), "0");
  assert.equal(await count("--tmpfs", "/full"), "0");
  await engine.ok("run", "--rm", "--network", "none", "-v", "kept:/full", "full", "sh", "-c", "rm -r /full/deep");
  assert.equal(await count("-v", "kept:/full"), "1", "what isn't empty is left as it is");
  await engine.ok("run", "--rm", "--network", "none", "-v", "kept:/full", "full", "rm", "/full/hard");
  assert.equal(await count("-v", "kept:/full"), "2", "what was emptied is filled again, as Docker does");
  const refused = await engine.docker("create", "-v", "/bin/busybox", "busybox");
  assert.match(refused.stderr, /cannot mount volume over existing file, file exists \/bin\/busybox/);
});

test("mounts lie over each other by depth, whatever order they are asked for in", { skip: NO_DOCKER }, async () => {
  const mounts = ["-v", "deep:/m/x/y", "--mount", "src=top,dst=/m", "--tmpfs", "/m/x/y/z", "-v", "mid:/m/x"];
  const id = await engine.ok(
    "create",
    "--network",
    "none",
    ...mounts,
    "busybox",
    "sh",
    "-c",
    "for d in /m /m/x /m/x/y /m/x/y/z; do touch $d/here; done",
  );
  await engine.ok("start", "-a", id);
  await engine.ok("rm", id);
  const held = (volume: string) => readdirSync(dataOf(volume)).sort();
  assert.deepEqual(
    [held("top"), held("mid"), held("deep")],
    [
      ["here", "x"],
      ["here", "y"],
      ["here", "z"],
    ],
  );
});

test("a start that dies leaves nothing of what it was about to mount, and all that was in there", {
  skip: NO_DOCKER,
}, async () => {
  await engine.ok("volume", "create", "precious");
  mkdirSync(join(dataOf("precious"), "sub"));
  writeFileSync(join(dataOf("precious"), "sub/file"), "kept\n");
  const part = ["--mount", "type=volume,src=precious,dst=/p,volume-subpath=sub"];
  const file = ["--mount", "type=volume,src=precious,dst=/f,volume-subpath=sub/file"];
  const image = ["--mount", "type=image,src=busybox,dst=/i,image-subpath=bin"];
  await engine.ok(
    "create",
    "--name",
    "dies",
    "--network",
    "none",
    ...part,
    ...file,
    ...image,
    "busybox",
    "cat",
    "/p/file",
    "/f",
  );
  for (const point of ["containers.start.networked", "containers.start.created"]) {
    await engine.restart({ GANTRY_FAILPOINTS: `${point}=kill` });
    assert.notEqual((await engine.docker("start", "dies")).code, 0);
    await engine.kill();
    assert.ok(sources().length > 0, point);
    await engine.start();
    assert.deepEqual(sources(), [], point);
    assert.equal(readFileSync(join(dataOf("precious"), "sub/file"), "utf8"), "kept\n");
  }
  assert.equal(await engine.ok("start", "-a", "dies"), "kept\nkept");
  await engine.ok("rm", "dies");
});
