import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { type TarEntry, tarOf } from "../archive.ts";
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
