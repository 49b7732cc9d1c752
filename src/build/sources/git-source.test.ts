import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { FakeSession, folderRoots } from "../contexts/fake-session.fixture.ts";
import { DenyRanges } from "../deny-ranges.ts";
import type { GitOperation } from "../graph.ts";
import type { Root } from "../root.ts";
import { gitContext } from "./git-remote.ts";
import { GitRepository, GitServer, gitPrograms } from "./git-server.fixture.ts";
import { GitSource } from "./git-source.ts";

const SKIP = gitPrograms() === undefined ? "there is no git that serves repositories" : false;
const settings = () => ({ proxies: { http: "", https: "", exceptions: "" } });

let repositories = "";
let repository: GitRepository;
let first = "";
let second = "";
let root = "";
let server: GitServer;
let source: GitSource;

before(() => {
  if (SKIP !== false) return;
  repositories = mkdtempSync(join(tmpdir(), "gantry-git-served-"));
  repository = new GitRepository(join(repositories, "app.git"));
  const file = (name: string, text: string) => writeFileSync(join(repository.folder, name), text);
  mkdirSync(join(repository.folder, "sub/deep"), { recursive: true });
  file("Dockerfile", "FROM scratch\n");
  file("sub/deep/a", "first\n");
  first = repository.commit("first");
  repository.run("tag", "v1");
  file("sub/deep/a", "second\n");
  file("run.sh", "#!/bin/sh\n");
  chmodSync(join(repository.folder, "run.sh"), 0o755);
  symlinkSync("/etc", join(repository.folder, "outside"));
  symlinkSync("sub/deep", join(repository.folder, "inside"));
  second = repository.commit("second");
  repository.run("tag", "-a", "v2", "-m", "annotated");
  repository.run("branch", "side", first);
});

after(() => rmSync(repositories, { recursive: true, force: true }));

beforeEach(async () => {
  if (SKIP !== false) return;
  root = mkdtempSync(join(tmpdir(), "gantry-git-source-"));
  server = await GitServer.start(repositories);
  source = await openSource();
});

