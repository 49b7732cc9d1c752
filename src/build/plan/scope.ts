import type { ArgInstruction, Dockerfile, Stage } from "../../dockerfile/instruction.ts";
import { lintFile } from "../../dockerfile/lint-file.ts";
import { RULES } from "../../dockerfile/lint-rules.ts";
import type { Linter } from "../../dockerfile/linter.ts";
import { invalid, located } from "../../dockerfile/source.ts";
import { suggestion } from "../../dockerfile/suggest.ts";
import { expandText } from "../../dockerfile/words.ts";
import { parseNormalized } from "../../oci/reference.ts";
import type { ExpansionBudget } from "./expansion-budget.ts";
import type { LoadedFile } from "./loaded-file.ts";
import { type Outline, type OutlineArg, outlineOn } from "./outline.ts";
import type { FileScope } from "./stage-state.ts";

export interface ScopeOptions {
  /** The platforms' arguments. */
  readonly predefined: ReadonlyMap<string, string>;
  readonly given: ReadonlyMap<string, string>;
  readonly linter: Linter;
  readonly budget: ExpansionBudget;
}

/** A file's meta arguments put into effect, with a pause after each. Throws DockerfileError. */
export function* scopeInSteps(file: LoadedFile, options: ScopeOptions): Generator<void, FileScope> {
  const { dockerfile } = file;
  const { linter, budget } = options;
  lintFile(dockerfile, linter);
  yield* lintDefaults(dockerfile, options);
  const outline = outlineOn(undefined);
  const globals = yield* metaArgs(dockerfile, options, outline);
  return { file, linter, budget, globals, stages: [], byName: new Map(), outline };
}

/** FROM's words with variables put in, and what is to be said of them. */
export function expandFrom(scope: FileScope, stage: Stage, text: string, linter: Linter) {
  const { escape: escaper } = scope.file.dockerfile;
  const { args } = scope.outline;
  scope.budget.begin();
  const expansion = scope.budget.spend(expandText(text, scope.globals, { escape: escaper }));
  for (const name of expansion.unmatched) {
    if (args.has(name)) continue;
    const meant = suggestion(name, new Set([...scope.globals.keys(), ...args.keys()]), { caseSensitive: true });
    linter.report(RULES.undefinedArgInFrom, RULES.undefinedArgInFrom.format(name, meant), stage.range, name);
  }
  return expansion;
}

function* metaArgs(
  dockerfile: Dockerfile,
  { predefined, given, budget }: Omit<ScopeOptions, "linter">,
  outline: Outline | undefined,
): Generator<void, Map<string, string>> {
  const globals = new Map(predefined);
  for (const instruction of dockerfile.metaArgs) {
    located({ source: dockerfile.source, range: instruction.range }, () => {
      budget.begin();
      for (const arg of instruction.args) {
        const { value, needs } = argValue(arg, { globals, given, budget, escaper: dockerfile.escape });
        if (value !== undefined) globals.set(arg.name, value);
        outline?.args.set(arg.name, outlineArg(dockerfile, instruction, arg, value, needs, outline));
      }
    });
    yield;
  }
  return globals;
}

function argValue(
  arg: ArgInstruction["args"][number],
  {
    globals,
    given,
    budget,
    escaper,
  }: Omit<ScopeOptions, "linter" | "predefined"> & {
    readonly globals: ReadonlyMap<string, string>;
    readonly escaper: string;
  },
): { value: string | undefined; needs: ReadonlySet<string> } {
  const own = given.get(arg.name);
  if (own !== undefined || arg.value === undefined) return { value: own, needs: new Set() };
  const { text, matched } = budget.spend(expandText(arg.value, globals, { escape: escaper }));
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
function* lintDefaults(dockerfile: Dockerfile, { predefined, linter, budget }: ScopeOptions): Generator<void> {
  let defaults: ReadonlyMap<string, string>;
  const bases: string[] = [];
  try {
    defaults = yield* metaArgs(dockerfile, { predefined, given: new Map(), budget }, undefined);
    for (const { base } of dockerfile.stages) {
      budget.begin();
      bases.push(budget.spend(expandText(base, defaults, { escape: dockerfile.escape })).text);
      yield;
    }
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
