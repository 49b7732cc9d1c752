import type { ArgInstruction, Dockerfile, Stage } from "../../dockerfile/instruction.ts";
import { lintFile } from "../../dockerfile/lint-file.ts";
import { RULES } from "../../dockerfile/lint-rules.ts";
import type { Linter } from "../../dockerfile/linter.ts";
import { invalid, located } from "../../dockerfile/source.ts";
import { suggestion } from "../../dockerfile/suggest.ts";
import { expandText } from "../../dockerfile/words.ts";
import { parseNormalized } from "../../oci/reference.ts";
import type { LoadedFile } from "./loaded-file.ts";
import { emptyOutline, type Outline, type OutlineArg } from "./outline.ts";
import type { FileScope } from "./stage-state.ts";

/** A file's meta arguments put into effect. `predefined` are the platforms'. Throws DockerfileError. */
export function scopeOf(
  file: LoadedFile,
  predefined: ReadonlyMap<string, string>,
  given: ReadonlyMap<string, string>,
  linter: Linter,
): FileScope {
  const { dockerfile } = file;
  lintFile(dockerfile, linter);
  lintDefaults(dockerfile, predefined, linter);
  const outline = emptyOutline();
  const globals = metaArgs(dockerfile, predefined, given, outline);
  return { file, linter, globals, stages: [], byName: new Map(), outline };
}

/** FROM's words with variables put in, and what is to be said of them. */
export function expandFrom(scope: FileScope, stage: Stage, text: string, linter: Linter) {
  const { escape: escaper } = scope.file.dockerfile;
  const expansion = expandText(text, scope.globals, { escape: escaper });
  const known = new Set([...scope.globals.keys(), ...scope.outline.args.keys()]);
  for (const name of expansion.unmatched) {
    if (known.has(name)) continue;
    const meant = suggestion(name, known, { caseSensitive: true });
    linter.report(RULES.undefinedArgInFrom, RULES.undefinedArgInFrom.format(name, meant), stage.range, name);
  }
  return expansion;
}

function metaArgs(
  dockerfile: Dockerfile,
  predefined: ReadonlyMap<string, string>,
  given: ReadonlyMap<string, string>,
  outline: Outline | undefined,
): Map<string, string> {
  const globals = new Map(predefined);
  for (const instruction of dockerfile.metaArgs) {
    located({ source: dockerfile.source, range: instruction.range }, () => {
      for (const arg of instruction.args) {
        const { value, needs } = argValue(arg, globals, given, dockerfile.escape);
        if (value !== undefined) globals.set(arg.name, value);
        outline?.args.set(arg.name, outlineArg(dockerfile, instruction, arg, value, needs, outline));
      }
    });
  }
  return globals;
}

function argValue(
  arg: ArgInstruction["args"][number],
  globals: ReadonlyMap<string, string>,
  given: ReadonlyMap<string, string>,
  escaper: string,
): { value: string | undefined; needs: ReadonlySet<string> } {
  const own = given.get(arg.name);
  if (own !== undefined || arg.value === undefined) return { value: own, needs: new Set() };
  const { text, matched } = expandText(arg.value, globals, { escape: escaper });
  return { value: text, needs: matched };
}

function outlineArg(
  dockerfile: Dockerfile,
  { range }: ArgInstruction,
  arg: ArgInstruction["args"][number],
  value: string | undefined,
  needs: ReadonlySet<string>,
  outline: Outline,
): OutlineArg {
  // A default made of its own former value needs what that needed.
  const former = needs.has(arg.name) ? (outline.args.get(arg.name)?.needs ?? []) : [];
  const others = [...needs].filter((name) => name !== arg.name);
  return {
    name: arg.name,
    value: value ?? "",
    description: arg.description,
    source: dockerfile.source,
    range,
    needs: new Set([...others, ...former]),
  };
}

/** Base images have to be valid without any build argument, too. */
function lintDefaults(dockerfile: Dockerfile, predefined: ReadonlyMap<string, string>, linter: Linter): void {
  let defaults: ReadonlyMap<string, string>;
  const bases: string[] = [];
  try {
    defaults = metaArgs(dockerfile, predefined, new Map(), undefined);
    for (const { base } of dockerfile.stages)
      bases.push(expandText(base, defaults, { escape: dockerfile.escape }).text);
  } catch {
    // The same fails where it counts.
    return;
  }
  for (const [index, base] of bases.entries()) {
    const stage = dockerfile.stages[index];
    if (stage === undefined || isReference(base)) continue;
    const message = RULES.invalidDefaultArgInFrom.format(stage.base);
    linter.report(RULES.invalidDefaultArgInFrom, message, stage.range, stage.base);
  }
}

function isReference(text: string): boolean {
  try {
    parseNormalized(text);
    return true;
  } catch {
    return false;
  }
}

/** Which stage `--from=` names; undefined for what is none. Throws `invalid` for a number that is too high. */
export function stageOf(scope: FileScope, from: string, numbers: boolean) {
  if (!numbers || !/^[+-]?[0-9]+$/.test(from)) return scope.byName.get(from.toLowerCase());
  const stage = scope.stages[Number(from)];
  if (stage === undefined) throw invalid(`invalid stage index ${Number(from)}`);
  return stage;
}
