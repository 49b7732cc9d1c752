import { existsSync, readFileSync } from "node:fs";
import { arch } from "node:os";
import { type BakeFile, type BakeSurroundings, DEFAULT_FILES } from "../../bake/bake.ts";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";

/** The files of `--file`; without it those of the environment's BUILDX_BAKE_FILE. */
export function namedFiles(given: readonly string[], env: NodeJS.ProcessEnv): readonly string[] {
  const { BUILDX_BAKE_FILE: own = "", BUILDX_BAKE_PATH_SEPARATOR: separator = "" } = env;
  if (given.length > 0 || own === "") return given;
  return own.split(separator || ":").filter((name) => name !== "");
}

/** The files of these names, `-` for standard input; of none, those of this folder that are looked for by default. */
export function readBakeFiles(names: readonly string[]): readonly BakeFile[] {
  const files = names.length > 0 ? names : DEFAULT_FILES.filter((name) => existsSync(name));
  if (files.length === 0) {
    throw new GantryError("not-found", `couldn't find a bake definition: there is none of ${DEFAULT_FILES.join(", ")}`);
  }
  return files.map((name) => readOne(name.replace(/^cwd:\/\//, "")));
}

export function bakeSurroundings(env: BakeSurroundings["env"]): BakeSurroundings {
  return { env, localPlatform: `linux/${arch() === "x64" ? "amd64" : arch()}` };
}

function readOne(name: string): BakeFile {
  try {
    return name === "-" ? { name: "-", text: readFileSync(0, "utf8") } : { name, text: readFileSync(name, "utf8") };
  } catch (error) {
    if (hasCode(error, "ENOENT")) throw new GantryError("not-found", `open ${name}: no such file or directory`);
    throw new GantryError("invalid", `cannot read ${name}: ${messageOf(error)}`);
  }
}
