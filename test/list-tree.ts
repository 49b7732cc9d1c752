// Prints what lies below a folder, a line of JSON for each entry, sorted by path: what two copies of an image must agree
// in. Run as a program, as the folder may be mounted in a namespace of its own.
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from "node:fs";
import { join } from "node:path";
import { getXattr, listXattrs } from "../src/kernel/xattr.ts";

/** Attributes that a snapshotter keeps its own notes in. */
const OWN = /^trusted\.overlay\./;

const [root = "."] = process.argv.slice(2);
const links = new Map<bigint | number, string>();
const visit = (path: string): void => {
  const full = join(root, path);
  const stat = lstatSync(full);
  const first = links.get(stat.ino) ?? path;
  if (!stat.isDirectory()) links.set(stat.ino, first);
  const row = {
    path,
    type: typeOf(stat),
    mode: (stat.mode & 0o7777).toString(8),
    owner: `${stat.uid}:${stat.gid}`,
    mtime: Math.floor(stat.mtimeMs / 1000),
    ...(stat.isFile() && { size: stat.size, sha256: createHash("sha256").update(readFileSync(full)).digest("hex") }),
    ...(stat.isSymbolicLink() && { target: readlinkSync(full) }),
    ...((stat.isBlockDevice() || stat.isCharacterDevice()) && { device: stat.rdev }),
    ...(first !== path && { sameAs: first }),
    xattrs: Object.fromEntries(
      listXattrs(full)
        .filter((name) => !OWN.test(name))
        .sort()
        .map((name) => [name, getXattr(full, name)?.toString("hex")]),
    ),
  };
  console.log(JSON.stringify(row));
  if (stat.isDirectory()) for (const name of readdirSync(full).sort()) visit(join(path, name));
};
for (const name of readdirSync(root).sort()) visit(name);

function typeOf(stat: Stats): string {
  if (stat.isDirectory()) return "directory";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isFIFO()) return "fifo";
  if (stat.isCharacterDevice()) return "character";
  if (stat.isBlockDevice()) return "block";
  return "file";
}
