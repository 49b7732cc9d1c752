import { fileURLToPath } from "node:url";
import type { TarEntry } from "./archive.ts";

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NODE = fileURLToPath(new URL(`../node_modules/node-linux-${process.arch}/bin/node`, import.meta.url));

/** How an image of a language is made of installed packages. */
export interface Recipe {
  /** Names of packages, or patterns of which the newest counts. */
  readonly packages: readonly (string | RegExp)[];
  /** Files of these that no Dockerfile needs. */
  readonly leaveOut?: RegExp;
  /** Folders that are taken as they are on the disk, where they are: a package may have been updated past dpkg. */
  readonly whole?: readonly string[];
  /** Files of no package by where they come to lie. */
  readonly more?: Readonly<Record<string, string>>;
  /** What alternatives or a meta package would link: names in /usr/bin to patterns of files. */
  readonly links?: Readonly<Record<string, RegExp>>;
  readonly entries?: readonly TarEntry[];
  readonly config?: Readonly<Record<string, unknown>>;
}

/** Nothing of this is read while a service is built or runs. */
export const NEVER =
  /^(usr\/share\/(doc|man|info|locale|lintian|bug|doc-base|bash-completion|zsh|fish|menu|pixmaps|icons|applications|metainfo|gdb|apport|aclocal|common-licenses|base-files|bug|keyrings|polkit-1|gitweb)\/|etc\/(?!alternatives\/|ssl\/openssl\.cnf|php\/|java|python)|var\/|lib\/systemd\/|usr\/lib\/(systemd|sysusers\.d|tmpfiles\.d|udev)\/|usr\/share\/perl5\/Debian|boot\/)/;

/** Packages that others need for being installed only. */
export const WITHOUT = new Set([
  ...["dpkg", "debconf", "perl-base", "adduser", "install-info", "ca-certificates", "media-types", "tzdata", "ucf"],
  ...[
    "libjs-sphinxdoc",
    "libjs-underscore",
    "libjs-jquery",
    "java-common",
    "ca-certificates-java",
    "init-system-helpers",
  ],
]);

