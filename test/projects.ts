import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { type TarEntry, tarOf } from "./archive.ts";
import type { Base } from "./base-recipes.ts";
import type { DockerfileCase } from "./dockerfiles.ts";

/** Who can build a project besides Gantry. */
export type ProjectReferee =
  /** dockerd 20.10's classic builder, and the BuildKit that is part of it. */
  | "classic"
  | "buildkit"
  /** A newer BuildKit: with heredocs and links. */
  | "newer"
  | "buildah";

/** One of the projects in `projects/`: real sources, built by real compilers. */
export interface Project extends DockerfileCase {
  readonly bases: readonly Base[];
  readonly builders: readonly ProjectReferee[];
  /** What each image answers: a server at its port 8080, or what it prints. */
  readonly answers: readonly Answer[];
}

export interface Answer {
  /** Path of a request; without one it is the output that counts. */
  readonly path?: string;
  readonly text: string;
}

const EVERY: readonly ProjectReferee[] = ["classic", "buildkit", "newer", "buildah"];
/** Steps have mounts, which the classic builder doesn't know. */
const MOUNTS: readonly ProjectReferee[] = ["buildkit", "newer", "buildah"];

export const PROJECTS: readonly Project[] = [
  project("node-service", ["node:slim"], [{ path: "/greet/you", text: "hello you\n" }], {
    buildArgs: ["COMMIT=0f3c"],
    prepare: (context) => npmPackages(context, ["find-my-way", "semver"], { dev: ["semver"] }),
  }),
  project("node-typescript", ["node:current-slim"], [{ path: "/", text: "# typescript\nhello from typescript\n" }]),
  project("node-onbuild", ["node:slim"], [{ path: "/", text: "hello from staging\n" }], {
    buildArgs: ["NODE_ENV=staging"],
    prepare: (context) => npmPackages(context, ["ws"]),
  }),
  project(
    "node-workspaces",
    ["node:slim", "debian:stable-slim"],
    [
      { path: "/", text: "hello from api\n" },
      { text: "<!doctype html>\n<title>hello from web</title>\n" },
      { text: "hello from worker --once\n" },
    ],
    { targets: ["api", "web", "worker"], prepare: workspaces },
  ),
  project("python-service", ["python:3-slim"], [{ path: "/", text: "hello from python\n" }]),
  project("python-mounts", ["python:3-slim"], [{ text: "hello from mounts: 68\n" }], {
    secrets: { token: "token.secret" },
    builders: MOUNTS,
  }),
  project("python-zipapp", ["python:3-slim"], [{ text: "hello from zipapp: 42\n" }], { prepare: table }),
  project("go-service", ["golang:1"], [{ path: "/", text: "hello from go 1.2.3\n" }], { buildArgs: ["VERSION=1.2.3"] }),
  project("go-tools", ["golang:1", "debian:stable-slim"], [{ text: "hello from tools\n" }], { builders: MOUNTS }),
  project("java-service", ["openjdk:jdk-slim"], [{ path: "/", text: "hello from java\n" }]),
  project("java-modules", ["openjdk:jdk-slim"], [{ text: "hello from modules\n" }]),
  project("php-service", ["php:cli"], [{ path: "/", text: "hello from php\n" }]),
  project("php-packages", ["php:cli"], [{ text: "hello from packages\n" }]),
  project("ruby-service", ["ruby:slim"], [{ path: "/", text: "hello from ruby\n" }]),
  project("c-service", ["gcc:12"], [{ path: "/", text: "hello from c\n" }]),
  project("c-library", ["gcc:12", "debian:stable-slim"], [{ text: "hello from library\n" }]),
  project("perl-service", ["perl:slim"], [{ path: "/", text: "hello from perl\n" }]),
  project("git-release", ["git:latest", "debian:stable-slim"], [{ text: "hello from v1.1\n" }], { prepare: upstream }),
  project("shell-worker", ["debian:stable-slim"], [{ text: "hello from worker: 3\n" }], { builders: ["newer"] }),
  project(
    "polyglot",
    ["golang:1", "node:slim", "python:3-slim", "debian:stable-slim"],
    [
      { text: 'gateway: { "greeting": "hello from release 7" }\n' },
      { path: "/", text: "hello from release 7\n" },
      { text: "worker: hello from release 7\n" },
    ],
    { targets: ["gateway", "api", "worker"], buildArgs: ["RELEASE=7"] },
  ),
];

function project(
  name: string,
  bases: readonly Base[],
  answers: readonly Answer[],
  more: Partial<Project> = {},
): Project {
  return { name, folder: "projects", bases, answers, builders: EVERY, referees: [], ...more };
}

const OWN = fileURLToPath(new URL("../node_modules", import.meta.url));

interface Manifest {
  readonly version: string;
  readonly license?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly engines?: Readonly<Record<string, string>>;
  readonly bin?: unknown;
}

