import type { KnownDifference } from "./known-differences.ts";
import type { ProjectReferee } from "./projects.ts";

/** What no builder makes the same twice, by name: it is left out of every comparison. */
export const UNSTABLE: readonly { readonly line: RegExp; readonly why: string }[] = [
  { line: /^"var\/cache\/ldconfig\/aux-cache" /, why: "ldconfig notes the inodes and times of libraries" },
  { line: /^"root\/\.npm\/_logs(\/|")/, why: "npm names its logs by the time" },
];

/** Differences between builders that are meant; each must be met. */
export const KNOWN_OF_PROJECTS: readonly KnownDifference<ProjectReferee>[] = [];
