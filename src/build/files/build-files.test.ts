import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, afterEach, beforeEach, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { isKind, messageOf } from "../../base/errors.ts";
import { getXattr, setXattr } from "../../kernel/xattr.ts";
import type { FileAction, FilesOperation } from "../graph.ts";
import type { OperatorContext, Work } from "../operator.ts";
import type { BuildEvent } from "../progress.ts";
import type { Root } from "../root.ts";
import { Files } from "./build-files.ts";

type CopyAction = Extract<FileAction, { type: "copy" }>;

const worker = fileURLToPath(new URL("worker.ts", import.meta.url));
const COPY: Omit<CopyAction, "sources" | "target"> = {
  type: "copy",
  input: 0,
  wildcard: true,
  allowEmpty: true,
  followLinks: true,
  contentsOnly: true,
  createTarget: true,
  parents: false,
  exclude: [],
  unpack: "never",
  owner: undefined,
  mode: undefined,
};

function folderRoot(path: string, extra: Partial<Root> = {}): Root {
  const root: Root = {
    snapshot: undefined,
    folder: path,
    layers: [],
    share: () => root,
    open: async () => ({ path, [Symbol.asyncDispose]: async () => {} }),
    [Symbol.asyncDispose]: async () => {},
    ...extra,
  };
  return root;
}