/**
 * Puts packages that Gantry itself has from the npm registry below `vendor/`, packed as the registry packs them, with all
 * that they need, and writes the lock file that names them.
 */
function npmPackages(context: string, names: readonly string[], { dev = [] as readonly string[] } = {}): void {
  const root = JSON.parse(readFileSync(join(context, "package.json"), "utf8"));
  const { name, version, dependencies, devDependencies } = root;
  const locked = { "": { name, version, dependencies, devDependencies }, ...vendored(context, names, new Set(dev)) };
  writeLock(context, { name, version, packages: locked });
}

function workspaces(context: string): void {
  const names = readdirSync(join(context, "packages")).sort();
  const packages = names.map((folder) => {
    const { name, version, dependencies } = JSON.parse(
      readFileSync(join(context, "packages", folder, "package.json"), "utf8"),
    );
    return [`packages/${folder}`, { name, version, dependencies }] as const;
  });
  const links = names.map((name) => [`node_modules/@repo/${name}`, { resolved: `packages/${name}`, link: true }]);
  const locked = {
    "": { name: "repo", workspaces: ["packages/*"] },
    ...Object.fromEntries(links),
    ...vendored(context, ["yaml"], new Set()),
    ...Object.fromEntries(packages),
  };
  writeLock(context, { name: "repo", packages: locked });
  for (const stray of ["node_modules/stray.js", "packages/web/node_modules/stray.js", "packages/web/dist/stray.js"])
    put(join(context, stray), "left behind\n");
}

function writeLock(context: string, { packages, ...rest }: { packages: object; name: string; version?: string }): void {
  const lock = { ...rest, lockfileVersion: 3, requires: true, packages };
  put(join(context, "package-lock.json"), `${JSON.stringify(lock, null, 2)}\n`);
}

/** Packs packages and what they need; returns their rows of a lock file. */
function vendored(context: string, names: readonly string[], dev: ReadonlySet<string>): Record<string, object> {
  const rows = new Map<string, object>();
  const visit = (name: string): void => {
    if (rows.has(`node_modules/${name}`)) return;
    const { bin, dependencies, engines, license, version } = manifestOf(name);
    const bytes = packed(name);
    put(join(context, "vendor", `${name}.tgz`), bytes);
    const integrity = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
    const resolved = `file:vendor/${name}.tgz`;
    const isDev = dev.has(name) && { dev: true };
    rows.set(`node_modules/${name}`, { version, resolved, integrity, ...isDev, license, dependencies, bin, engines });
    for (const needed of Object.keys(dependencies ?? {})) visit(needed);
  };
  names.forEach(visit);
  return Object.fromEntries([...rows].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function manifestOf(name: string): Manifest {
  return JSON.parse(readFileSync(join(OWN, name, "package.json"), "utf8"));
}

function packed(name: string): Buffer {
  const folder = join(OWN, name);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !relative(folder, file).startsWith("node_modules/"))
    .sort();
  const entries = files.map((file): TarEntry => {
    const mode = (statSync(file).mode & 0o100) === 0 ? 0o644 : 0o755;
    return { name: `package/${relative(folder, file)}`, body: readFileSync(file), mode };
  });
  return gzipSync(tarOf(entries));
}

function table(context: string): void {
  const rows = ["name,count", "first,40", "second,2", ""].join("\n");
  put(join(context, "data.tar.gz"), gzipSync(tarOf([{ name: "table.csv", body: rows, mode: 0o640, uid: 7, gid: 7 }])));
}

/** A repository of two releases as one file, which git writes the same each time. */
function upstream(context: string): void {
  const work = join(context, "upstream");
  const env = {
    PATH: process.env.PATH,
    HOME: context,
    GIT_CONFIG_NOSYSTEM: "1",
    ...Object.fromEntries(
      ["AUTHOR", "COMMITTER"].flatMap((who) => [
        [`GIT_${who}_NAME`, "Somebody"],
        [`GIT_${who}_EMAIL`, "somebody@own.example"],
        [`GIT_${who}_DATE`, "2024-01-02T03:04:05Z"],
      ]),
    ),
  };
  const git = (...args: string[]) => execFileSync("git", ["-C", work, ...args], { env, stdio: "pipe" });
  mkdirSync(work);
  git("init", "--quiet", "--initial-branch", "main");
  for (const version of ["v1.0", "v1.1", "v1.2"]) {
    put(join(work, "run.sh"), `echo hello from ${version}\n`, 0o755);
    git("add", ".");
    git("commit", "--quiet", "-m", `release ${version}`);
    git("tag", "-a", "-m", version, version);
  }
  git("-c", "pack.threads=1", "bundle", "create", "--quiet", join(context, "upstream.bundle"), "--all");
  execFileSync("rm", ["-r", work]);
}

function put(path: string, bytes: string | Uint8Array, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  writeFileSync(path, bytes, { mode });
}