afterEach(async () => {
  if (SKIP !== false) return;
  await server[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});

async function openSource(): Promise<GitSource> {
  const opened = new GitSource({ root: join(root, "git"), roots: folderRoots(), settings });
  await opened.recover();
  return opened;
}

interface Wish extends Partial<GitOperation> {
  readonly session?: FakeSession;
  readonly deny?: readonly string[];
}

function resolve({ session, deny = [], ...operation }: Wish = {}) {
  const whole: GitOperation = {
    ...{ kind: "git", remote: `${server.url}/app.git`, ref: "", subdir: "", keepGitDir: false },
    ...operation,
  };
  const { signal } = new AbortController();
  return source.resolve(whole, { session, deny: new DenyRanges(deny), signal });
}

async function checkout(wish?: Wish): Promise<Root> {
  const held = await (await resolve(wish)).root();
  assert.ok(held !== undefined);
  return held;
}

test("the default branch, branches, tags and commits are checked out", { skip: SKIP }, async () => {
  const wanted: readonly (readonly [string, string])[] = [
    ["", "second\n"],
    ["main", "second\n"],
    ["side", "first\n"],
    ["refs/heads/side", "first\n"],
    ["v1", "first\n"],
    ["v2", "second\n"],
    ["refs/tags/v2", "second\n"],
    [first, "first\n"],
  ];
  const commits = new Map([
    ["first\n", first],
    ["second\n", second],
  ]);
  for (const [ref, text] of wanted)
    assert.equal((await resolve({ ref })).key, (await resolve({ ref: commits.get(text) })).key);
  for (const [ref, text] of wanted.filter(([ref]) => ["", "side", "v2", first].includes(ref))) {
    await using held = await checkout({ ref });
    assert.equal(readFileSync(join(held.folder ?? "", "sub/deep/a"), "utf8"), text, ref);
    assert.equal(existsSync(join(held.folder ?? "", ".git")), false);
  }
  await using held = await checkout();
  assert.equal(statSync(join(held.folder ?? "", "run.sh")).mode & 0o777, 0o755);
  assert.equal(statSync(join(held.folder ?? "", "Dockerfile")).mode & 0o777, 0o644);
});

test("equal commits are one source, whatever they are called; the folder counts", { skip: SKIP }, async () => {
  const { key } = await resolve({ ref: "main" });
  assert.notEqual((await resolve({ ref: "v1" })).key, key);
  assert.notEqual((await resolve({ ref: "main", subdir: "sub" })).key, key);
  assert.notEqual((await resolve({ ref: "main", keepGitDir: true })).key, key);
});

test("a commit that is here is not fetched again, also after a restart", { skip: SKIP }, async () => {
  await (await checkout({ ref: first }))[Symbol.asyncDispose]();
  source = await openSource();
  server.asked.length = 0;
  await (await checkout({ ref: first }))[Symbol.asyncDispose]();
  assert.equal(server.asked.length, 0);
});

test("the checksum of a commit is held", { skip: SKIP }, async () => {
  await resolve({ ref: "main", checksum: second });
  await resolve({ ref: "main", checksum: second.slice(0, 12) });
  await assert.rejects(resolve({ ref: "main", checksum: first }), {
    kind: "invalid",
    message: `expected checksum to match ${first}, got ${second}`,
  });
});

test("a folder of a repository is found in it and nowhere else (CVE-2026-33748)", { skip: SKIP }, async () => {
  for (const subdir of ["sub/deep", "/sub/deep/", "inside", "../../sub/deep"]) {
    await using held = await checkout({ ref: second, subdir });
    assert.equal(readFileSync(join(held.folder ?? "", "a"), "utf8"), "second\n", subdir);
  }
  for (const subdir of ["outside", "outside/ssh", "missing", "Dockerfile"]) {
    await assert.rejects(checkout({ ref: second, subdir }), { kind: "not-found" }, subdir);
  }
});

test("the repository's own folder is kept when it is asked for", { skip: SKIP }, async () => {
  await using held = await checkout({ keepGitDir: true });
  const folder = held.folder ?? "";
  assert.match(readFileSync(join(folder, ".git/config"), "utf8"), new RegExp(`url = ${server.url}/app.git`));
  assert.equal(readFileSync(join(folder, ".git/HEAD"), "utf8").trim(), second);
  assert.equal(existsSync(join(folder, ".git/hooks")), false);
});

test("what isn't there is told by name", { skip: SKIP }, async () => {
  await assert.rejects(resolve({ ref: "nothing" }), { message: "repository does not contain ref nothing" });
  await assert.rejects(checkout({ ref: "0".repeat(40) }), /0{40}/);
  await assert.rejects(resolve({ remote: `${server.url}/none.git` }), /git ls-remote failed/);
});

test("what git could take for an option or a program is refused before it runs", { skip: SKIP }, async () => {
  const marker = join(root, "ran");
  const refs = ["--upload-pack=touch", "-x", "a..b", "a b", "a:b", "a\nb", "@{1}", "a^{}", "/a", "a/", "a.", "a\0"];
  for (const ref of refs) await assert.rejects(resolve({ ref }), { kind: "invalid" }, ref);
  const remotes = [
    `ext::sh -c "touch ${marker}"`,
    `ext::touch`,
    `fd::1`,
    `file://${repositories}/app.git`,
    `${repositories}/app.git`,
    `--upload-pack=touch ${marker}`,
    "-u",
    `ssh://-oProxyCommand=touch/x`,
    "ssh://%2doProxyCommand=touch/x",
    "-oProxyCommand=touch:x",
    "host:-x",
    "http://",
    "ftp://127.0.0.1/x",
    "http://host/a b",
  ];
  for (const remote of remotes) await assert.rejects(resolve({ remote }), { kind: "invalid" }, remote);
  assert.equal(existsSync(marker), false);
  assert.equal(server.asked.length, 0);
});

test("hooks, filters and submodules of folders or programs don't run", { skip: SKIP }, async () => {
  const marker = join(root, "ran");
  const evil = new GitRepository(join(repositories, "evil.git"));
  try {
    writeFileSync(join(evil.folder, ".gitattributes"), "* filter=evil diff=evil\n");
    writeFileSync(join(evil.folder, "file"), "text\n");
    evil.commit("plain");
    for (const url of [`ext::sh -c "touch ${marker}"`, `file://${repository.folder}`, repository.folder]) {
      writeFileSync(
        join(evil.folder, ".gitmodules"),
        `[submodule "s"]\n\tpath = s\n\turl = ${JSON.stringify(url)}\n\tupdate = !touch ${marker}\n`,
      );
      evil.run("add", "--all");
      evil.run("update-index", "--add", "--cacheinfo", `160000,${first},s`);
      evil.run("commit", "--quiet", "-m", "submodule");
      await assert.rejects(checkout({ remote: `${server.url}/evil.git` }), /git submodule failed/, url);
    }
    assert.equal(existsSync(marker), false);
    const [id = ""] = readdirSync(join(root, "git"));
    assert.deepEqual(readdirSync(join(root, "git", id)).sort(), ["meta.json", "repository"]);
  } finally {
    rmSync(evil.folder, { recursive: true, force: true });
  }
});

test("submodules of the network are fetched", { skip: SKIP }, async () => {
  const outer = new GitRepository(join(repositories, "outer.git"));
  try {
    writeFileSync(join(outer.folder, ".gitmodules"), `[submodule "s"]\n\tpath = mods/s\n\turl = ../app.git\n`);
    outer.run("add", "--all");
    outer.run("update-index", "--add", "--cacheinfo", `160000,${second},mods/s`);
    outer.run("commit", "--quiet", "-m", "submodule");
    await using held = await checkout({ remote: `${server.url}/outer.git` });
    const folder = join(held.folder ?? "", "mods/s");
    assert.equal(readFileSync(join(folder, "sub/deep/a"), "utf8"), "second\n");
    assert.equal(existsSync(join(folder, ".git")), false);
  } finally {
    rmSync(outer.folder, { recursive: true, force: true });
  }
});

test("a token goes to its server, and to no command line, folder or message", { skip: SKIP }, async () => {
  const token = "hidden-token-canary";
  const proof = `Basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`;
  server.instead = (request, response) => {
    if (request.headers.authorization?.toLowerCase() === proof.toLowerCase()) return false;
    response.writeHead(401, { "WWW-Authenticate": "Basic" }).end();
    return true;
  };
  await assert.rejects(resolve(), /git ls-remote failed/);
  const session = new FakeSession({});
  session.secrets.set("GIT_AUTH_TOKEN", `${token}\n`);
  await using held = await checkout({ session });
  assert.equal(existsSync(join(held.folder ?? "", "Dockerfile")), true);
  const own = new FakeSession({});
  own.secrets.set(`GIT_AUTH_TOKEN.${new URL(server.url).host}`, token).set("GIT_AUTH_TOKEN", "wrong");
  await resolve({ session: own });
  await (await checkout({ session, keepGitDir: true }))[Symbol.asyncDispose]();
  for (const name of readdirSync(join(root, "git"), { recursive: true }) as string[]) {
    const path = join(root, "git", name);
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) continue;
    const text = readFileSync(path, "latin1");
    assert.equal(text.includes(token) || text.includes(proof.slice(6)), false, name);
  }
  const wrong = new FakeSession({});
  wrong.secrets.set("GIT_AUTH_HEADER", "bearer also-hidden-canary");
  await assert.rejects(resolve({ session: wrong, ref: "x" }), (error: Error) => !error.message.includes("hidden"));
});

