import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { GANTRY, startEngine, type TestEngine } from "../engine.ts";

const options = { timeout: 60_000 };
/** Becomes the engine, with a small disk for its data that no other process sees. */
const SMALL_DISK = `for word; do
  [ "$before" != --data-root ] || { mkdir -p "$word" && mount -t tmpfs -o size=48m,mode=0711 tmpfs "$word"; }
  before=$word
done
exec "$@"`;

describe("on a full disk", () => {
  let engine: TestEngine;
  let context = "";
  before(async () => {
    engine = await startEngine({ wrap: ["unshare", "-m", "--propagation", "private", "sh", "-c", SMALL_DISK, "sh"] });
    context = join(engine.root, "context");
    mkdirSync(context);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const build = (dockerfile: string, ...args: readonly string[]) => {
    writeFileSync(join(context, "Dockerfile"), dockerfile);
    return engine.run(GANTRY, ["build", "--progress=plain", ...args, context], { cwd: engine.root });
  };
  /** Bytes of the engine's disk that are taken, as the engine's own mount namespace has it. */
  const taken = (): number => {
    const { blocks, bfree, bsize } = statfsSync(`/proc/${engine.pid}/root${engine.dataRoot}`);
    return (blocks - bfree) * bsize;
  };

  const noise = "dd if=/dev/urandom bs=1M";
  const rows: readonly (readonly [what: string, dockerfile: string, args: readonly string[], says: RegExp])[] = [
    ["a step's own command is told so", `FROM busybox\nRUN ${noise} count=100 of=/x\n`, [], /No space left on device/],
    ["a context is refused", "FROM busybox\nCOPY big /\n", [], /ERROR: .*no space left on device$/m],
    [
      "a copy is refused",
      `FROM busybox AS a\nRUN ${noise} count=18 of=/x\nFROM busybox\nCOPY --from=a /x /y\nCOPY --from=a /x /z\n`,
      [],
      /ERROR: .*no space left on device$/m,
    ],
    [
      "a layer is refused",
      `FROM busybox\nRUN ${noise} count=30 of=/x\n`,
      ["-t", "never"],
      /ERROR: .*no space left on device$/m,
    ],
    [
      "a squashed layer is",
      `FROM busybox\nRUN ${noise} count=14 of=/x\n`,
      ["-t", "never", "--squash"],
      /ERROR: .*no space left on device$/m,
    ],
    [
      "a cache that is exported is",
      `FROM busybox\nRUN ${noise} count=30 of=/x\n`,
      ["-o", "type=cacheonly", "--cache-to", "type=local,dest=never,mode=max"],
      /ERROR: .*no space left on device$/m,
    ],
  ];
  for (const [what, dockerfile, args, says] of rows) {
    test(`${what}, and nothing is left of it`, options, async () => {
      await engine.gantry("builder", "prune", "-af");
      const before = taken();
      if (dockerfile.includes("big")) execFileSync("truncate", ["-s", "80M", join(context, "big")]);
      const { code, stderr } = await build(dockerfile, ...args);
      rmSync(join(context, "big"), { force: true });
      assert.equal(code, 1, stderr);
      assert.match(stderr, says);
      assert.ok(!stderr.includes(engine.root), stderr);
      assert.ok(!/\bENOSPC\b/.test(stderr), stderr);
      await engine.gantry("builder", "prune", "-af");
      // Records and the history grow a little.
      const left = taken() - before;
      assert.ok(left < 2 << 20, `${left} bytes are left`);
      assert.equal((await engine.gantry("image", "ls", "-q")).stdout.trim().split("\n").length, 1);
    });
  }

  test("the history and the cache that can't be written fail no build", options, async () => {
    const filler = `/proc/${engine.pid}/root${engine.dataRoot}/filler`;
    try {
      try {
        execFileSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=64k"], { stdio: "ignore" });
      } catch {
        // It is full now.
      }
      const { code, stderr } = await build("FROM busybox\nENV A=b\n", "-o", "type=cacheonly");
      assert.equal(code, 0, stderr);
    } finally {
      rmSync(filler, { force: true });
    }
    const { code, stderr } = await build("FROM busybox\nRUN echo again\n", "-t", "again");
    assert.equal(code, 0, stderr);
  });
});
