import assert from "node:assert/strict";
import { test } from "node:test";
import { type GitUrl, parseGitUrl } from "./git-url.ts";

const plain = { ref: "", subdir: "", checksum: undefined, keepGitDir: undefined };

test("repositories are told from files and archives, with branch, folder and query", () => {
  const table: readonly (readonly [string, Partial<GitUrl> | undefined])[] = [
    ["https://host/a/b.git", { remote: "https://host/a/b.git" }],
    ["https://host/a/b.git#v1:sub/dir", { remote: "https://host/a/b.git", ref: "v1", subdir: "sub/dir" }],
    ["https://host/b.git?branch=x&subdir=d", { remote: "https://host/b.git", ref: "refs/heads/x", subdir: "d" }],
    [
      "https://host/b.git?tag=v1&keep-git-dir&commit=abc",
      { remote: "https://host/b.git", ref: "refs/tags/v1", keepGitDir: true, checksum: "abc" },
    ],
    [
      "https://host/b.git?submodules=0&mtime=commit",
      { remote: "https://host/b.git", skipSubmodules: true, commitTimes: true },
    ],
    [
      "https://host/b.git?submodules&mtime=checkout&fetch-by-commit",
      { remote: "https://host/b.git", fetchByCommit: true },
    ],
    ["git@host:a/b.git#main", { remote: "git@host:a/b.git", ref: "main" }],
    ["ssh://git@host/a", { remote: "ssh://git@host/a" }],
    ["git://host/a", { remote: "git://host/a" }],
    ["https://host/a.tar.gz", undefined],
    ["https://host/a?x=b.git", undefined],
    ["./a.git", undefined],
    ["a@b", undefined],
    ["github.com/a/b", undefined],
  ];
  for (const [text, wanted] of table) {
    assert.deepEqual(parseGitUrl(text), wanted === undefined ? undefined : { ...plain, ...wanted }, text);
  }
});

test("what would be an option of git or is not understood is refused", () => {
  for (const text of [
    "https://host/a.git#--upload-pack=x",
    "https://host/a.git?ref=-x",
    "https://host/a.git?what=x",
    "https://host/a.git?ref=a&ref=b",
    "https://host/a.git?ref=a#b",
    "https://host/a.git?ref=",
    "https://host/a.git?tag=a&branch=b",
    "https://host/a.git?submodules=maybe",
    "https://host/a.git?mtime=now",
  ]) {
    assert.throws(() => parseGitUrl(text), { kind: "invalid" }, text);
  }
});
