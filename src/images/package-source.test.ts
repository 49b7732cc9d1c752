import assert from "node:assert/strict";
import { test } from "node:test";
import { parseLines, parseStanzas, sourcesForSuite } from "./package-source.ts";

test("sources are read in the one-line format", () => {
  const text = [
    "# deb http://commented.example/debian bookworm main",
    "deb http://deb.example/debian bookworm main contrib # why",
    "deb-src http://deb.example/debian bookworm main",
    "deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg trusted=yes] http://x.example/ ./",
  ].join("\n");
  assert.deepEqual(parseLines(text), [
    { uri: "http://deb.example/debian", suite: "bookworm", components: ["main", "contrib"], trusted: false },
    { uri: "http://x.example/", suite: "./", components: [], trusted: true, signedBy: "/usr/share/keyrings/x.gpg" },
  ]);
});

test("sources are read in deb822's format, several suites and folded keys included", () => {
  const text = [
    "Types: deb deb-src",
    "# a comment",
    "URIs: http://deb.example/debian",
    "Suites: bookworm bookworm-updates",
    "Components: main",
    "Signed-By:",
    " -----BEGIN PGP PUBLIC KEY BLOCK-----",
    " .",
    " abc",
    "",
    "Types: deb",
    "URIs: http://off.example/",
    "Suites: bookworm",
    "Components: main",
    "Enabled: no",
  ].join("\n");
  const signedBy = "\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc";
  const rest = { uri: "http://deb.example/debian", components: ["main"], trusted: false, signedBy };
  assert.deepEqual(parseStanzas(text), [
    { suite: "bookworm", ...rest },
    { suite: "bookworm-updates", ...rest },
  ]);
});

test("another suite is taken from the machine's own archives", () => {
  const rest = { components: ["main", "contrib"], trusted: false };
  const sources = [
    { uri: "http://a/debian", suite: "bookworm", ...rest },
    { uri: "http://a/debian", suite: "bookworm-updates", ...rest },
    { uri: "http://a/security", suite: "bookworm-security", ...rest },
    { uri: "http://b/other", suite: "nodistro", ...rest },
  ];
  const rows = (suite: string) =>
    sourcesForSuite(sources, "bookworm", suite).map((source) => `${source.uri} ${source.suite} ${source.components}`);
  assert.deepEqual(rows("trixie"), [
    "http://a/debian trixie main",
    "http://a/debian trixie-updates main",
    "http://a/security trixie-security main",
  ]);
  assert.deepEqual(rows("bookworm").length, 3);
  assert.deepEqual(rows("sid"), ["http://a/debian sid main"]);
});