test("a token is not taken along by a redirect", { skip: SKIP }, async () => {
  await using elsewhere = await GitServer.start(repositories);
  server.instead = (request, response) => {
    response.writeHead(301, { Location: `${elsewhere.url}${request.url}` }).end();
    return true;
  };
  await using held = await checkout();
  assert.equal(existsSync(join(held.folder ?? "", "Dockerfile")), true);
  const before = elsewhere.asked.length;
  const session = new FakeSession({});
  session.secrets.set("GIT_AUTH_TOKEN", "hidden");
  await assert.rejects(resolve({ session, ref: "side" }), /git ls-remote failed/);
  assert.equal(elsewhere.asked.length, before);
});

test("denied addresses are not reached by git, nor by its redirects", { skip: SKIP }, async () => {
  await assert.rejects(resolve({ deny: ["private"] }), { kind: "forbidden", message: /127\.0\.0\.1/ });
  assert.equal(server.asked.length, 0);
  await using held = await checkout({ deny: ["10.0.0.0/8"] });
  assert.equal(existsSync(join(held.folder ?? "", "Dockerfile")), true);
  server.instead = (request, response) => {
    response.writeHead(301, { Location: `http://169.254.169.254${request.url}` }).end();
    return true;
  };
  await assert.rejects(resolve({ ref: "side", deny: ["169.254.0.0/16"] }), { kind: "forbidden", message: /169\.254/ });
  await assert.rejects(resolve({ remote: "git://127.0.0.1/x", deny: ["private"] }), { kind: "forbidden" });
  await assert.rejects(resolve({ remote: "git@127.0.0.1:x", deny: ["private"] }), { kind: "forbidden" });
});

