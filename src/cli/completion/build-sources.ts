import { lstatSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { BuildHistoryRow } from "../../api/build-history.ts";
import { readDefinition } from "../../bake/bake.ts";
import { parseDockerfile } from "../../dockerfile/dockerfile.ts";
import { bakeSurroundings, namedFiles, readBakeFiles } from "../bake/files.ts";
import { ask, type Source } from "./sources.ts";

/** No Dockerfile of people's is longer. */
const LONGEST = 1 << 20;

/** The stages of the Dockerfile that was named before, else of the context's, else of this folder's. */
export const stages: Source = ({ flag, args }) => {
  const path = flag("file") || join(args[0] ?? ".", "Dockerfile");
  const found = lstatSync(path);
  if (!found.isFile() || found.size > LONGEST) return { values: [] };
  const dockerfile = parseDockerfile({ name: path, text: readFileSync(path, "utf8") });
  return { values: dockerfile.stages.filter(({ name }) => name !== "").map(({ name, base }) => [name, base] as const) };
};

/** Targets and groups of the files that were named before, else of this folder's. */
export const bakeTargets: Source = ({ flagList }) => {
  const files = flagList("file");
  // Nobody has written anything to it yet.
  if (files.includes("-")) return { values: [] };
  const { targets, groups } = readDefinition(
    readBakeFiles(namedFiles(files, process.env)),
    bakeSurroundings(process.env),
  );
  const values = [
    ...[...targets].map(([name, { own }]) => [name, own.description ?? ""] as const),
    ...[...groups].map(([name, group]) => [name, group.description ?? group.targets.join(", ")] as const),
  ];
  return { values };
};

/** Ids of builds, with what they were of. */
export const builds: Source = async (asked) => {
  const rows = await ask<BuildHistoryRow[]>(asked, "/gantry/build/history");
  return { values: rows.map(({ Id, Name }) => [Id, Name] as const) };
};
