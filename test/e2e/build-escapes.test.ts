import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { sha256, type TarEntry, tarOf } from "../archive.ts";
import { build, built } from "../builds.ts";
import { GANTRY, NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

const options = { skip: NO_DOCKER, timeout: 40_000 };
const PRIZE = "prize-of-the-host";
let engine: TestEngine;
/** A folder of the host's that no build may see or change. */
let victim = "";
before(async () => {
  if (NO_DOCKER === false) engine = await startEngine();
});
after(() => engine?.[Symbol.asyncDispose]());
beforeEach(() => {
  victim = join(engine.root, "victim");
  mkdirSync(join(victim, "sub"), { recursive: true });
  writeFileSync(join(victim, "prize"), PRIZE);
  writeFileSync(join(victim, "empty"), "");
});

function assertUntouched(): void {
  assert.deepEqual(readdirSync(victim).sort(), ["empty", "prize", "sub"]);
  assert.deepEqual(readdirSync(join(victim, "sub")), []);
  assert.equal(readFileSync(join(victim, "prize"), "utf8"), PRIZE);
  assert.equal(readFileSync(join(victim, "empty"), "utf8"), "");
}

test("CVE-2024-1753: a link of a stage as a mount's source stays in the stage", options, async () => {
  for (const link of ["/", victim, `../../../../../../../..${victim}`, "/proc/self/root", "/proc/1/root"]) {
    for (const mode of ["", ",rw"]) {
      const { stdout, stderr } = await build(
        engine,
        `FROM busybox AS trap
RUN mkdir /deep && ln -s ${link} /deep/link
FROM busybox
RUN --mount=type=bind,from=trap,source=/deep/link,target=/m${mode} cat /m/prize /m${victim}/prize; echo x > /m/new; echo x > /m${victim}/new; echo reached
`,
      );
      assert.doesNotMatch(stdout + stderr, new RegExp(PRIZE), link);
      if (link === "/") assert.match(stdout, /reached$/m);
      assertUntouched();
    }
  }
});

test("CVE-2024-1753: a link of a context as a mount's or a cache's source stays in the context", options, async () => {
  const files = { "src/file": "in\n" };
  const made = `FROM busybox AS trap\nRUN ln -s ${victim} /link\n`;
  for (const mount of [
    `type=cache,target=/m,from=trap,source=/link`,
    `type=bind,target=/m,from=trap,source=link/../../../../${victim}`,
    `type=bind,target=/m,source=../../../../../../${victim}`,
  ]) {
    const { code, stdout, stderr } = await build(engine, `${made}FROM busybox\nRUN --mount=${mount} ls /m\n`, {
      files,
    });
    assert.doesNotMatch(stdout, /^prize$/m);
    assert.notEqual(code, 0);
    assert.match(stderr, /not found/);
  }
  assertUntouched();
});

test("CVE-2024-9407: a mount's options are those that are known", options, async () => {
  for (const key of ["bind-propagation=shared", "bind-propagation=rshared,z", "Z=true", "options=dev"]) {
    const { code, stderr } = await build(engine, `FROM busybox\nRUN --mount=type=bind,target=/m,${key} true\n`);
    assert.notEqual(code, 0);
    assert.match(stderr, /unexpected key '|invalid field '/);
  }
});

test(
  "CVE-2024-23651, CVE-2024-11218: a step that swaps folders for links under others' mounts gains nothing",
  options,
  async () => {
    const cache = "--network=none --mount=type=cache,id=swap,target=/c";
    const round = `rm -rf /c/d; ln -s ${victim} /c/d; rm -rf /c/d; mkdir /c/d`;
    const swapping = build(engine, `FROM busybox\nRUN ${cache} until [ -e /c/stop ]; do ${round}; done\n`);
    // What is mounted in the shared cache needs a mount point there, just where the other one plays its game.
    const look = "ls -A /c/d/ /c/d/sub; cat /c/d/prize; touch /c/d/new; true";
    let went = 0;
    for (let number = 0; number < 8 || (went === 0 && number < 40); number++) {
      const mounts = `${cache} --mount=type=tmpfs,target=/c/d/sub`;
      const { code, stdout, stderr } = await build(engine, `FROM busybox\nRUN ${mounts} : ${number}; ${look}\n`);
      if (code === 0) went++;
      assert.doesNotMatch(stdout + stderr, new RegExp(PRIZE));
      assertUntouched();
    }
    assert.equal((await build(engine, `FROM busybox\nRUN ${cache} touch /c/stop\n`)).code, 0);
    assert.equal((await swapping).code, 0);
    assert.notEqual(went, 0);
    assertUntouched();
  },
);

test("CVE-2024-23652: what is put in the place of a mount point is not followed when that goes", options, async () => {
  for (const trick of [
    `mv /a /b; ln -s ${victim} /a`,
    `mkdir /other; mv /a /other/a; ln -s ${victim} /a; ln -s ${victim} /other/a/up`,
    `ln -s ${victim}/empty /a/file2; mv /a/sub2 /a/sub3; ln -s ${victim}/sub /a/sub2`,
  ]) {
    const mounts = "--mount=type=tmpfs,target=/a/sub --mount=type=bind,source=file,target=/a/empty";
    const { code, stderr } = await build(engine, `FROM busybox\nRUN ${mounts} ${trick}; true\n`, {
      files: { file: "x" },
      args: ["--no-cache"],
    });
    assert.equal(code, 0, stderr);
    assertUntouched();
  }
});

test("a root whose own links lead out is no way out for what the engine mounts or makes in it", options, async () => {
  await built(
    engine,
    `FROM busybox
RUN rm -rf /run && ln -s ${victim} /run && ln -s ${victim}/made /made
RUN --mount=type=tmpfs,target=/run/secrets/deep --mount=type=bind,source=file,target=/made/file,rw true
WORKDIR /made/work
RUN pwd
`,
    { files: { file: "x" } },
  );
  assertUntouched();
});

test("CVE-2024-9675: a cache mount's id and source are no paths of the host", options, async () => {
  for (const mount of [
    `id=../../../../../../../..${victim},target=/m`,
    `id=${victim},target=/m`,
    `id=..,target=/m`,
    `id=a,source=../../../../../../../..${victim},target=/m`,
    `target=/m/../../../../../../../..${victim}`,
  ]) {
    const text = `FROM busybox\nRUN --mount=type=cache,${mount} ls -A /m ${victim} 2>&1; echo x > /m/new || true\n`;
    const { stdout, stderr } = await build(engine, text, { args: ["--no-cache"] });
    assert.doesNotMatch(stdout + stderr, /^prize$/m, mount);
    assertUntouched();
  }
});

test("CVE-2024-9676: users and groups are looked up in the image, whatever its links lead to", options, async () => {
  writeFileSync(join(victim, "prize"), `${PRIZE}:x:4321:4321::/:/bin/sh\n`);
  try {
    for (const link of [`${victim}/prize`, `../../../../../..${victim}/prize`, `/proc/self/root${victim}/prize`]) {
      const made = `FROM busybox\nRUN ln -sf ${link} /etc/passwd && ln -sf ${link} /etc/group\n`;
      for (const step of [`USER ${PRIZE}\nRUN id -u`, `COPY --chown=${PRIZE}:${PRIZE} file /f\nRUN stat -c %u /f`]) {
        const { stdout } = await build(engine, `${made}${step}\n`, { files: { file: "x" } });
        assert.doesNotMatch(stdout, /^4321$/m, `${link} ${step}`);
      }
    }
  } finally {
    writeFileSync(join(victim, "prize"), PRIZE);
  }
});

test(
  "a Dockerfile, an ignore file and a source that are links lead nowhere out of their context",
  options,
  async () => {
    const out = `../../../../../../../../../..${victim}/prize`;
    for (const target of [out, `${victim}/prize`]) {
      const links = { "linked.Dockerfile": target, ".dockerignore": target, source: target };
      const text = "FROM busybox\nCOPY source /x\nRUN cat /x\n";
      for (const program of ["docker", GANTRY]) {
        const copied = await build(engine, text, { links, program });
        assert.doesNotMatch(copied.stdout + copied.stderr, new RegExp(PRIZE), program);
        assert.notEqual(copied.code, 0);
      }
      // A client may follow links of its own machine; what it may not is to have the engine follow them.
      const archive = tarOf([
        { name: "Dockerfile", type: "symlink", link: target },
        { name: ".dockerignore", type: "symlink", link: target },
      ]);
      const answer = await engine.request("POST", "/build", archive, { "Content-Type": "application/x-tar" });
      assert.doesNotMatch(answer.text, new RegExp(PRIZE));
      assert.match(answer.text, /Cannot locate specified Dockerfile|too many|not a regular file/);
    }
    assertUntouched();
  },
);

test("an archive that ADD unpacks can't write or read out of its folder", options, async () => {
  const entries: readonly (readonly TarEntry[])[] = [
    [
      { name: "out", type: "symlink", link: victim },
      { name: "out/new", body: "x" },
    ],
    [
      { name: "out", type: "symlink", link: `../../../../../../..${victim}/prize` },
      { name: "out", body: "x" },
    ],
    [{ name: `../../../../../../..${victim}/new`, body: "x" }],
    [{ name: "l", type: "hardlink", link: `../../../../../..${victim}/prize` }],
    [
      { name: "l", type: "symlink", link: `${victim}/prize` },
      { name: "m", type: "hardlink", link: "l" },
      { name: "m", body: "x" },
    ],
  ];
  for (const each of entries) {
    const archive = tarOf([
      { name: "Dockerfile", body: "FROM busybox\nADD in.tar /d/\nRUN cat /d/l /d/m /d/out/prize; true\n" },
      { name: "in.tar", body: Buffer.from(tarOf(each)) },
    ]);
    const answer = await engine.request("POST", "/build?nocache=1", archive, { "Content-Type": "application/x-tar" });
    assert.doesNotMatch(answer.text, new RegExp(PRIZE));
    assertUntouched();
  }
});

test("CVE-2024-23653: what asks for all rights needs leave for it, of this engine's client, too", options, async () => {
  for (const [instruction, right] of [
    ["RUN --security=insecure true", "security.insecure"],
    ["RUN --network=host true", "network.host"],
  ]) {
    const { code, stderr } = await build(engine, `FROM busybox\n${instruction}\n`, { program: GANTRY });
    assert.notEqual(code, 0);
    assert.match(stderr, new RegExp(`${right} is not allowed`));
  }
});

test("CVE-2024-23653: what asks for all rights needs leave for it", options, async (t) => {
  const text = "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status\n";
  const { code, stderr } = await build(engine, text, { program: "/usr/bin/docker" });
  if (/version=2|no builder of BuildKit/.test(stderr)) {
    t.skip("no client of BuildKit");
    return;
  }
  assert.notEqual(code, 0);
  assert.match(stderr, /security\.insecure is not allowed/);
});

test("CVE-2024-21626: a working folder that is a descriptor of the runtime's leads nowhere", options, async () => {
  for (let fd = 3; fd < 16; fd++) {
    const text = `FROM busybox\nWORKDIR /proc/self/fd/${fd}\nRUN cat ../../../../../../../..${victim}/prize; ls -a\n`;
    const { stdout, stderr } = await build(engine, text, { program: GANTRY, args: ["--progress=plain"] });
    assert.doesNotMatch(stdout + stderr, new RegExp(`${PRIZE}|gantry\\.sock`));
  }
  assertUntouched();
});

test("CVE-2025-31133: what lies at /dev/null instead of it is put over no masked file", options, async () => {
  const pattern = "/proc/sys/kernel/core_pattern";
  const cache = "--mount=type=cache,id=devices";
  await built(
    engine,
    `FROM busybox\nRUN ${cache},target=/c cp -a /dev/. /c/ && rm /c/null && ln -s ${pattern} /c/null\n`,
  );
  const masked = "/proc/keys /proc/timer_list /proc/interrupts /proc/kcore";
  const text = `FROM busybox\nRUN ${cache},target=/dev for f in ${masked}; do echo "<$(cat $f)>"; echo x >> $f; done; true\n`;
  const { stdout, stderr } = await build(engine, text, { program: GANTRY, args: ["--progress=plain", "--no-cache"] });
  assert.ok(!(stdout + stderr).includes(`<${readFileSync(pattern, "utf8").trim()}>`), stdout + stderr);
});

test("CVE-2025-52565, CVE-2025-52881: nothing is mounted over what the runtime writes to", options, async () => {
  const before = readFileSync("/proc/sys/kernel/core_pattern", "utf8");
  for (const target of ["/proc", "/proc/self", "/proc/self/attr", "/proc/thread-self/attr", "/proc/sys/kernel"]) {
    for (const mount of ["type=tmpfs", "type=cache,id=over", "type=bind,source=file"]) {
      const text = `FROM busybox\nRUN --mount=${mount},target=${target} echo reached\n`;
      const { code, stderr } = await build(engine, text, { program: GANTRY, files: { file: "x" } });
      assert.equal(code, 1, `${mount} ${target}`);
      assert.match(stderr, /proc-safety of/);
    }
  }
  // A step has no terminal whose slave could be put in the place of the console.
  const { stderr } = await build(engine, "FROM busybox\nRUN ls /dev/console /dev/pts; tty; true\n", {
    program: GANTRY,
    args: ["--progress=plain"],
  });
  assert.match(stderr, /not a tty/);
  assert.equal(readFileSync("/proc/sys/kernel/core_pattern", "utf8"), before);
});

/** Loads an image of these files with this configuration. */
async function load(name: string, entries: readonly TarEntry[], config: object): Promise<void> {
  const layer = tarOf(entries);
  const text = JSON.stringify({
    ...{ architecture: process.arch === "arm64" ? "arm64" : "amd64", os: "linux" },
    ...config,
    rootfs: { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] },
  });
  const manifest = [{ Config: "config.json", RepoTags: [`${name}:latest`], Layers: ["layer.tar"] }];
  const archive = tarOf([
    { name: "config.json", body: text },
    { name: "layer.tar", body: layer },
    { name: "manifest.json", body: JSON.stringify(manifest) },
  ]);
  const { status, text: said } = await engine.request("POST", "/images/load", archive, {
    "Content-Type": "application/x-tar",
  });
  assert.ok(status === 200 && !said.includes('"error"'), said);
}

