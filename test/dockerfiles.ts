import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { setXattr } from "../src/kernel/xattr.ts";
import { tarOf } from "./archive.ts";

const HERE = fileURLToPath(new URL(".", import.meta.url));
/** The time of all files of a context: what tools make of them may tell it. */
const WRITTEN = new Date("2024-01-02T03:04:06Z");

/** Who can build a Dockerfile besides Gantry. */
export type Referee =
  /** dockerd 20.10's classic builder. */
  | "classic"
  /** The BuildKit that is part of dockerd 20.10. */
  | "buildkit"
  /** buildkitd 0.11 and later: heredocs, links, named contexts. */
  | "buildkitd";

/** One of the Dockerfiles in `dockerfiles/`, and how it is built. */
export interface DockerfileCase {
  readonly name: string;
  /** Where its own folder lies; default: `dockerfiles`. */
  readonly folder?: string;
  /** The images made of it; default: that of the last stage. */
  readonly targets?: readonly string[];
  readonly buildArgs?: readonly string[];
  /** Below the case's folder; default: the folder itself. */
  readonly context?: string;
  /** Names to folders, or to images as `docker-image://…`. */
  readonly contexts?: Readonly<Record<string, string>>;
  /** Ids to files. */
  readonly secrets?: Readonly<Record<string, string>>;
  readonly referees: readonly Referee[];
  /** Adds what no repository holds: owners, modes, hard links, attributes, archives, odd names. */
  readonly prepare?: (context: string) => void;
}

const ALL: readonly Referee[] = ["classic", "buildkit"];

/** The images that the Dockerfiles begin with, as stages of `toolchains/Dockerfile`. */
export const TOOLCHAINS: Readonly<Record<string, string>> = {
  node: "node:20-bookworm-slim",
  "node-onbuild": "node:20-onbuild",
  python: "python:3.11-slim",
  golang: "golang:1.22-bookworm",
  java: "eclipse-temurin:17-jdk",
  php: "php:8.2-fpm",
  ruby: "ruby:3.1-slim",
  gcc: "gcc:12",
};

export const DOCKERFILES: readonly DockerfileCase[] = [
  { name: "node-service", referees: ALL, buildArgs: ["COMMIT=0f3c"], prepare: nodePackages },
  { name: "node-workspaces", referees: ALL, targets: ["api", "web"], prepare: workspaces },
  { name: "node-onbuild", referees: ALL, buildArgs: ["NODE_ENV=staging"], prepare: nodePackages },
  { name: "python-service", referees: ALL },
  { name: "python-mounts", referees: ["buildkitd"], secrets: { token: "token.secret" } },
  { name: "go-service", referees: ALL, buildArgs: ["VERSION=1.2.3"] },
  { name: "go-tools", referees: ALL, prepare: hardLinks },
  { name: "java-service", referees: ALL },
  { name: "php-service", referees: ALL, prepare: storage },
  { name: "ruby-service", referees: ALL, prepare: gems },
  { name: "c-service", referees: ALL, prepare: specialModes },
  { name: "static-site", referees: ALL, prepare: archives },
  { name: "cron-worker", referees: ALL },
  {
    name: "arguments",
    referees: ALL,
    buildArgs: ["GIVEN=given", "OVERRIDDEN=three", "HTTP_PROXY=http://proxy.invalid:3128", "GLOBAL=from outside"],
  },
  { name: "links-and-kinds", referees: ALL, prepare: emptyFolders },
  { name: "odd-names", referees: ALL, prepare: oddNames },
  { name: "big-files", referees: ALL, prepare: bigFiles },
  { name: "ignore-rules", referees: ALL, prepare: repositories },
  { name: "heredocs", referees: ["buildkitd"] },
  {
    name: "named-contexts",
    referees: ["buildkitd"],
    context: "service",
    contexts: { shared: "libraries/shared", protos: "protos", rootfs: "docker-image://gcc:12" },
  },
];

/** Copies a case to `target`, as its Dockerfile is to find it. Returns `target`. */
export function prepareCase(
  { folder = "dockerfiles", name, prepare }: Pick<DockerfileCase, "folder" | "name" | "prepare">,
  target: string,
): string {
  cpSync(join(HERE, folder, name), target, { recursive: true, verbatimSymlinks: true });
  plainModes(target);
  prepare?.(target);
  equalTimes(target);
  return target;
}

function equalTimes(path: string): void {
  if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) equalTimes(join(path, name));
  lutimesSync(path, WRITTEN, WRITTEN);
}

/** A checkout keeps no more of a mode than whether its owner may execute it. */
function plainModes(path: string): void {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) return;
  chmodSync(path, stat.isDirectory() || (stat.mode & 0o100) !== 0 ? 0o755 : 0o644);
  if (stat.isDirectory()) for (const name of readdirSync(path)) plainModes(join(path, name));
}

function put(path: string, bytes: string | Uint8Array, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  writeFileSync(path, bytes);
  chmodSync(path, mode);
}

