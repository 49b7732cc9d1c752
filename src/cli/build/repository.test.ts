import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { repositoryOf, repositoryOptions } from "./repository.ts";

const hasGit = ((): boolean => {
  try {
    execFileSync("git", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

describe("a context's repository", { skip: hasGit ? false : "git is not installed" }, () => {
  let root: string;
  let commit: string;
  const git = (...args: readonly string[]): string =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@example.com", "-C", root, ...args], {
      env: { PATH: process.env.PATH, GIT_CONFIG_NOSYSTEM: "1", HOME: root },
    })
      .toString()
      .trim();
  before(() => {
    root = mkdtempSync(join(tmpdir(), "gantry-repository-"));
    mkdirSync(join(root, "app"));
    git("init", "-q", "-b", "main");
    writeFileSync(join(root, "app/f"), "x");
    git("add", ".");
    git("commit", "-q", "-m", "one");
    commit = git("rev-parse", "HEAD");
  });
  after(() => rmSync(root, { recursive: true, force: true }));

  const told = (env: NodeJS.ProcessEnv) => {
    const app = join(root, "app");
    return repositoryOptions(app, join(app, "Dockerfile"), new Map([["context", app]]), env);
  };

  test("is told with its commit, its remote without a password, and where folders lie in it", async () => {
    assert.deepEqual(await told({}), {
      "vcs:revision": commit,
      "vcs:localdir:context": "app",
      "vcs:localdir:dockerfile": "app",
    });
    git("remote", "add", "other", "https://example.com/other.git");
    git("remote", "add", "origin", "https://me:hidden@example.com/x.git");
    assert.equal((await told({}))["vcs:source"], "https://example.com/x.git");
    git("config", "branch.main.remote", "other");
    assert.equal(repositoryOf(root)?.source, "https://example.com/other.git");
    git("config", "--unset", "branch.main.remote");
  });

  test("is told in labels or not at all, as the environment says", async () => {
    assert.deepEqual(await told({ BUILDX_GIT_INFO: "false" }), {});
    assert.deepEqual(await told({ BUILDX_GIT_INFO: "0", BUILDX_GIT_LABELS: "1" }), {
      "label:org.opencontainers.image.revision": commit,
      "label:org.opencontainers.image.source": "https://example.com/x.git",
      "label:com.docker.image.source.entrypoint": "app/Dockerfile",
    });
  });

  test("is looked through for changes where that is asked for", async () => {
    const env = { ...process.env, BUILDX_GIT_CHECK_DIRTY: "1" };
    assert.equal((await told(env))["vcs:revision"], commit);
    writeFileSync(join(root, "app/f"), "other");
    assert.equal((await told(env))["vcs:revision"], `${commit}-dirty`);
    assert.equal((await told({}))["vcs:revision"], commit);
  });

  test("has the same commit packed, detached and in another work tree", () => {
    git("pack-refs", "--all");
    assert.equal(repositoryOf(root)?.revision, commit);
    git("worktree", "add", "-q", join(root, "tree"), "-b", "side");
    assert.equal(repositoryOf(join(root, "tree"))?.revision, commit);
    git("checkout", "-q", "--detach");
    assert.equal(repositoryOf(root)?.revision, commit);
  });
});
