import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { findProgram } from "./command.ts";

/** Debian packages that are installed on this machine, by what dpkg says of them. */
export interface InstalledPackage {
  readonly name: string;
  readonly version: string;
  /** Names of what it needs; of alternatives the one that is installed. */
  readonly needs: readonly string[];
}

const INFO = "/var/lib/dpkg/info";

/** All of them by name; none on a machine without dpkg. */
export function installedPackages(): Map<string, InstalledPackage> {
  const packages = new Map<string, InstalledPackage>();
  if (findProgram("dpkg-query") === undefined) return packages;
  const format = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Provides}\t${Pre-Depends}, ${Depends}\n";
  const rows = execFileSync("dpkg-query", ["-W", "-f", format], { encoding: "utf8", maxBuffer: 64 << 20 })
    .split("\n")
    .filter((row) => row.startsWith("ii"))
    .map((row) => row.split("\t") as [string, string, string, string, string]);
  const providers = new Map<string, string>();
  for (const [, name, , provides] of rows) for (const one of namesOf(provides)) providers.set(one[0] ?? "", name);
  for (const [, name] of rows) providers.set(name, name);
  for (const [, name, version, , depends] of rows) {
    const needs = namesOf(depends).flatMap((names) => names.flatMap((one) => providers.get(one) ?? []).slice(0, 1));
    packages.set(name, { name, version, needs });
  }
  for (const [provided, name] of providers) {
    const provider = packages.get(name);
    if (provider !== undefined && !packages.has(provided)) packages.set(provided, provider);
  }
  return packages;
}

/** Groups of alternatives of a field like `a (>= 1) | b, c:any`. */
function namesOf(field: string): string[][] {
  return field
    .split(",")
    .map((group) => group.split("|").map((one) => one.trim().split(/[ :(]/)[0] ?? ""))
    .filter(([first]) => first !== "");
}

/** What matches, of several versions the newest. */
export function findPackage(installed: ReadonlyMap<string, InstalledPackage>, wanted: RegExp): string | undefined {
  const found = [...installed.keys()].filter((name) => wanted.test(name));
  return found.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
}

/** These packages and all that they need, but for what is in `without` and what only that needs. */
export function closureOf(
  installed: ReadonlyMap<string, InstalledPackage>,
  names: readonly string[],
  without: ReadonlySet<string>,
): InstalledPackage[] {
  const found = new Map<string, InstalledPackage>();
  const visit = (name: string): void => {
    const one = installed.get(name);
    if (one === undefined || without.has(one.name) || found.has(one.name)) return;
    found.set(one.name, one);
    one.needs.forEach(visit);
  };
  names.forEach(visit);
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The files of packages where they really lie, without a leading slash; folders are left out. */
export function filesOf(packages: readonly InstalledPackage[], architecture: string): string[] {
  const folders = new Map<string, string>();
  const files = new Set<string>();
  for (const { name } of packages) {
    const list = [`${name}:${architecture}.list`, `${name}.list`].map((file) => join(INFO, file)).find(existsSync);
    if (list === undefined) throw new Error(`dpkg has no list of the files of ${name}`);
    for (const path of readFileSync(list, "utf8").split("\n")) {
      if (path === "" || path === "/.") continue;
      const stat = lstatSync(path, { throwIfNoEntry: false });
      if (stat === undefined || stat.isDirectory()) continue;
      const parent = dirname(path);
      const real = folders.get(parent) ?? realpathSync(parent);
      folders.set(parent, real);
      // What a merged /usr makes a link of, lies in the folder that it points to.
      files.add(join(real, basename(path)).slice(1));
    }
  }
  return [...files].sort();
}
