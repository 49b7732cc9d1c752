import { type Bake, choose } from "./choose.ts";
import { composeBody, isCompose } from "./compose.ts";
import { BLOCKS, type Definition, define } from "./definition.ts";
import { parseJsonHcl } from "./hcl/json.ts";
import { parseHcl } from "./hcl/parse.ts";
import type { Body } from "./hcl/syntax.ts";
import { parseOverride } from "./override.ts";
import { shownTarget } from "./target.ts";

export type { Bake, BakeTarget } from "./choose.ts";
export { HclError } from "./hcl/error.ts";

/** A file as it was read; later ones are laid over earlier ones. */
export interface BakeFile {
  readonly name: string;
  readonly text: string;
}

/** What the files may ask about this machine. */
export interface BakeSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `linux/amd64`: what BAKE_LOCAL_PLATFORM says. */
  readonly localPlatform: string;
  /** What BAKE_CMD_CONTEXT says; by default where the command runs. */
  readonly commandContext?: string;
}

export interface BakeOptions extends BakeSurroundings {
  /** Names of targets and groups, with `*` and `?`; none means `default`. */
  readonly names: readonly string[];
  /** Values of `--set`. */
  readonly overrides: readonly string[];
}

/** The files that are read where none is named, in this order. */
export const DEFAULT_FILES: readonly string[] = [
  "compose.yaml",
  "compose.yml",
  "docker-compose.yml",
  "docker-compose.yaml",
  "docker-bake.json",
  "docker-bake.hcl",
  "docker-bake.override.json",
  "docker-bake.override.hcl",
];

/** What there is to build. Throws invalid (an `HclError` names the place). */
export function readDefinition(
  files: readonly BakeFile[],
  { env, localPlatform, commandContext = "cwd://" }: BakeSurroundings,
): Definition {
  const builtin = new Map([
    ["BAKE_CMD_CONTEXT", commandContext],
    ["BAKE_LOCAL_PLATFORM", localPlatform],
  ]);
  const bodies = files.map((file) => bodyOf(file, env));
  return define(bodies, (name) => env[name], builtin);
}

/** Says what is to be built. Throws invalid (an `HclError` names the place) or not-found. */
export function readBake(files: readonly BakeFile[], options: BakeOptions): Bake {
  const definition = readDefinition(files, options);
  const env = (name: string): string | undefined => options.env[name];
  const overrides = options.overrides.flatMap((text) => {
    const one = parseOverride(text, env);
    return one === undefined ? [] : [one];
  });
  return choose(definition, overrides, options.names.length === 0 ? ["default"] : options.names);
}

function bodyOf(file: BakeFile, env: Readonly<Record<string, string | undefined>>): Body {
  if (isCompose(file)) return parseJsonHcl(composeBody(file, env), BLOCKS);
  if (file.name.toLowerCase().endsWith(".json") || /^\s*\{/.test(file.text)) return parseJsonHcl(file, BLOCKS);
  return parseHcl(file);
}

/** As `--print` shows it: JSON that is a Bake file again. `remote` is where the definition came from. */
export function showBake({ groups, targets }: Bake, remote?: string): string {
  const shown = {
    group: sorted(groups),
    target: sorted(
      new Map(
        [...targets].map(([name, { target }]) => [
          name,
          shownTarget(remote !== undefined && target.context === "." ? { ...target, context: remote } : target),
        ]),
      ),
    ),
  };
  return `${JSON.stringify(shown, undefined, 2)}\n`;
}

function sorted<T>(map: ReadonlyMap<string, T>): Record<string, T> {
  return Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : Number(a > b))));
}