function nodePackages(context: string): void {
  const packages = {
    "router-2.0.0": "module.exports = {};\n",
    "words-1.1.0": "exports.hello = 1;\n",
    "dev-types-5.0.0": "",
  };
  for (const [name, text] of Object.entries(packages)) {
    const files = [
      { name: "package/", type: "directory" as const },
      { name: "package/package.json", body: `{ "name": "${name}" }\n` },
      { name: "package/index.js", body: text },
      ...(name.startsWith("words") ? [] : [{ name: "package/cli.js", body: "#!/usr/bin/env node\n", mode: 0o755 }]),
    ];
    put(join(context, "vendor", `${name}.tgz`), gzipSync(tarOf(files)));
  }
  put(join(context, "node_modules/router/index.js"), "left behind by somebody's own installation\n");
  put(join(context, "debug.log"), "much\n");
}

function workspaces(context: string): void {
  nodePackages(context);
  put(join(context, "packages/shared/node_modules/pinned/index.js"), "exports.pinned = true;\n");
  put(join(context, "packages/shared/node_modules/other/index.js"), "exports.other = true;\n");
  put(join(context, "packages/web/.cache/x/y"), "cached\n");
  mkdirSync(join(context, "packages/web/empty"), { mode: 0o755 });
}

function hardLinks(context: string): void {
  linkSync(join(context, "links/a"), join(context, "links/b"));
  mkdirSync(join(context, "links/inner"), { mode: 0o755 });
  linkSync(join(context, "links/a"), join(context, "links/inner/c"));
  chmodSync(join(context, "links/a"), 0o640);
}

function storage(context: string): void {
  mkdirSync(join(context, "storage/logs"), { mode: 0o755 });
  chmodSync(join(context, "storage"), 0o775);
  chownSync(join(context, "public/run.php"), 1234, 1234);
}

function gems(context: string): void {
  const data = gzipSync(
    tarOf([
      { name: "lib/", type: "directory" },
      { name: "lib/rackish.rb", body: "module Rackish; end\n" },
      { name: "README.md", body: "rackish\n" },
    ]),
  );
  put(join(context, "vendor/cache/rackish-1.0.gem"), tarOf([{ name: "data.tar.gz", body: data }]));
  put(join(context, "vendor/cache/README"), "not a gem\n");
}

/** What `setcap cap_net_raw+ep` writes: version 2 of struct vfs_cap_data, and effective. */
const NET_RAW = Buffer.from([1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

function specialModes(context: string): void {
  const prebuilt = join(context, "prebuilt");
  chmodSync(join(prebuilt, "capable"), 0o755);
  setXattr(join(prebuilt, "capable"), "security.capability", NET_RAW);
  chmodSync(join(prebuilt, "setuid"), 0o4755);
  chmodSync(join(prebuilt, "sticky"), 0o1644);
  mkdirSync(join(prebuilt, "shared"));
  chmodSync(join(prebuilt, "shared"), 0o3777);
}

function archives(context: string): void {
  const site = tarOf([
    { name: "./", type: "directory", mode: 0o755 },
    { name: "./index.html", body: "<title>site</title>\n", uid: 1000, gid: 1000 },
    { name: "./assets/", type: "directory", mode: 0o750, uid: 12, gid: 13 },
    { name: "./assets/logo.svg", body: "<svg/>\n", mode: 0o600 },
    { name: "./assets/same.svg", type: "hardlink", link: "./assets/logo.svg", mode: 0o600 },
    { name: "./latest", type: "symlink", link: "assets/logo.svg", mode: 0o777 },
    { name: "./outside", type: "symlink", link: "/etc/hostname", mode: 0o777 },
    { name: `./${"long/".repeat(30)}`, type: "directory" },
    { name: `./${"long/".repeat(30)}name`, body: "deep\n", xattrs: { "user.kind": "page" } },
    { name: "./bin", body: "tool\n", mode: 0o6755 },
  ]);
  put(join(context, "site.tar.gz"), gzipSync(site));
  const fonts = tarOf([{ name: "fonts/a.woff", body: "font".repeat(500) }]);
  put(join(context, "fonts.tar.xz"), execFileSync("xz", ["-c"], { input: fonts }));
  put(join(context, "plain.tar"), tarOf([{ name: "plain/file", body: "plain\n", mode: 0o444 }]));
}

function emptyFolders(context: string): void {
  mkdirSync(join(context, "context/empty"), { mode: 0o755 });
  mkdirSync(join(context, "context/inner/hollow"), { mode: 0o755 });
}

function oddNames(context: string): void {
  const names = ["with space", "with  two", "a.txt", "ünï.txt", "größe", "[bracket]", "abc", "b", 'quo"te', "$dollar"];
  const more = ["-dash", "-dash2", "日本", "e\u0301", "\u00e9", "tab\there", "back\\slash", "*star", "x".repeat(255)];
  for (const name of [...names, ...more]) put(join(context, "names", name), `${name}\n`);
}

function bigFiles(context: string): void {
  const random = Buffer.alloc(3_000_000);
  for (let at = 0, state = 7; at < random.length; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    random[at] = state >>> 16;
  }
  put(join(context, "random.bin"), random);
  put(join(context, "sparse.bin"), "begin");
  truncateSync(join(context, "sparse.bin"), 8 << 20);
  put(join(context, "deep", "d/".repeat(60), "bottom"), "deep\n");
}

/** A repository can't lie in another one. */
function repositories(context: string): void {
  for (const path of [".git/config", "sub/.git/config"]) put(join(context, path), "[core]\n");
}
