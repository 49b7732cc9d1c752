import { GantryError } from "../../base/errors.ts";

/** Words that undo each other; the last one wins. */
const PAIRS: readonly (readonly [string, string])[] = [
  ["ro", "rw"],
  ["suid", "nosuid"],
  ["dev", "nodev"],
  ["exec", "noexec"],
  ["sync", "async"],
  ["dirsync", ""],
  ["mand", "nomand"],
  ["atime", "noatime"],
  ["diratime", "nodiratime"],
  ["relatime", "norelatime"],
  ["strictatime", "nostrictatime"],
  ["defaults", ""],
];
const GROUP = new Map(PAIRS.flatMap(([a, b]) => [a, b].filter(Boolean).map((word) => [word, a] as const)));
for (const word of ["private", "shared", "slave", "unbindable"]) {
  GROUP.set(word, "propagation").set(`r${word}`, "propagation");
}
const KEYS = new Set(["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"]);

/** Docker's defaults with the user's options over them, each setting once. Refuses what tmpfs doesn't know. */
export function mergeTmpfsOptions(options: readonly string[]): string[] {
  const merged = new Map<string, string>();
  for (const option of ["noexec", "nosuid", "nodev", "rprivate", ...options]) {
    if (option === "") continue;
    const [key = ""] = option.split("=", 1);
    const slot = GROUP.get(option) ?? (option.includes("=") && KEYS.has(key) ? key : undefined);
    if (slot === undefined) throw new GantryError("invalid", `invalid tmpfs option [${JSON.stringify(option)}]`);
    merged.set(slot, option);
  }
  merged.delete("defaults");
  return [...merged.values()];
}
