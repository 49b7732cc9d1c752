import assert from "node:assert/strict";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { findProgram } from "../command.ts";
import { startEngine } from "../engine.ts";

/**
 * Becomes the engine, with the disk in a file beside its data root for its data, and in a boot of its own; no other
 * process sees either.
 */
const DISK_IN_FILE = `for word; do
  if [ "$before" = --data-root ]; then
    [ -e "$word.disk" ] || { truncate -s 256M "$word.disk" && mkfs.ext4 -q -F "$word.disk"; } || exit
    cat /proc/sys/kernel/random/uuid > "$word.boot" && mount --bind "$word.boot" /proc/sys/kernel/random/boot_id || exit
    mkdir -p "$word" && mount -o loop "$word.disk" "$word" && chmod 711 "$word" || exit
  fi
  before=$word
done
exec "$@"`;

const skip = findProgram("mkfs.ext4") === undefined && "mkfs.ext4 is not installed";

/** Files of several blocks: what of them isn't written yet when the power goes is empty after it. */
const IMAGES: Readonly<Record<string, readonly [dockerfile: string, ...args: string[]]>> = {
  plain: ["FROM busybox\nRUN seq 1 20000 > /many\nCOPY file /file\nRUN md5sum /many /file > /sums\n"],
  attested: [
    "FROM busybox\nRUN seq 2 20000 > /many && cp /many /file && md5sum /many /file > /sums\n",
    "--provenance=true",
  ],
  squashed: ["FROM busybox\nCOPY file /file\nRUN seq 3 20000 > /many\nRUN md5sum /many /file > /sums\n", "--squash"],
};

test("images are whole after a power loss right behind the answer of their build", {
  skip,
  timeout: 90_000,
}, async () => {
  await using engine = await startEngine({
    wrap: ["unshare", "-m", "--propagation", "private", "sh", "-c", DISK_IN_FILE, "sh"],
  });
  const context = join(engine.root, "context");
  mkdirSync(context);
  writeFileSync(join(context, "file"), "of the context\n".repeat(10_000));
  const build = async (name: string) => {
    const [dockerfile, ...args] = IMAGES[name]!;
    writeFileSync(join(context, "Dockerfile"), dockerfile);
    const { code, stderr } = await engine.gantry("build", "-t", name, ...args, context);
    assert.equal(code, 0, `${name}: ${stderr}`);
  };
  const disk = `${engine.dataRoot}.disk`;
  for (const name of Object.keys(IMAGES)) {
    await build(name);
    // What has come to the disk by now is all that a power loss leaves.
    await engine.run("cp", ["--sparse=always", disk, `${disk}.${name}`]);
  }
  for (const name of Object.keys(IMAGES)) {
    await engine.stop();
    renameSync(`${disk}.${name}`, disk);
    await engine.start();
    const isWhole = async () => {
      const { code, stderr, stdout } = await engine.gantry("run", "--rm", name, "md5sum", "-c", "/sums");
      assert.deepEqual([code, stdout], [0, "/many: OK\n/file: OK\n"], `${name}: ${stderr}${engine.log}`);
    };
    await isWhole();
    // Whatever the cache has lost.
    await build(name);
    await isWhole();
  }
});
