import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { detachMount, listMounts } from "../kernel/mount.ts";
import { mountDevice } from "./device.ts";
import { hasDisks } from "./disk.ts";

function scratch(t: TestContext): { readonly root: string; readonly point: string } {
  const root = mkdtempSync(join(tmpdir(), "gantry-device-"));
  const point = join(root, "point");
  mkdirSync(point);
  t.after(async () => {
    for (const { target } of listMounts(root)) await detachMount(target);
    rmSync(root, { recursive: true, force: true });
  });
  return { root, point };
}

test("the name of a share's server is looked up, an address is not", async (t) => {
  const { point } = scratch(t);
  const asked: string[] = [];
  const lookUp = async (name: string) => {
    asked.push(name);
    return "127.0.0.9";
  };
  // Port 1 of loopback: nobody serves files there, if the kernel knows the file system at all.
  const mounting = (options: string, type = "nfs") => mountDevice({ type, device: ":/share", options }, point, lookUp);
  await assert.rejects(
    mounting("addr=files.example,port=1,soft,timeo=1,retrans=0,proto=tcp,vers=4"),
    (error: Error) => {
      assert.match(error.message, /failed to mount local volume: mount :\/share:.*addr=127\.0\.0\.9,port=1/);
      return true;
    },
  );
  await assert.rejects(mounting("addr=127.0.0.1,port=1,soft,timeo=1,retrans=0,proto=tcp,vers=4"));
  await assert.rejects(mounting("addr=::1,port=1,soft,timeo=1,retrans=0,proto=tcp,vers=4"));
  await assert.rejects(mounting("addr=files.example", "nonsense"));
  assert.deepEqual(asked, ["files.example"]);
});

test("a name that nobody knows is told of in Docker's words", async (t) => {
  const { point } = scratch(t);
  const lookUp = () => Promise.reject(Object.assign(new Error("queryA ENOTFOUND"), { code: "ENOTFOUND" }));
  await assert.rejects(
    mountDevice({ type: "nfs", device: ":/share", options: "addr=nowhere.example,rw" }, point, lookUp),
    {
      message: `error while mounting volume '${point}': error resolving passed in network volume address: lookup nowhere.example: no such host`,
    },
  );
});

test("a block device is mounted by its type and options", {
  skip: !hasDisks() && "mkfs.ext4 is not installed",
}, async (t) => {
  const { root, point } = scratch(t);
  const disk = join(root, "disk");
  writeFileSync(disk, "");
  truncateSync(disk, 8 << 20);
  execFileSync("mkfs.ext4", ["-q", "-F", disk], { env: { PATH: "/usr/sbin:/sbin:/usr/bin:/bin" } });
  const device = execFileSync("losetup", ["--find", "--show", disk], { encoding: "utf8" }).trim();
  try {
    await mountDevice({ type: "ext4", device, options: "ro,noatime,errors=remount-ro" }, point);
    const row = readFileSync("/proc/mounts", "utf8")
      .split("\n")
      .find((line) => line.includes(` ${point} `));
    assert.match(row ?? "", /^\/dev\/loop\d+ \S+ ext4 ro,noatime,errors=remount-ro/);
    const none = join(root, "no such", "# device");
    await assert.rejects(mountDevice({ type: "xfs", device: none, options: "" }, point), {
      message: `error while mounting volume '${point}': failed to mount local volume: mount ${none}:${point}: ${point}: special device ${none} does not exist`,
    });
    const refused = { type: "ext4", device, options: "password=open sesame,\\040" };
    await assert.rejects(mountDevice(refused, join(root, "point")), (error: Error) => {
      assert.match(error.message, /data: password=\*\*\*\*,\\040: .*wrong fs type, bad option/);
      return true;
    });
    // Nothing of what was told to mount(8) stays.
    assert.deepEqual(readdirSync(root).sort(), ["disk", "point"]);
  } finally {
    await detachMount(point);
    execFileSync("losetup", ["--detach", device]);
  }
});