/** The images that `projects/` begin with; each but the first stands on the first. */
export const BASES = {
  "debian:stable-slim": {
    packages: [
      "bash",
      "dash",
      "coreutils",
      "sed",
      "grep",
      "findutils",
      "tar",
      "gzip",
      "mawk",
      "debianutils",
      "libc-bin",
      "base-files",
    ],
    leaveOut: /^usr\/lib\/[^/]*\/gconv\/(?!gconv-modules|UTF|ISO8859-1\.)|^usr\/lib\/locale\/|^usr\/share\/(bash|awk)/,
    config: { Env: [PATH], Cmd: ["bash"] },
  },
  "node:slim": {
    packages: ["nodejs", "npm"],
    whole: ["usr/lib/node_modules/npm"],
    leaveOut:
      /^usr\/include\/|\.(d\.ts|d\.mts|map|md)$|^usr\/lib\/node_modules\/(corepack|npm\/(docs|man))\/|^usr\/share\/systemtap/,
    entries: [{ name: "home/node", type: "directory", uid: 1000, gid: 1000 }],
    config: { Env: [PATH, "NODE_VERSION=lts"], Cmd: ["node"] },
  },
  /** Our own Node: it reads TypeScript. */
  "node:current-slim": {
    packages: ["libstdc++6", "libatomic1"],
    more: { "usr/local/bin/node": NODE },
    entries: [{ name: "home/node", type: "directory", uid: 1000, gid: 1000 }],
    config: { Env: [PATH, "NODE_VERSION=current"], Cmd: ["node"] },
  },
  "python:3-slim": {
    packages: ["python3", "python3-pip", "python3-venv", "python3-wheel"],
    leaveOut:
      /^usr\/lib\/python3[^/]*\/((idlelib|tkinter|turtledemo|lib2to3\/tests|pydoc_data|test|ensurepip\/_bundled)\/|config-)|\/tests?\/|^usr\/share\/(python3\/debpython|binfmts)/,
    config: { Env: [PATH, "LANG=C.UTF-8"], Cmd: ["python3"] },
  },
  "golang:1": {
    packages: [/^golang-[\d.]+-go$/],
    leaveOut:
      /^usr\/(lib|share)\/go-[^/]*\/((test|api|misc)\/|src\/cmd\/|pkg\/linux_[^/]*\/cmd\/|pkg\/linux_[^/]*_(race|dynlink)|pkg\/tool\/[^/]*\/(?!compile$|link$|asm$|buildid$|pack$)|.*(_test\.go$|\/testdata\/))|\/bin\/gofmt$/,
    links: { go: /^usr\/lib\/go-[^/]*\/bin\/go$/ },
    entries: [{ name: "go", type: "directory", mode: 0o1777 }],
    config: { Env: [PATH, "GOPATH=/go", "GOTOOLCHAIN=local", "GOFLAGS=-mod=vendor"], WorkingDir: "/go", Cmd: ["bash"] },
  },
  "openjdk:jdk-slim": {
    packages: [/^openjdk-\d+-jdk-headless$/],
    leaveOut:
      /^usr\/lib\/jvm\/[^/]*\/(jmods|man|docs|demo)\/|\/(src\.zip|ct\.sym|classes\.jsa|classes_nocoops\.jsa)$|^usr\/share\/java\//,
    links: Object.fromEntries(
      ["java", "javac", "jar"].map((name) => [name, new RegExp(`^usr/lib/jvm/java-\\d+-openjdk-[^/]*/bin/${name}$`)]),
    ),
    config: { Env: [PATH, "LANG=C.UTF-8"], Cmd: ["jshell"] },
  },
  "php:cli": {
    // Debian's PHP takes the system's zones.
    packages: [/^php[\d.]+-cli$/, "tzdata"],
    leaveOut: /^usr\/share\/zoneinfo\/(?!UTC$|Etc\/UTC$)/,
    links: { php: /^usr\/bin\/php[\d.]+$/ },
    entries: [
      { name: "var/www", type: "directory" },
      { name: "var/www/html", type: "directory", mode: 0o1777, uid: 33, gid: 33 },
    ],
    config: { Env: [PATH, "PHP_INI_DIR=/usr/local/etc/php"], WorkingDir: "/var/www/html", Cmd: ["php", "-a"] },
  },
  "ruby:slim": {
    packages: [/^ruby[\d.]+$/, "ruby-rubygems"],
    leaveOut: /^usr\/share\/ri\/|^usr\/include\//,
    links: { ruby: /^usr\/bin\/ruby[\d.]+$/, gem: /^usr\/bin\/gem[\d.]+$/ },
    config: { Env: [PATH, "LANG=C.UTF-8"], Cmd: ["irb"] },
  },
  "gcc:12": {
    packages: [/^gcc-\d+$/, "libc6-dev", "make"],
    leaveOut:
      /\/(lto1|lto-wrapper|g\+\+-mapper-server|lib[atl]san[^/]*|libubsan[^/]*|libhwasan[^/]*|libgprofng[^/]*|libsanitizer[^/]*|gp-[^/]*)$|^usr\/bin\/([^/]*-)?(gold|dwp|gprof[^/]*|lto-dump-.*|gcov.*|objcopy|objdump|readelf|elfedit)$|^usr\/lib\/[^/]*\/(libmcheck|libg|libmvec)\.a$|^usr\/include\/(drm|xen|sound|rdma|misc|video)\//,
    links: { gcc: /^usr\/bin\/[^/]*-linux-gnu-gcc-\d+$/, cc: /^usr\/bin\/[^/]*-linux-gnu-gcc-\d+$/ },
    config: { Env: [PATH], Cmd: ["bash"] },
  },
  "perl:slim": {
    packages: ["perl", "perl-base", "perl-modules"],
    leaveOut: /\.pod$|^usr\/lib\/[^/]*\/perl\/[^/]*\/CORE\/|\/unicore\/lib\//,
    config: { Env: [PATH], Cmd: ["perl", "-de0"] },
  },
  "git:latest": {
    packages: ["git"],
    leaveOut:
      /^usr\/share\/(git-core\/contrib|gitk|git-gui)|\/(git-(imap-send|http-push|http-fetch|daemon|shell|sh-i18n--envsubst|remote-.*|cvs.*|svn|p4|instaweb|send-email))$|^usr\/share\/perl/,
    config: { Env: [PATH], Cmd: ["git", "--help"] },
  },
} as const satisfies Readonly<Record<string, Recipe>>;

export type Base = keyof typeof BASES;

/** What the others stand on. */
export const ROOT: Base = "debian:stable-slim";

/** What no package has: a merged /usr, folders of their own modes, the accounts. */
export const SKELETON: readonly TarEntry[] = [
  ...["bin", "sbin", "lib", "lib64"].map((name) => ({
    name,
    type: "symlink" as const,
    link: `usr/${name}`,
    mode: 0o777,
  })),
  ...["boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "run", "srv", "sys", "usr", "var"].map(folder),
  ...["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/share", "usr/local", "var/lib", "var/cache", "var/log"].map(
    folder,
  ),
  ...["usr/local/bin", "usr/local/lib", "usr/local/sbin", "usr/local/etc", "etc/ld.so.conf.d"].map(folder),
  { name: "root", type: "directory", mode: 0o700 },
  { name: "tmp", type: "directory", mode: 0o1777 },
  { name: "var/tmp", type: "directory", mode: 0o1777 },
  { name: "usr/bin/awk", type: "symlink", link: "mawk", mode: 0o777 },
  { name: "etc/ld.so.conf", body: "include /etc/ld.so.conf.d/*.conf\n" },
  { name: "etc/ld.so.conf.d/local.conf", body: "/usr/local/lib\n" },
  { name: "etc/nsswitch.conf", body: "passwd: files\ngroup: files\nhosts: files dns\n" },
  {
    name: "etc/passwd",
    body: [
      ...["root:x:0:0:root:/root:/bin/bash", "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin"],
      ...["www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin", "node:x:1000:1000::/home/node:/bin/bash"],
      "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ].join("\n"),
  },
  {
    name: "etc/group",
    body: "root:x:0:\ndaemon:x:1:\nadm:x:4:\nwww-data:x:33:\nstaff:x:50:\nnode:x:1000:\nnogroup:x:65534:\n",
  },
];

function folder(name: string): TarEntry {
  return { name, type: "directory" };
}