test("an abort ends git and leaves nothing half done", { skip: SKIP }, async () => {
  const controller = new AbortController();
  server.instead = () => {
    controller.abort();
    return true;
  };
  const operation: GitOperation = {
    kind: "git",
    remote: `${server.url}/app.git`,
    ref: "",
    subdir: "",
    keepGitDir: false,
  };
  const options = { session: undefined, deny: new DenyRanges([]), signal: controller.signal };
  await assert.rejects(source.resolve(operation, options), { kind: "cancelled" });
  server.instead = () => false;
  await using held = await checkout();
  assert.equal(existsSync(join(held.folder ?? "", "Dockerfile")), true);
});

test("usage tells clones; what is in use stays", { skip: SKIP }, async () => {
  const held = await checkout();
  const [row] = await source.usage();
  assert.equal(row?.type, "source.git.checkout");
  assert.equal(row?.description, `git repository ${server.url}/app.git`);
  assert.equal(row?.inUse, true);
  assert.ok((row?.size ?? 0) > 0);
  assert.equal(await source.remove(row?.id ?? ""), undefined);
  await held[Symbol.asyncDispose]();
  assert.ok(((await source.remove(row?.id ?? "")) ?? 0) > 0);
  assert.deepEqual(readdirSync(join(root, "git")), []);
});

test("a context's repository is read as Docker's clients write it", () => {
  const table: readonly (readonly [string, Partial<GitOperation>])[] = [
    ["https://host/a.git#main:sub/dir", { remote: "https://host/a.git", ref: "main", subdir: "sub/dir" }],
    ["github.com/user/repo", { remote: "https://github.com/user/repo.git" }],
    ["github.com/user/repo#v1", { remote: "https://github.com/user/repo.git", ref: "v1" }],
    ["git@host:user/repo#:sub", { remote: "git@host:user/repo", subdir: "sub" }],
    ["https://host/no-suffix#x:y:z", { remote: "https://host/no-suffix", ref: "x", subdir: "y:z" }],
  ];
  for (const [text, wanted] of table) {
    assert.deepEqual(gitContext(text), { kind: "git", ref: "", subdir: "", keepGitDir: false, ...wanted }, text);
  }
});

test("who an address says uses it is told to its server, and is in no command line", { skip: SKIP }, async () => {
  const password = "p@ss/w:rd%";
  const login = `jo%65:${encodeURIComponent(password)}`;
  const wanted = `Basic ${Buffer.from(`joe:${password}`).toString("base64")}`;
  const lines: string[] = [];
  server.instead = (request, response) => {
    lines.push(...commandLines());
    if (request.headers.authorization === wanted) return false;
    response.writeHead(401, { "WWW-Authenticate": 'Basic realm="here"' }).end();
    return true;
  };
  const remote = `${server.url.replace("//", `//${login}@`)}/app.git`;
  await using root = await checkout({ remote });
  assert.equal(readFileSync(join(root.folder!, "sub/deep/a"), "utf8"), "second\n");
  assert.ok(lines.some((line) => line.includes("ls-remote")) && lines.some((line) => line.includes("fetch")));
  for (const secret of [password, encodeURIComponent(password), wanted.slice(6)])
    assert.ok(!lines.some((line) => line.includes(secret)));
  const wrong = resolve({ remote: remote.replace("jo%65", "eve") });
  await assert.rejects(wrong, (error: Error) => {
    assert.match(error.message, /Authentication failed|could not read/);
    assert.ok(!error.message.includes(password) && !error.message.includes(encodeURIComponent(password)));
    return true;
  });
});

test("who an address says uses it is not told to another server", { skip: SKIP }, async () => {
  await using other = await GitServer.start(repositories);
  const told: (string | undefined)[] = [];
  other.instead = (request, response) => {
    told.push(request.headers.authorization);
    response.writeHead(401, { "WWW-Authenticate": 'Basic realm="there"' }).end();
    return true;
  };
  server.instead = (request, response) => {
    response.writeHead(302, { Location: `${other.url}${request.url}` }).end();
    return true;
  };
  await assert.rejects(resolve({ remote: `${server.url.replace("//", "//joe:secret@")}/app.git` }));
  assert.ok(told.length > 0);
  assert.deepEqual([...new Set(told)], [undefined]);
});

/** Of this process's children and theirs, as everybody may read them. */
function commandLines(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")];
      } catch {
        return [];
      }
    });
}
