import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, it } from "node:test";
import { isKind, messageOf } from "../base/errors.ts";
import { listMounts, MNT, unmount } from "../kernel/mount.ts";
import { getXattr } from "../kernel/xattr.ts";
import type { TarEntry } from "../oci/tar/entry.ts";
import { readTar } from "../oci/tar/reader.ts";
import { type TarInput, writeTar } from "../oci/tar/writer.ts";
import { LayerWriter } from "./layer-writer.ts";
import type { Extracted, LayerDraft, Snapshotter } from "./snapshotter.ts";

/** Rows of a layer: a name alone is a folder if it ends in "/", else an empty file. */
export type LayerRow = string | (Partial<TarInput> & { readonly name: string; readonly text?: string });

export function layerOf(rows: readonly LayerRow[]): Readable {
  return Readable.from(
    writeTar(
      rows.map((row) => {
        const { text = "", ...input } = typeof row === "string" ? { name: row } : row;
        const type: TarEntry["type"] = input.type ?? (input.name.endsWith("/") ? "directory" : "file");
        const body = Buffer.from(text);
        return { entry: { size: body.length, ...input, type }, ...(type === "file" && { body: [body] }) };
      }),
    ),
    { objectMode: false },
  );
}

/** What every snapshotter keeps to. `open` gives one over `root`, again over what is there when called again. */
export function snapshotterSuite(name: string, open: (root: string) => Snapshotter): void {
  describe(`the ${name} snapshotter`, () => {
    let base: string;
    let target: string;
    let snapshots: Snapshotter;
    beforeEach(() => {
      base = mkdtempSync(join(tmpdir(), "gantry-snapshots-"));
      target = join(base, "target");
      mkdirSync(target);
      snapshots = open(join(base, "root"));
    });
    afterEach(() => {
      for (const { target: at } of listMounts(base).reverse()) unmount(at, MNT.DETACH | MNT.NOFOLLOW);
      rmSync(base, { recursive: true, force: true });
    });

    async function inside<T>(id: string, act: (root: string) => T | Promise<T>): Promise<T> {
      await snapshots.mount(id, target);
      try {
        return await act(target);
      } finally {
        await snapshots.unmount(target);
      }
    }
    const tree = (id: string): Promise<string[]> =>
      inside(id, (root) => (readdirSync(root, { recursive: true }) as string[]).sort());
    async function changesOf(id: string): Promise<string[]> {
      const lines: string[] = [];
      for await (const { path, kind } of snapshots.changes(id)) lines.push(`${kind} ${path}`);
      return lines;
    }
    async function diffOf(id: string): Promise<string[]> {
      const names: string[] = [];
      for await (const { entry } of readTar(snapshots.diff(id))) names.push(entry.name);
      return names;
    }

    it("takes a snapshot through its life", async () => {
      await snapshots.prepare("one", undefined);
      await inside("one", (root) => writeFileSync(join(root, "file"), "below"));
      await snapshots.commit("base", "one");
      assert.equal(snapshots.has("one"), false);
      await snapshots.prepare("two", "base");
      await snapshots.mount("two", target);
      await snapshots.mount("two", target);
      writeFileSync(join(target, "file"), "above");
      writeFileSync(join(target, "new"), "12345");
      assert.equal(await snapshots.usage("two"), 10);
      await snapshots.unmount(target);
      await snapshots.unmount(target);
      await snapshots.commit("top", "two");
      assert.deepEqual(await inside("base", (root) => readFileSync(join(root, "file"), "utf8")), "below");
      assert.deepEqual(await inside("top", (root) => readFileSync(join(root, "file"), "utf8")), "above");
      assert.deepEqual(snapshots.info("top"), { id: "top", kind: "committed", parent: "base" });
      assert.equal(await snapshots.usage("top"), 10);
      await assert.rejects(snapshots.remove("base"), (error) => isKind(error, "conflict"));
      await snapshots.remove("top");
      await snapshots.remove("base");
      assert.deepEqual(snapshots.list(), []);
    });

    it("commits at once what counts only later, with its mount points or without", async () => {
      for (const [key, name, parent] of [
        ["one", "base", undefined],
        ["two", "top", "base"],
      ] as const) {
        await snapshots.prepare(key, parent, { bare: true });
        await snapshots.mount(key, target, { bare: true, volatile: true });
        assert.deepEqual(readdirSync(target), parent === undefined ? [] : ["base"]);
        writeFileSync(join(target, name), "text");
        await snapshots.unmount(target);
        await snapshots.commit(name, key, { durable: false });
        assert.deepEqual(snapshots.info(name), { id: name, kind: "committed", parent });
        assert.equal(snapshots.has(key), false);
        assert.equal(await snapshots.usage(name), 4);
      }
      await snapshots.sync();
      // Measured once: after a restart it is known.
      const metas = readdirSync(join(base, "root/l")).map((folder) =>
        readlinkSync(join(base, "root/l", folder, "meta")),
      );
      assert.ok(metas.every((meta) => JSON.parse(meta).size === 4));
      await assert.rejects(snapshots.remove("base"), (error) => isKind(error, "conflict"));
      await snapshots.remove("top");
      await snapshots.remove("base");
    });

    it("shows committed snapshots read-only", async () => {
      await snapshots.apply("base", undefined, layerOf(["file"]));
      await snapshots.apply("top", "base", layerOf(["other"]));
      for (const id of ["base", "top"])
        await inside(id, (root) => assert.throws(() => writeFileSync(join(root, "x"), ""), { code: "EROFS" }));
    });

    it("refuses ids that are taken and parents that are none", async () => {
      await snapshots.apply("base", undefined, layerOf(["file"]));
      await snapshots.prepare("key", "base");
      await assert.rejects(snapshots.prepare("key", undefined), (error) => isKind(error, "conflict"));
      await assert.rejects(snapshots.commit("base", "key"), (error) => isKind(error, "conflict"));
      await assert.rejects(snapshots.prepare("other", "nothing"), (error) => isKind(error, "not-found"));
      await assert.rejects(snapshots.prepare("other", "key"), (error) => isKind(error, "invalid"));
      await assert.rejects(snapshots.mount("nothing", target), (error) => isKind(error, "not-found"));
    });

    it("extracts owners, modes, times, links, devices, attributes and holes", async () => {
      const mtime = { seconds: 1_500_000_000, nanoseconds: 123_456_789 };
      const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
      const result = await snapshots.apply(
        "base",
        undefined,
        layerOf([
          { name: "./", type: "directory", mode: 0o711, mtime },
          { name: "dir/", mode: 0o1777, uid: 5, gid: 6, mtime },
          {
            name: "dir/su",
            text: "run",
            mode: 0o4755,
            uid: 1000,
            gid: 1000,
            mtime,
            xattrs: new Map([["security.capability", capability]]),
          },
          { name: "dir/hard", type: "hardlink", linkName: "dir/su" },
          { name: "dir/soft", type: "symlink", linkName: "/etc/../x", uid: 7, mtime },
          { name: "null", type: "character", major: 1, minor: 3, mode: 0o666 },
          { name: "fifo", type: "fifo", mode: 0o620 },
          { name: "sparse", size: 10_000_000, sparse: [{ offset: 5_000_000, length: 3 }], text: "abc" },
          { name: "implied/parents/file", text: "x" },
          { name: "bytes\udcff", text: "" },
        ]),
      );
      assert.equal(result.size, 10_000_004);
      await inside("base", (root) => {
        const at = (path: string) => lstatSync(join(root, path), { bigint: true });
        const ns = 1_500_000_000_123_456_789n;
        assert.deepEqual(
          [at("dir").mode & 0o7777n, at("dir").uid, at("dir").gid, at("dir").mtimeNs],
          [0o1777n, 5n, 6n, ns],
        );
        assert.deepEqual([at("").mode & 0o7777n, at("").mtimeNs], [0o711n, ns]);
        assert.deepEqual(
          [at("dir/su").mode & 0o7777n, at("dir/su").uid, at("dir/su").mtimeNs, at("dir/su").nlink],
          [0o4755n, 1000n, ns, 2n],
        );
        assert.deepEqual(getXattr(join(root, "dir/hard"), "security.capability"), capability);
        assert.deepEqual(
          [readlinkSync(join(root, "dir/soft")), at("dir/soft").uid, at("dir/soft").mtimeNs],
          ["/etc/../x", 7n, ns],
        );
        assert.deepEqual([at("null").rdev, at("fifo").mode & 0o7777n, at("fifo").isFIFO()], [0x103n, 0o620n, true]);
        assert.ok(at("sparse").size === 10_000_000n && at("sparse").blocks < 200n);
        assert.equal(readFileSync(join(root, "sparse"), "latin1").slice(5_000_000, 5_000_003), "abc");
        assert.ok(
          readdirSync(root, { encoding: "buffer" }).some((one) => one.equals(Buffer.from("bytes\xff", "latin1"))),
        );
      });
    });

    it("hides what a layer whites out, one name or a folder's all", async () => {
      await snapshots.apply("base", undefined, layerOf(["a", "b", "d/x", "d/y/z", "e/x", "gone/x"]));
      await snapshots.apply(
        "top",
        "base",
        layerOf(["d/new", "d/.wh..wh..opq", "e/.wh.x", ".wh.b", ".wh.gone", ".wh.never", ".wh..wh.plnk"]),
      );
      assert.deepEqual(await tree("top"), ["a", "d", "d/new", "e"]);
      await snapshots.apply("both", "base", layerOf([".wh.gone", "gone/", "gone/y", "d/", "d/q", ".wh.d"]));
      assert.deepEqual(await tree("both"), ["a", "b", "d", "d/q", "e", "e/x", "gone", "gone/y"]);
    });

    it("lets the later of two entries count, whatever they are", async () => {
      await snapshots.apply("base", undefined, layerOf(["below/file", "flat"]));
      await snapshots.apply(
        "top",
        "base",
        layerOf([
          { name: "twice", text: "first" },
          { name: "twice", text: "second" },
          "dir/deep/file",
          { name: "dir", text: "now a file" },
          { name: "file", text: "x" },
          "file/",
          "file/in",
          { name: "link", type: "symlink", linkName: "file" },
          { name: "link", text: "plain" },
          { name: "below", text: "hides a folder" },
          "flat/",
        ]),
      );
      assert.deepEqual(await tree("top"), ["below", "dir", "file", "file/in", "flat", "link", "twice"]);
      await inside("top", (root) => {
        assert.equal(readFileSync(join(root, "twice"), "utf8"), "second");
        assert.equal(readFileSync(join(root, "link"), "utf8"), "plain");
      });
    });

    it("forgets the times of folders that the layer replaces, and of what was in them", async () => {
      const at = (seconds: number) => ({ mtime: { seconds, nanoseconds: 0 } });
      const rows: LayerRow[] = [
        { name: "file/below/", ...at(1) },
        "file",
        { name: "link/below/", ...at(2) },
        { name: "link", type: "symlink", linkName: "elsewhere" },
        "missing/below/",
        { name: "missing", type: "symlink", linkName: "nowhere" },
        { name: "elsewhere/below/", ...at(3) },
        { name: "again/below/", ...at(4) },
        "again",
        { name: "again/", ...at(5) },
      ];
      await snapshots.apply("name", undefined, layerOf(rows));
      assert.deepEqual(await tree("name"), [
        "again",
        "elsewhere",
        "elsewhere/below",
        "file",
        "link",
        "link/below",
        "missing",
      ]);
      await inside("name", (root) => {
        assert.equal(lstatSync(join(root, "elsewhere/below")).mtimeMs, 3000);
        assert.equal(lstatSync(join(root, "again")).mtimeMs, 5000);
      });
    });

    it("shows no names that can't be found where a layer hides a folder's all and some of it", async () => {
      await snapshots.apply("bottom", undefined, layerOf(["d/", "d/a", "d/b", "d/c", "d/own/", "d/own/x"]));
      const rows = ["d/", "d/own/", "d/own/.wh.x", "d/.wh.a", "d/new", "d/.wh..wh..opq", "d/.wh.b", "d/.wh.own"];
      await snapshots.apply("top", "bottom", layerOf(rows));
      const found = await inside("top", (root) => readdirSync(join(root, "d")).sort());
      assert.deepEqual(found, ["new", "own"]);
      await inside("top", (root) => assert.ok(lstatSync(join(root, "d/own")).isDirectory()));
    });

    it("keeps hostile layers inside their root, or refuses them and leaves nothing", async () => {
      const deep = "a/".repeat(1900);
      const secret = join(base, "secret");
      writeFileSync(secret, "untouched");
      mkdirSync(join(base, "outside"));
      type Refused = [string, readonly LayerRow[], RegExp];
      const tooLarge: Refused = ["a hole too large", [{ name: "x", size: 2 ** 52, sparse: [] }], /invalid tar header/];
      const refused: Refused[] = [
        ["a way up", [{ name: "../../../secret", text: "x" }], /outside of the layer/],
        ["a way up inside", ["a/", { name: "a/../../secret", text: "x" }], /outside of the layer/],
        ["a hard link out", [{ name: "x", type: "hardlink", linkName: "../../../secret" }], /outside of the layer/],
        ["a hard link to an absolute path", [{ name: "x", type: "hardlink", linkName: secret }], /invalid tar header/],
        [
          "a hard link through a link out",
          [
            { name: "l", type: "symlink", linkName: base },
            { name: "x", type: "hardlink", linkName: "l/secret" },
          ],
          /invalid tar header/,
        ],
        ["a hard link to a folder", ["d/", { name: "x", type: "hardlink", linkName: "d" }], /invalid tar header/],
        ["a name too long", [`${"n".repeat(256)}`], /invalid tar header/],
        ["a path too long", ["d/".repeat(2100)], /invalid tar header/],
        ["a file as a folder", ["f", "f/x"], /invalid tar header/],
        ["a loop of links", [{ name: "l", type: "symlink", linkName: "l" }, "l/x"], /invalid tar header/],
        [
          "overlayfs's own attribute",
          [{ name: "d/", xattrs: new Map([["trusted.overlay.opaque", Buffer.from("y")]]) }],
          /overlayfs's own/,
        ],
        ["overlayfs's own device", [{ name: "x", type: "character" }], /overlayfs's own/],
        ["a whiteout of nothing", [".wh."], /whites out no name/],
        ["a whiteout of the folder above", [".wh..."], /whites out no name/],
        ["an owner that can't be", [{ name: "x", uid: 2 ** 32 }], /owner/],
        ...(takesSize(base, 2 ** 52) ? [] : [tooLarge]),
        [
          "folders deeper than any path, made through a link",
          [deep, { name: "link", type: "symlink", linkName: deep }, `link/${deep}file`],
          /invalid tar header.*file name too long/,
        ],
      ];
      for (const [what, rows, message] of refused)
        await assert.rejects(
          snapshots.apply("bad", undefined, layerOf(rows)),
          (error) => isKind(error, "invalid") && message.test(messageOf(error)),
          what,
        );
      await snapshots.apply(
        "contained",
        undefined,
        layerOf([
          { name: "/absolute", text: "x" },
          { name: "out", type: "symlink", linkName: join(base, "outside") },
          "out/file",
          { name: "up", type: "symlink", linkName: "../../../../../outside" },
          "up/file2",
          { name: "to-secret", type: "symlink", linkName: secret },
          { name: "to-secret", text: "replaces the link" },
          { name: "s2", type: "symlink", linkName: secret },
          { name: "linked", type: "hardlink", linkName: "s2" },
        ]),
      );
      assert.equal(readFileSync(secret, "utf8"), "untouched");
      assert.deepEqual(readdirSync(join(base, "outside")), []);
      assert.ok((await tree("contained")).includes("absolute"));
      await inside("contained", (root) => assert.ok(lstatSync(join(root, "linked")).isSymbolicLink()));
      assert.deepEqual(
        snapshots.list().map(({ id }) => id),
        ["contained"],
      );
      assert.equal(readdirSync(join(base, "root/l")).length, 1);
    });

    it("leaves nothing of a layer that is cut off, or aborted", async () => {
      const whole = await buffer(layerOf([{ name: "file", text: "x".repeat(100_000) }]));
      await assert.rejects(
        snapshots.apply("cut", undefined, Readable.from([whole.subarray(0, 50_000)])),
        /unexpected EOF/,
      );
      const stuck = new Readable({ read() {} });
      stuck.push(whole.subarray(0, 50_000));
      const abort = new AbortController();
      const onProgress = (): void => abort.abort();
      await assert.rejects(snapshots.apply("stuck", undefined, stuck, { signal: abort.signal, onProgress }), (error) =>
        isKind(error, "cancelled"),
      );
      assert.deepEqual([readdirSync(join(base, "root/l")), readdirSync(join(base, "root/trash"))], [[], []]);
    });

    it("applies a layer once: later streams are read to their end and change nothing", async () => {
      const again = layerOf([{ name: "other", text: "x".repeat(1_000_000) }]);
      await Promise.all([
        snapshots.apply("one", undefined, layerOf([{ name: "f", text: "abc" }])),
        snapshots.apply("one", undefined, again),
      ]);
      assert.equal(again.readableEnded, true);
      assert.deepEqual(await tree("one"), ["f"]);
    });

    it("extracts into an active snapshot that gets its name later", async () => {
      await snapshots.apply("base", undefined, layerOf(["a", "b"]));
      await snapshots.prepare("key", "base", { bare: true });
      assert.deepEqual(await snapshots.extract("key", layerOf([".wh.a", { name: "c", text: "123" }])), { size: 3 });
      await snapshots.commit("name", "key");
      assert.deepEqual(await tree("name"), ["b", "c"]);
    });

    it("tells its changes as a layer that makes the same tree again", async () => {
      await snapshots.apply(
        "base",
        undefined,
        layerOf(["keep", "gone", "dir/old", "whole/a", "whole/b", { name: "mode", text: "same" }]),
      );
      await snapshots.prepare("key", "base");
      assert.deepEqual(await diffOf("key"), []);
      await inside("key", (root) => {
        const sh =
          "rm gone; rm -r whole; mkdir whole; echo c > whole/c; echo new > dir/new; chmod 600 mode; mkfifo fifo; mknod null c 1 3; touch -d @5.000000007 dir/new; setfattr -n user.k -v v dir/new 2>/dev/null || true";
        execFileSync("sh", ["-ec", sh], { cwd: root });
        linkSync(join(root, "dir/new"), join(root, "dir/same"));
        symlinkSync("dir/new", join(root, "soft"));
      });
      const names = await diffOf("key");
      for (const wanted of [
        ".wh.gone",
        "dir/",
        "dir/new",
        "dir/same",
        "fifo",
        "mode",
        "null",
        "soft",
        "whole/",
        "whole/c",
      ])
        assert.ok(names.includes(wanted), `${wanted} in ${names}`);
      assert.ok(!names.includes("keep") && !names.includes("dir/old"));
      await snapshots.apply("copy", "base", Readable.from(snapshots.diff("key")));
      const copied = new Set(await tree("copy"));
      const extra = (await tree("key")).filter((path) => !copied.delete(path));
      assert.deepEqual([...copied], []);
      for (const path of extra) assert.match(path, /^(\.dockerenv|(dev|etc|proc|sys)(\/|$))/);
      await inside("copy", (root) => {
        assert.equal(lstatSync(join(root, "dir/same"), { bigint: true }).mtimeNs, 5_000_000_000n, "whole seconds");
        assert.equal(lstatSync(join(root, "dir/new")).nlink, 2);
        assert.equal(lstatSync(join(root, "mode")).mode & 0o7777, 0o600);
      });
    });

    it("tells what became of each path, of what was deleted only the top", async () => {
      await snapshots.apply(
        "lower",
        undefined,
        layerOf(["keep", "gone", "dir/old", "dir/sub/deep", "whole/a", "whole/b", "away/x", "turns", "etc/hosts"]),
      );
      await snapshots.apply("base", "lower", layerOf(["dir/other", ".wh.away", "away2", "whole/c"]));
      await snapshots.prepare("key", "base");
      assert.deepEqual(await changesOf("key"), []);
      await inside("key", (root) => {
        const sh =
          "rm gone; rm -r whole; mkdir whole; echo c > whole/c; echo n > dir/sub/new; rm dir/other; chmod 700 dir; rm turns; mkdir turns; echo > turns/in; mkdir away; echo > away/y; touch keep; touch -r away2 away2; mkfifo fifo; echo > etc/hosts; echo > proc/odd; echo > etc/hostname";
        execFileSync("sh", ["-ec", sh], { cwd: root });
      });
      assert.deepEqual(await changesOf("key"), [
        "added away",
        "added away/y",
        "modified dir",
        "deleted dir/other",
        "modified dir/sub",
        "added dir/sub/new",
        "modified etc",
        "modified etc/hostname",
        "modified etc/hosts",
        "added fifo",
        "deleted gone",
        "modified keep",
        "modified proc",
        "added proc/odd",
        "modified turns",
        "added turns/in",
        "modified whole",
        "deleted whole/a",
        "deleted whole/b",
        "modified whole/c",
      ]);
    });

    it("gives an active snapshot a container's mount points, which are none of its changes", async () => {
      await snapshots.apply(
        "base",
        undefined,
        layerOf([{ name: "etc", type: "symlink", linkName: "/elsewhere" }, "dev/own"]),
      );
      await snapshots.prepare("key", "base");
      await inside("key", (root) => {
        assert.ok(
          existsSync(join(root, ".dockerenv")) && existsSync(join(root, "proc")) && existsSync(join(root, "dev/own")),
        );
        assert.ok(lstatSync(join(root, "etc")).isSymbolicLink());
      });
      assert.deepEqual(await changesOf("key"), []);
      assert.deepEqual(await tree("base"), ["dev", "dev/own", "etc"]);
      assert.equal(await snapshots.usage("key"), 0);
    });

    it("shows an active snapshot at two places as one", async () => {
      await snapshots.apply("base", undefined, layerOf(["a"]));
      await snapshots.prepare("key", "base");
      const second = join(base, "second");
      mkdirSync(second);
      await snapshots.mount("key", target);
      await snapshots.mount("key", second);
      writeFileSync(join(second, "new"), "seen");
      await snapshots.unmount(target);
      await snapshots.mount("key", target);
      assert.equal(readFileSync(join(target, "new"), "utf8"), "seen");
      await snapshots.unmount(second);
      await snapshots.unmount(target);
    });

    it("finds everything again after a restart, and clears away what nobody knows", async () => {
      await snapshots.apply("base", undefined, layerOf(["a"]));
      await snapshots.prepare("live", "base");
      await snapshots.prepare("dead", "base");
      mkdirSync(join(base, "root/l/half/fs"), { recursive: true });
      mkdirSync(join(base, "root/trash/old/fs"), { recursive: true });
      snapshots = open(join(base, "root"));
      await snapshots.recover(new Set(["live"]));
      assert.deepEqual(
        snapshots
          .list()
          .map(({ id, kind, parent }) => [id, kind, parent])
          .sort(),
        [
          ["base", "committed", undefined],
          ["live", "active", "base"],
        ],
      );
      assert.equal(readdirSync(join(base, "root/l")).length, 2);
      assert.deepEqual(readdirSync(join(base, "root/trash")), []);
      assert.equal(existsSync(join(base, "root/l/half")), false);
      assert.ok((await tree("live")).includes("a"));
      await snapshots.prepare("next", "base");
      assert.equal(snapshots.list().length, 3);
    });

    it("gives files the owner and mode that the layer says, whatever their folder hands down", async () => {
      const layer = layerOf([
        { name: "plain", mode: 0o666 },
        { name: "program", mode: 0o4755 },
        { name: "all", mode: 0o777 },
        { name: "owned", mode: 0o640, uid: 3, gid: 4 },
        { name: "group/", mode: 0o2755, gid: 5 },
        { name: "group/root", mode: 0o644 },
        { name: "group/below/", mode: 0o755 },
        { name: "group/below/root", mode: 0o600 },
      ]);
      await snapshots.apply("base", undefined, layer);
      await inside("base", (root) => {
        const shown = (name: string): string => {
          const { gid, mode, uid } = lstatSync(join(root, name));
          return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
        };
        assert.deepEqual(["plain", "program", "all", "owned"].map(shown), [
          "666 0:0",
          "4755 0:0",
          "777 0:0",
          "640 3:4",
        ]);
        assert.deepEqual(["group", "group/root", "group/below", "group/below/root"].map(shown), [
          "2755 0:5",
          "644 0:0",
          "755 0:0",
          "600 0:0",
        ]);
      });
    });

    it("takes layers that other threads extract, and nothing of those that are given up", async () => {
      const write = async (draft: LayerDraft, rows: readonly LayerRow[]): Promise<Extracted> => {
        const writer = new LayerWriter(draft.folder, draft.whiteouts);
        try {
          writer.write(await buffer(layerOf(rows)));
          writer.finish();
          return { size: writer.size, hasRoot: writer.hasRoot };
        } finally {
          writer.close();
        }
      };
      const bottom = await snapshots.draft(undefined);
      const bottomExtracted = await write(bottom, [{ name: "./", type: "directory", mode: 0o700, uid: 1 }, "a", "b"]);
      let top = snapshots.extractsAlone ? await snapshots.draft(undefined) : undefined;
      let topExtracted = top && (await write(top, [".wh.a", { name: "c", text: "text" }]));
      await snapshots.sync();
      if (top !== undefined)
        await assert.rejects(top.commit("top", "base", topExtracted!), (error) => isKind(error, "not-found"));
      await bottom.commit("base", undefined, bottomExtracted);
      top ??= await snapshots.draft("base");
      topExtracted ??= await write(top, [".wh.a", { name: "c", text: "text" }]);
      await top.commit("top", "base", topExtracted);
      await top.discard();
      assert.deepEqual(await tree("top"), ["b", "c"]);
      assert.equal(await snapshots.usage("top"), 4);
      await inside("top", (root) => {
        const { mode, uid } = lstatSync(root);
        assert.deepEqual([mode & 0o7777, uid], [0o700, 1]);
      });
      const same = await snapshots.draft("base");
      await same.commit("top", "base", { size: 0, hasRoot: true });
      const left = await snapshots.draft(undefined);
      await left.discard();
      assert.equal(existsSync(left.folder), false);
      assert.equal(existsSync(same.folder), false);
      await snapshots.draft(undefined);
      snapshots = open(join(base, "root"));
      await snapshots.recover(new Set());
      assert.deepEqual(
        snapshots
          .list()
          .map(({ id }) => id)
          .sort(),
        ["base", "top"],
      );
      assert.equal(readdirSync(join(base, "root/l")).length, 2);
    });

    it("gives a snapshot another name, under those that stand on it and those that are about to", async () => {
      await snapshots.apply("base", undefined, layerOf(["a"]));
      await snapshots.apply("top", "base", layerOf(["b"]));
      await snapshots.prepare("key", "top");
      await snapshots.mount("top", target);
      const about = snapshots.prepare("late", "top");
      const committing = snapshots.commit("third", "key");
      await Promise.all([snapshots.rename("base", "x"), snapshots.rename("top", "y"), about, committing]);
      await snapshots.unmount(target);
      assert.equal(snapshots.has("top"), false);
      for (const [id, parent] of [
        ["y", "x"],
        ["third", "y"],
        ["late", "y"],
      ] as const)
        assert.equal(snapshots.info(id)?.parent, parent);
      await assert.rejects(snapshots.rename("y", "x"), (error) => isKind(error, "conflict"));
      await assert.rejects(snapshots.rename("top", "z"), (error) => isKind(error, "not-found"));
      await assert.rejects(snapshots.rename("late", "z"), (error) => isKind(error, "conflict"));
      await assert.rejects(snapshots.remove("x"), (error) => isKind(error, "conflict"));
      const before = snapshots.list().sort((one, other) => (one.id < other.id ? -1 : 1));
      snapshots = open(join(base, "root"));
      await snapshots.recover(new Set(["late"]));
      assert.deepEqual(
        snapshots.list().sort((one, other) => (one.id < other.id ? -1 : 1)),
        before,
      );
      const third = await tree("third");
      for (const name of ["a", "b"]) assert.ok(third.includes(name), name);
      // The former name is free.
      await snapshots.apply("top", "x", layerOf(["c"]));
      assert.deepEqual(await tree("top"), ["a", "c"]);
      for (const id of ["top", "late", "third", "y", "x"]) await snapshots.remove(id);
    });

    it("lays what one snapshot adds on another parent", async () => {
      await snapshots.apply("base", undefined, layerOf(["etc/", { name: "etc/old", text: "old" }, "gone"]));
      await snapshots.apply("below", undefined, layerOf(["gone", "kept"]));
      await snapshots.apply("hides", "below", layerOf([".wh.gone", { name: "new", text: "new" }]));
      await snapshots.prepare("key", undefined);
      await inside("key", (root) => {
        mkdirSync(join(root, "etc/deep"), { recursive: true, mode: 0o750 });
        writeFileSync(join(root, "etc/deep/file"), "text");
        linkSync(join(root, "etc/deep/file"), join(root, "etc/again"));
        symlinkSync("file", join(root, "etc/deep/link"));
      });
      await snapshots.commit("alone", "key");
      await snapshots.rebase("alone", "laid", "base");
      assert.deepEqual(snapshots.info("laid"), { id: "laid", kind: "committed", parent: "base" });
      await inside("laid", (root) => {
        assert.equal(readFileSync(join(root, "etc/old"), "utf8"), "old");
        assert.equal(readFileSync(join(root, "etc/deep/link"), "utf8"), "text");
        assert.equal(lstatSync(join(root, "etc/deep")).mode & 0o7777, 0o750);
        assert.equal(lstatSync(join(root, "etc/again")).ino, lstatSync(join(root, "etc/deep/file")).ino);
      });
      assert.equal(await snapshots.usage("laid"), 4);
      const expected = ["etc/", "etc/again", "etc/deep/", "etc/deep/file", "etc/deep/link"];
      // Mount points, too, are there of what stands on nothing.
      assert.deepEqual(
        (await diffOf("laid")).filter((name) => name.startsWith("etc/") && !/host|resolv/.test(name)),
        expected,
      );
      assert.deepEqual(
        (await diffOf("alone")).filter((name) => name.includes(".wh.")),
        [],
      );
      await snapshots.rebase("hides", "hidden", "base");
      assert.deepEqual(
        (await tree("hidden")).filter((name) => !name.startsWith("etc")),
        ["new"],
      );
      await assert.rejects(snapshots.rebase("alone", "laid", "base"), (error) => isKind(error, "conflict"));
      await assert.rejects(snapshots.rebase("alone", "z", "none"), (error) => isKind(error, "not-found"));
      await snapshots.remove("alone");
      assert.equal(await inside("laid", (root) => readFileSync(join(root, "etc/again"), "utf8")), "text");
    });
  });
}

/** Whether a file may be so long: on a tmpfs it may, as long as it is a hole. */
function takesSize(folder: string, size: number): boolean {
  const path = join(folder, "long");
  writeFileSync(path, "");
  try {
    truncateSync(path, size);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(path);
  }
}