test("CVE-2026-41579: an image whose /dev is a link has no device made outside of it", options, async () => {
  writeFileSync(join(victim, "empty"), "");
  const busybox = readFileSync("/bin/busybox");
  for (const link of [victim, `../../../../../../../..${victim}`]) {
    const links = ["dev", "sys"].map((name): TarEntry => ({ name, type: "symlink", link }));
    await load("linked", [...links, { name: "bin/sh", body: busybox, mode: 0o755 }], {});
    const { stdout, stderr } = await build(engine, "FROM linked\nRUN echo x > /dev/new; cat /dev/prize; true\n", {
      args: ["--no-cache"],
    });
    assert.doesNotMatch(stdout + stderr, new RegExp(PRIZE));
    const run = await engine.gantry("run", "--rm", "linked", "/bin/sh", "-c", "echo x > /dev/new; cat /dev/prize");
    assert.doesNotMatch(run.stdout + run.stderr, new RegExp(PRIZE));
    assertUntouched();
  }
});

test("CVE-2024-40635: a user with too large a number is nobody, least of all root", options, async () => {
  for (const user of ["4294967296", "2147483648", "18446744073709551616", "-4294967296", "0x0", "1:4294967296"]) {
    const { code, stdout, stderr } = await build(engine, `FROM busybox\nUSER ${user}\nRUN echo uid=$(id -u)\n`);
    assert.notEqual(code, 0, user);
    assert.doesNotMatch(stdout + stderr, /uid=\d/);
  }
});

