// Exits 0 if node_modules holds what package-lock.json names, so that the slow `npm ci`, which begins by removing
// everything, runs only when it must.
import { readFileSync } from "node:fs";

interface Lock {
  readonly packages: Readonly<Record<string, { readonly integrity?: string; readonly optional?: boolean }>>;
}

const wanted = (JSON.parse(readFileSync("package-lock.json", "utf8")) as Lock).packages;
const found = (JSON.parse(readFileSync("node_modules/.package-lock.json", "utf8")) as Lock).packages;

const differs = Object.entries(wanted).some(([path, { integrity, optional }]) => {
  if (path === "") return false;
  const there = found[path];
  if (there === undefined) return optional !== true;
  // The lock has no digest of what the registry it was made with lacks: packages for platforms that are not ours.
  return integrity !== undefined && there.integrity !== integrity;
});
process.exitCode = differs ? 1 : 0;
