import { existsSync, readFileSync } from "node:fs";
import { arch } from "node:os";
import { type BakeFile, type BakeSurroundings, DEFAULT_FILES } from "../../bake/bake.ts";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";

/** The files of these names, `-` for standard input; of none, those of this folder that are looked for by default. */
export function readBakeFiles(names: readonly string[]): readonly BakeFile[] {
  const files = names.length > 0 ? names : DEFAULT_FILES.filter((name) => existsSync(name));
  if (files.length === 0) {
    throw new GantryError("not-found", `couldn't find a bake definition: there is none of ${DEFAULT_FILES.join(", ")}`);
  }
  return files.map(readOne);
}

export function bakeSurroundings(env: BakeSurroundings["env"]): BakeSurroundings {
  return { env, localPlatform: `linux/${arch() === "x64" ? "amd64" : arch()}` };
}

function readOne(name: string): BakeFile {
  try {
    return name === "-" ? { name: "stdin", text: readFileSync(0, "utf8") } : { name, text: readFileSync(name, "utf8") };
  } catch (error) {
    if (hasCode(error, "ENOENT")) throw new GantryError("not-found", `cannot read ${name}: there is no such file`);
    throw new GantryError("invalid", `cannot read ${name}: ${messageOf(error)}`);
  }
}