test("CVE-2026-57231: variables that an image only names are not taken from the engine", options, async () => {
  await engine.restart({ SECRET_OF_THE_HOST: PRIZE });
  const busybox = readFileSync("/bin/busybox");
  const Env = ["PATH=/bin", "SECRET_OF_THE_HOST", "SECRET*", "*"];
  await load("naming", [{ name: "bin/sh", body: busybox, mode: 0o755 }], {
    config: { Env, Cmd: ["/bin/sh", "-c", "set"] },
  });
  const { stdout, stderr } = await build(engine, "FROM naming\nRUN set; echo ran\n", { args: ["--no-cache"] });
  assert.match(stdout, /^ran$/m);
  assert.doesNotMatch(stdout + stderr, new RegExp(PRIZE));
  const run = await engine.gantry("run", "--rm", "naming");
  assert.doesNotMatch(run.stdout + run.stderr, new RegExp(PRIZE));
});

test("CVE-2025-4953: what is written to a mount of the context or of a stage is lost", options, async () => {
  const text = `FROM busybox AS other
RUN mkdir /of && echo kept > /of/file
FROM busybox
RUN --mount=type=bind,target=/c,rw --mount=type=bind,from=other,source=/of,target=/o,rw echo lost > /c/file && echo lost > /o/file && echo lost > /c/new
RUN --mount=type=bind,target=/c --mount=type=bind,from=other,source=/of,target=/o cat /c/file /o/file && ! ls /c/new
RUN ! ls /c/file && ! ls /o/file
`;
  const out = await built(engine, text, { program: GANTRY, files: { file: "kept" }, args: ["-q", "-t", "unwritten"] });
  assert.match(out, /^sha256:/);
  const { stdout } = await engine.gantry("run", "--rm", "unwritten", "sh", "-c", "ls -A /c /o");
  assert.doesNotMatch(stdout, /file|new/);
});

