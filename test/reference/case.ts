import { gzipSync } from "node:zlib";
import { type TarEntry, tarOf } from "../archive.ts";

/** A small Dockerfile, and what it is built with. */
export interface ReferenceCase {
  readonly name: string;
  readonly dockerfile: string;
  /** Besides `CONTEXT`. */
  readonly files?: readonly TarEntry[];
  readonly args?: Readonly<Record<string, string>>;
  readonly target?: string;
  /** What it makes of files counts, too: it is built, not only planned. */
  readonly isBuilt: boolean;
}

export type CaseOptions = Omit<ReferenceCase, "name" | "dockerfile" | "isBuilt">;

/** Long ago, so that a time that was kept can be told from one that is now. */
export const OLD = 1_500_000_000;
/** Whatever has an earlier time has kept it. */
export const LATEST_KEPT = 1_600_000_000;

const ARCHIVE = tarOf([
  { name: "in/", type: "directory", mode: 0o750, uid: 7, gid: 8, mtime: OLD },
  { name: "in/file", body: "packed\n", mode: 0o640, uid: 1000, gid: 1001, mtime: OLD },
  { name: "in/link", type: "symlink", link: "file", mtime: OLD },
  { name: "in/same", type: "hardlink", link: "in/file", mode: 0o640, uid: 1000, gid: 1001, mtime: OLD },
  { name: "top", body: "t\n", mode: 0o4755, mtime: OLD },
]);

/** What every case has in its context. Owners are root's: clients send no others. */
export const CONTEXT: readonly TarEntry[] = [
  { name: "a.txt", body: "a\n" },
  { name: "b.txt", body: "b\n", mode: 0o600 },
  { name: "exec.sh", body: "#!/bin/sh\necho hi\n", mode: 0o755 },
  { name: "setuid", body: "s\n", mode: 0o4755 },
  { name: "with space.txt", body: "space\n" },
  { name: "[odd].txt", body: "odd\n" },
  { name: "arc.tar", body: ARCHIVE },
  { name: "arc.tar.gz", body: gzipSync(ARCHIVE) },
  { name: "no-archive.tar.gz", body: "plain text\n" },
  { name: "no-tar.gz", body: gzipSync("plain text\n") },
  { name: "link", type: "symlink", link: "a.txt" },
  { name: "dir-link", type: "symlink", link: "dir" },
  { name: "chain", type: "symlink", link: "link" },
  { name: "broken", type: "symlink", link: "nowhere" },
  { name: "absolute", type: "symlink", link: "/a.txt" },
  { name: "outside", type: "symlink", link: "../../../../a.txt" },
  { name: "loop", type: "symlink", link: "loop" },
  { name: "dir/", type: "directory", mode: 0o755 },
  { name: "dir/.hidden", body: "h\n" },
  { name: "dir/x.txt", body: "x\n", mode: 0o640 },
  { name: "dir/y.md", body: "y\n" },
  { name: "dir/inner-link", type: "symlink", link: "x.txt" },
  { name: "dir/sub/", type: "directory", mode: 0o711 },
  { name: "dir/sub/w.md", body: "w\n" },
  { name: "dir/sub/z.txt", body: "z\n" },
  { name: "dir/sub/deep/", type: "directory", mode: 0o755 },
  { name: "dir/sub/deep/e.txt", body: "e\n" },
  { name: "dir2/", type: "directory", mode: 0o700 },
  { name: "dir2/x.txt", body: "x2\n" },
  { name: "empty/", type: "directory", mode: 0o2755 },
  { name: "hard1", body: "one\n" },
  { name: "hard2", type: "hardlink", link: "hard1" },
];

/** All that a case is built from, with its Dockerfile. */
export function contextOf({ dockerfile, files = [] }: ReferenceCase): TarEntry[] {
  const own = new Set(files.map(({ name }) => name));
  const rows = [...CONTEXT.filter(({ name }) => !own.has(name)), ...files, { name: "Dockerfile", body: dockerfile }];
  return rows.map((entry) => ({ mtime: OLD, ...entry }));
}

type Written = string | readonly [dockerfile: string, options: CaseOptions];

/** Cases that are only planned: errors, warnings, configs, histories, answers. */
export function planned(subject: string, cases: Readonly<Record<string, Written>>): ReferenceCase[] {
  return casesOf(subject, cases, false);
}

/** Cases that are built as well. */
export function built(subject: string, cases: Readonly<Record<string, Written>>): ReferenceCase[] {
  return casesOf(subject, cases, true);
}

/** What begins with no FROM, ARG or comment stands on `scratch`. */
function casesOf(subject: string, cases: Readonly<Record<string, Written>>, isBuilt: boolean): ReferenceCase[] {
  return Object.entries(cases).map(([name, written]) => {
    const [text, options] = typeof written === "string" ? [written, {}] : written;
    const isWhole = /^(?:from|arg|#|\ufeff|\s*$|<)/i.test(text);
    const dockerfile = isWhole ? text : `FROM scratch\n${text}${text.endsWith("\n") ? "" : "\n"}`;
    return { name: `${subject}: ${name}`, dockerfile, isBuilt, ...options };
  });
}