describe("COPY, ADD and WORKDIR", () => {
  const files = new Files({ worker });
  let base: string;
  let context: string;
  let root: string;
  let logged: string;
  let abort: AbortController;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), "gantry-files-"));
    context = join(base, "context");
    root = join(base, "root");
    mkdirSync(context);
    mkdirSync(root);
    logged = "";
    abort = new AbortController();
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));
  after(() => files.close());

  const put = (path: string, text = "", where = context): string => {
    const whole = join(where, path);
    mkdirSync(dirname(whole), { recursive: true });
    if (path.endsWith("/")) mkdirSync(whole);
    else writeFileSync(whole, text);
    return whole;
  };
  const operatorContext = (): OperatorContext => ({
    request: {} as OperatorContext["request"],
    vertex: { id: "sha256:1" } as OperatorContext["vertex"],
    signal: abort.signal,
    onEvent: (event: BuildEvent) => {
      if (event.type === "log") logged += Buffer.from(event.log.data).toString();
    },
  });
  const run = (actions: readonly FileAction[], inputs: readonly (Root | undefined)[] = [folderRoot(context)]) => {
    const operation: FilesOperation = {
      kind: "files",
      root: -1,
      actions,
      platform: { os: "linux", architecture: "amd64" },
    };
    const work: Work = { root, inputs, hold: () => ({ [Symbol.asyncDispose]: async () => {} }) };
    return files.operator.run!(operation, work, operatorContext());
  };
  const copy = (sources: string | readonly string[], target: string, more: Partial<CopyAction> = {}) =>
    run([{ ...COPY, sources: typeof sources === "string" ? [sources] : sources, target, ...more }]);
  const digest = async (
    sources: string | readonly string[],
    more: Partial<CopyAction> = {},
    of = folderRoot(context),
  ) => {
    const action: CopyAction = { ...COPY, sources: [sources].flat(), target: "/", ...more };
    const operation = { kind: "files", root: -1, actions: [action], platform: { os: "linux", architecture: "amd64" } };
    const [selection] = files.operator.selections!(operation as FilesOperation);
    return selection!.digest(of, operatorContext());
  };
  const tree = (where = root): string[] => (readdirSync(where, { recursive: true }) as string[]).sort();
  const text = (path: string): string => readFileSync(join(root, path), "utf8");
  const refuses = (promise: Promise<unknown>, message: RegExp | string) =>
    assert.rejects(promise, (error) => {
      assert.ok(isKind(error, "invalid"), messageOf(error));
      if (typeof message === "string") assert.equal(messageOf(error), message);
      else assert.match(messageOf(error), message);
      return true;
    });

  it("puts a file to a name, or into a folder that is there or said by a slash", async () => {
    put("a", "1");
    await copy("/a", "/new");
    await copy("/a", "/x/y/");
    mkdirSync(join(root, "there"));
    await copy("/a", "/there");
    put("b", "2");
    await copy(["/a", "/b"], "/both/");
    assert.deepEqual(tree(), ["both", "both/a", "both/b", "new", "there", "there/a", "x", "x/y", "x/y/a"]);
    await copy("/b", "/new");
    assert.equal(text("new"), "2");
  });

  it("copies what a folder contains, or the folder", async () => {
    put("dir/sub/file", "1");
    put("dir/.hidden", "2");
    await copy("/dir", "/app");
    assert.deepEqual(tree(), ["app", "app/.hidden", "app/sub", "app/sub/file"]);
    await copy("/dir/", "/app", { contentsOnly: false });
    assert.ok(existsSync(join(root, "app/dir/sub/file")));
    await copy("/", "/all");
    assert.ok(existsSync(join(root, "all/dir/sub/file")));
  });

  it("merges into folders that are there: those within look as the source's then, the target itself as before", async () => {
    put("dir/sub/new", "1");
    chmodSync(join(context, "dir"), 0o700);
    chmodSync(join(context, "dir/sub"), 0o750);
    chownSync(join(context, "dir/sub"), 3, 4);
    put("app/sub/old", "2", root);
    chmodSync(join(root, "app"), 0o711);
    await copy("/dir", "/app");
    assert.deepEqual(tree(), ["app", "app/sub", "app/sub/new", "app/sub/old"]);
    assert.equal(statSync(join(root, "app")).mode & 0o7777, 0o711);
    const { mode, uid, gid } = statSync(join(root, "app/sub"));
    assert.deepEqual([mode & 0o7777, uid, gid], [0o750, 3, 4]);
  });

  it("keeps times, modes, owners, links, attributes, devices, FIFOs and holes; of a socket an empty file", async () => {
    put("d/file", "1");
    chmodSync(join(context, "d/file"), 0o4711);
    linkSync(join(context, "d/file"), join(context, "d/linked"));
    symlinkSync("../nowhere", join(context, "d/symlink"));
    execFileSync("mknod", ["-m", "620", join(context, "d/device"), "c", "1", "3"]);
    execFileSync("mkfifo", ["-m", "600", join(context, "d/fifo")]);
    const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
    setXattr(join(context, "d/file"), "security.capability", capability);
    setXattr(join(context, "d"), "user.color", Buffer.from("red"));
    put("d/sparse", "begin");
    truncateSync(join(context, "d/sparse"), 64 << 20);
    const server = createServer().listen(join(context, "d/socket"));
    utimesSync(join(context, "d/file"), 1_000_000, 1_000_000);
    utimesSync(join(context, "d"), 2_000_000, 2_000_000);
    try {
      await copy("/d", "/into", { contentsOnly: false });
    } finally {
      server.close();
    }
    const at = (name: string) => lstatSync(join(root, "into", name));
    assert.equal(at("file").mode & 0o7777, 0o4711);
    assert.equal(at("file").ino, at("linked").ino);
    assert.equal(at("file").mtimeMs, 1_000_000_000);
    assert.equal(at("").mtimeMs, 2_000_000_000);
    assert.equal(readlinkSync(join(root, "into/symlink")), "../nowhere");
    assert.ok(at("device").isCharacterDevice() && at("device").rdev === 259 && (at("device").mode & 0o777) === 0o620);
    assert.ok(at("fifo").isFIFO());
    assert.deepEqual(getXattr(join(root, "into/file"), "security.capability"), capability);
    assert.equal(getXattr(join(root, "into"), "user.color")?.toString(), "red");
    assert.ok(at("sparse").size === 64 << 20 && at("sparse").blocks * 512 < 1 << 20);
    assert.equal(text("into/sparse").slice(0, 5), "begin");
    assert.ok(at("socket").isFile() && at("socket").size === 0);
  });

  it("gives what it makes the owner that is said, by the root's own names", async () => {
    put("etc/passwd", "root:x:0:0::/:\nweb:x:33:34::/:\n", root);
    put("etc/group", "staff:x:50:\n", root);
    put("a");
    put("d/e/f");
    const ids = (path: string) => {
      const { uid, gid } = lstatSync(join(root, path));
      return `${uid}:${gid}`;
    };
    await copy("/a", "/deep/er/", { owner: { user: "web", group: undefined } });
    assert.deepEqual(["deep", "deep/er", "deep/er/a"].map(ids), ["33:34", "33:34", "33:34"]);
    await copy("/d", "/g", { owner: { user: "web", group: "staff" } });
    assert.deepEqual(["g", "g/e", "g/e/f"].map(ids), ["33:50", "33:50", "33:50"]);
    await copy("/a", "/n", { owner: { user: 7, group: undefined } });
    await copy("/a", "/m", { owner: { user: "8", group: 9 } });
    assert.deepEqual(["n", "m"].map(ids), ["7:7", "8:9"]);
    assert.equal(logged, "");
    await copy("/a", "/z", { owner: { user: "nobody", group: undefined } });
    assert.equal(ids("z"), "0:0");
    assert.match(logged, /nobody is not in \/etc\/passwd/);
    await copy("/a", "/y", { owner: { user: "web", group: "nobody" } });
    await copy("/a", "/x", { owner: { user: 7, group: "nobody" } });
    assert.deepEqual(["y", "x"].map(ids), ["33:34", "7:7"]);
    assert.match(logged, /nobody is not in \/etc\/group/);
  });

  it("gives what it makes the mode that is said, folders too, in numbers or chmod's symbols", async () => {
    put("d/run", "");
    put("d/sub/x", "");
    chmodSync(join(context, "d/run"), 0o640);
    chmodSync(join(context, "d/sub/x"), 0o750);
    const mode = (path: string) => (statSync(join(root, path)).mode & 0o7777).toString(8);
    await copy("/d", "/a", { mode: 0o604 });
    assert.deepEqual(["a", "a/run", "a/sub", "a/sub/x"].map(mode), ["604", "604", "604", "604"]);
    await copy("/d/run", "/made/here/run", { mode: 0o4711 });
    assert.deepEqual(["made", "made/here", "made/here/run"].map(mode), ["711", "711", "4711"]);
    await copy("/d", "/b", { mode: "go=u,o-w" });
    assert.deepEqual(["b/run", "b/sub/x"].map(mode), ["664", "775"]);
    await refuses(copy("/d", "/c", { mode: "99" }), /^invalid chmod parameter: '99'/);
  });

  it("replaces files and links, but no folder with a file nor anything else with a folder", async () => {
    put("a", "new");
    put("d/x", "new");
    put("file", "old", root);
    put("dir/x/", "", root);
    symlinkSync("/file", join(root, "link"));
    await copy("/d", "/into/");
    symlinkSync("/file", join(root, "into/again"));
    put("e/again", "new");
    await copy("/e", "/into");
    assert.equal(text("file"), "old");
    assert.ok(lstatSync(join(root, "into/again")).isFile());
    // A target's own link is followed.
    await copy("/a", "/link");
    assert.equal(text("file"), "new");
    await refuses(copy("/d", "/dir"), "cannot replace to directory /dir/x with file");
    await refuses(copy("/d", "/file"), "cannot copy to non-directory: /file");
    await refuses(copy("/a", "/file/b"), /mkdir \/file: not a directory/);
    await refuses(copy("/a", "/file/"), /mkdir \/file\/: not a directory/);
    put("f/s/y");
    put("into/s", "", root);
    await refuses(copy("/f", "/into"), "cannot copy to non-directory: /into/s");
  });

  it("matches wildcards as Go does, and takes no match for nothing to do", async () => {
    for (const name of ["a1.go", "a2.go", "b.txt", ".a3.go", "sub/a4.go", "sub/deep/a5.go", "we[ird"]) put(name, name);
    await copy("/a?.go", "/one/");
    await copy("/*/a*.go", "/two/");
    await copy("/[ab]*[!x]", "/three/");
    await copy("/we[[]ird", "/four/");
    await copy("/*.none", "/five/");
    assert.deepEqual(tree(), [...["four", "four/we[ird", "one", "one/a1.go", "one/a2.go", "two", "two/a4.go"]]);
    await copy("/*", "/six/");
    assert.ok(existsSync(join(root, "six/deep/a5.go")) && existsSync(join(root, "six/.a3.go")));
    await refuses(
      copy("/none", "/"),
      'failed to compute cache key: failed to calculate checksum of ref context: "/none": not found',
    );
    await refuses(copy("/*.none", "/", { allowEmpty: false }), /"\/\*\.none": not found/);
  });

  it("keeps the sources' folders with parents, from the pivot on", async () => {
    for (const name of ["x/a.txt", "x/y/b.txt", "x/y/c.md", "z/y/d.txt"]) put(name, name);
    chmodSync(join(context, "x/y"), 0o711);
    await copy("/x/a.txt", "/one/", { parents: true });
    await copy("/*/y/*.txt", "/two/", { parents: true });
    await copy("/x/./y/*.txt", "/three/", { parents: true });
    await copy("/x/./y", "/four/", { parents: true });
    assert.deepEqual(tree(), [
      ...["four", "four/y", "four/y/b.txt", "four/y/c.md"],
      ...["one", "one/x", "one/x/a.txt"],
      ...["three", "three/y", "three/y/b.txt"],
      ...["two", "two/x", "two/x/y", "two/x/y/b.txt", "two/z", "two/z/y", "two/z/y/d.txt"],
    ]);
    assert.equal(statSync(join(root, "three/y")).mode & 0o777, 0o711);
    await digest("/x/y/b.txt", { parents: true });
    await refuses(digest("/x/none.txt", { parents: true }), /"\/x\/none.txt": not found/);
  });

  it("leaves out what is excluded, by path, wildcard and exception", async () => {
    for (const name of ["d/a.md", "d/b.txt", "d/s/c.md", "d/s/d.txt", "d/s/keep.md", "e.md", "e.txt"]) put(name);
    await copy("/d", "/one/", { exclude: ["**/*.md", "!s/keep.md"] });
    await copy("/d", "/two/", { exclude: ["s"] });
    await copy("/e.*", "/three/", { exclude: ["*.md"] });
    assert.deepEqual(tree(), [
      ...["one", "one/b.txt", "one/s", "one/s/d.txt", "one/s/keep.md"],
      ...["three", "three/e.txt", "two", "two/a.md", "two/b.txt"],
    ]);
  });

  it("unpacks archives whatever their compression and name, and copies what is none", async () => {
    put("in/a/b", "packed");
    chownSync(join(context, "in/a/b"), 5, 6);
    const forms = { tar: "", gz: "-z", bz2: "-j", xz: "-J", zstd: "--zstd" };
    for (const [name, flag] of Object.entries(forms)) {
      const archive = join(context, `${name}.bin`);
      execFileSync("tar", ["-C", join(context, "in"), ...(flag === "" ? [] : [flag]), "-cf", archive, "."]);
      await copy(`/${name}.bin`, `/${name}`, { unpack: "auto" });
      assert.equal(text(`${name}/a/b`), "packed", name);
      assert.equal(statSync(join(root, `${name}/a/b`)).uid, 5);
    }
    await copy("/tar.bin", "/owned", { unpack: "auto", owner: { user: 9, group: undefined } });
    assert.equal(statSync(join(root, "owned/a/b")).gid, 9);
    put("plain.tar", "no archive at all");
    put("empty.tar", "");
    put("half.tar.gz", "");
    writeFileSync(join(context, "half.tar.gz"), Buffer.from("1f8b0800000000000003", "hex"));
    for (const name of ["plain.tar", "empty.tar", "half.tar.gz"]) {
      await copy(`/${name}`, "/as-is/", { unpack: "auto" });
      assert.deepEqual(readFileSync(join(root, "as-is", name)), readFileSync(join(context, name)));
    }
    await refuses(copy("/plain.tar", "/x/", { unpack: "always" }), "cannot unpack /plain.tar: it is no archive");
  });

  it("makes files and folders, with the links of the root followed inside it", async () => {
    mkdirSync(join(root, "real"));
    symlinkSync("/real", join(root, "link"));
    await run([
      { type: "mkdir", path: "/link/a/b", mode: 0o755, owner: { user: 4, group: 5 } },
      { type: "mkfile", target: "/link/a/file", data: "text\n", mode: 0o600, owner: undefined },
    ]);
    assert.equal(text("real/a/file"), "text\n");
    assert.equal(statSync(join(root, "real/a/b")).uid, 4);
    assert.equal(statSync(join(root, "real")).uid, 0);
    assert.equal(statSync(join(root, "real/a/file")).mode & 0o7777, 0o600);
    await refuses(
      run([{ type: "mkfile", target: "/real/a", data: "", mode: 0o600, owner: undefined }]),
      "open /real/a: is a directory",
    );
    await refuses(run([{ type: "mkdir", path: "/real/a/file/x", mode: 0o755, owner: undefined }]), /not a directory/);
  });

  it("never leads outside of a root or an input, whatever the links say", async () => {
    const outside = join(base, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "secret"), "secret");
    // Sources: by a link to the top, upwards, and through a folder that is a link.
    symlinkSync(join(outside, "secret"), join(context, "absolute"));
    symlinkSync("../../../../../../../../../..".concat(outside), join(context, "upwards"));
    symlinkSync(outside, join(context, "folder"));
    for (const source of ["/absolute", "/upwards/secret", "/folder/secret", "/../outside/secret", "/folder/*"]) {
      await copy(source, "/got/").catch((error: unknown) => assert.ok(isKind(error, "invalid"), messageOf(error)));
    }
    for (const path of existsSync(join(root, "got")) ? tree(join(root, "got")) : [])
      assert.ok(!lstatSync(join(root, "got", path)).isFile(), path);
    // Targets: of each kind of action.
    for (const link of [outside, `../../../../../../../../../..${outside}`]) {
      rmSync(root, { recursive: true });
      mkdirSync(root);
      symlinkSync(link, join(root, "out"));
      put("plain", "x");
      put("tree/out/x", "x");
      execFileSync("tar", ["-C", context, "-cf", join(context, "t.tar"), "plain"]);
      await copy("/plain", "/out/");
      await copy("/plain", "/out/a/b");
      await copy("/t.tar", "/out", { unpack: "auto" });
      await run([
        { type: "mkdir", path: "/out/made", mode: 0o755, owner: undefined },
        { type: "mkfile", target: "/out/file", data: "x", mode: 0o644, owner: undefined },
      ]);
      await refuses(copy("/tree", "/"), /cannot copy to non-directory: \/out/);
      assert.deepEqual(readdirSync(outside), ["secret"]);
      assert.ok(existsSync(join(root, outside, "plain")));
    }
  });

  it("copies a tree of many files on a thread, to its end or until it is given up", async () => {
    for (let index = 0; index < 1200; index++) put(`many/${index % 30}/${index}`, `${index}`);
    await copy("/many", "/to");
    assert.equal(tree(join(root, "to")).length, 1230);
    assert.equal(text("to/7/7"), "7");
    const { digest: whole, files: rows } = await digest("/many");
    assert.equal(rows?.size, 1200);
    assert.equal((await digest("/many")).digest, whole);
    abort.abort();
    await assert.rejects(copy("/many", "/again"), (error) => isKind(error, "cancelled"));
    await assert.rejects(digest("/many"), (error) => isKind(error, "cancelled"));
  });

  it("digests names, kinds, modes, owners, links, attributes and bytes, and no times", async () => {
    put("d/file", "1");
    put("d/sub/x", "2");
    symlinkSync("file", join(context, "d/link"));
    const of = async (more: Partial<CopyAction> = {}) => (await digest("/d", more)).digest;
    let last = await of();
    utimesSync(join(context, "d/file"), 1, 1);
    assert.equal(await of(), last);
    const changes: readonly (readonly [string, () => void])[] = [
      ["bytes", () => writeFileSync(join(context, "d/file"), "2")],
      ["mode", () => chmodSync(join(context, "d/file"), 0o755)],
      ["owner", () => chownSync(join(context, "d/file"), 1, 1)],
      ["group", () => chownSync(join(context, "d/file"), 1, 2)],
      ["folder's mode", () => chmodSync(join(context, "d/sub"), 0o700)],
      ["attribute", () => setXattr(join(context, "d/file"), "user.x", Buffer.from("1"))],
      ["attribute's value", () => setXattr(join(context, "d/file"), "user.x", Buffer.from("2"))],
      ["name", () => put("d/other", "2")],
      ["empty folder", () => put("d/empty/")],
      [
        "kind",
        () => {
          rmSync(join(context, "d/empty"), { recursive: true });
          put("d/empty");
        },
      ],
      [
        "link",
        () => {
          rmSync(join(context, "d/link"));
          symlinkSync("other", join(context, "d/link"));
        },
      ],
    ];
    for (const [what, change] of changes) {
      change();
      const next = await of();
      assert.notEqual(next, last, what);
      last = next;
    }
    // Of a folder whose contents are copied the folder itself doesn't count.
    chmodSync(join(context, "d"), 0o701);
    assert.equal(await of(), last);
    assert.notEqual(await of({ contentsOnly: false }), last);
    // What is left out is not read.
    const without = await of({ exclude: ["sub"] });
    writeFileSync(join(context, "d/sub/x"), "3");
    assert.equal(await of({ exclude: ["sub"] }), without);
    assert.notEqual(await of(), last);
  });

  it("asks an index for digests before it reads a file, and remembers those of snapshots", async () => {
    put("a", "text");
    put("b", "text");
    const asked: string[] = [];
    const index = {
      digest: (path: string) => {
        asked.push(path);
        return path === "a" ? `sha256:${"0".repeat(64)}` : undefined;
      },
    };
    const { files: rows } = await digest("/", {}, folderRoot(context, { index }));
    assert.deepEqual(asked, ["a", "b"]);
    assert.equal(rows?.get("a"), "0".repeat(64));
    assert.equal(rows?.get("b"), "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1");
    const snapshot = folderRoot(context, { snapshot: "sha256:s" });
    const before = await digest("/a", {}, snapshot);
    let opened = 0;
    const again = folderRoot(context, {
      snapshot: "sha256:s",
      open: async () => {
        opened++;
        return snapshot.open();
      },
    });
    assert.deepEqual(await digest("/a", {}, again), before);
    assert.equal(opened, 0);
    assert.notDeepEqual(await digest("/b", {}, again), before);
    assert.equal(opened, 1);
  });

  it("takes an empty root for one without files", async () => {
    await run([{ ...COPY, sources: ["/*"], target: "/" }], [undefined]);
    await run([{ ...COPY, sources: ["/"], target: "/" }], [undefined]);
    assert.deepEqual(tree(), []);
    await refuses(run([{ ...COPY, sources: ["/a"], target: "/" }], [undefined]), /"\/a": not found/);
    const whole = await files.digest(undefined, abort.signal);
    assert.match(whole.digest, /^sha256:[0-9a-f]{64}$/);
  });
});