test(
  "CVE-2024-24557: an image that says it was made by these steps is not taken for their result",
  options,
  async () => {
    const text = 'FROM scratch\nCOPY file /file\nCMD ["x"]\n';
    const files = { file: "good" };
    const id = (await built(engine, text, { args: ["-q"], files })).trim();
    const { json } = await engine.request("GET", `/images/${id}/history`);
    const history = (json as { CreatedBy: string; Size: number }[])
      .toReversed()
      .map(({ CreatedBy, Size }) => ({ created_by: CreatedBy, empty_layer: Size === 0 }));
    await engine.gantry("rmi", "-f", id);
    await engine.gantry("builder", "prune", "-af");
    await load("poisoned", [{ name: "file", body: "evil" }], { config: { Cmd: ["x"] }, history });
    for (const program of ["docker", GANTRY]) {
      await built(engine, text, { program, files, args: ["-q", "-t", "made", "--cache-from", "poisoned"] });
      const stdout = await built(engine, "FROM busybox\nCOPY --from=made /file /file\nRUN echo is $(cat /file)\n", {
        args: ["--no-cache"],
      });
      assert.match(stdout, /is good/);
    }
  },
);

test("CVE-2026-33747: no frontend of a Dockerfile's choice is fetched or run", options, async () => {
  let asked = 0;
  const server = createServer((socket) => {
    asked++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const evil = `127.0.0.1:${port}/evil/frontend:1`;
    const plain = "FROM busybox\nRUN true\n";
    for (const [text, args] of [
      [`# syntax=${evil}\n${plain}`, []],
      [`#syntax=${evil}\n${plain}`, []],
      [plain, ["--build-arg", `BUILDKIT_SYNTAX=${evil}`]],
    ] as const) {
      await build(engine, text, { program: GANTRY, args });
    }
    assert.equal(asked, 0);
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});
