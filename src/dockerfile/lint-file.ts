import type { Dockerfile, Stage } from "./instruction.ts";
import { RULES } from "./lint-rules.ts";
import type { Linter } from "./linter.ts";
import type { SourceRange } from "./source.ts";

const RESERVED: ReadonlySet<string> = new Set(["context", "scratch"]);

/** The rules that need no more than the file: those of variables and base images are the plan's. */
export function lintFile(file: Dockerfile, linter: Linter): void {
  for (const range of file.emptyContinuations) {
    linter.report(RULES.noEmptyContinuation, RULES.noEmptyContinuation.format(), range);
  }
  for (const arg of file.metaArgs)
    lintDescription(
      arg,
      "ARG",
      arg.args.map(({ name }) => name),
      linter,
    );
  for (const stage of file.stages) lintStage(stage, linter);
  lintStageNames(file.stages, linter);
  lintCasing(file.stages, linter);
}

function lintStage(stage: Stage, linter: Linter): void {
  const { from, as, name } = stage.written;
  const own = linter.withComments(stage.comments);
  if (name !== name.toLowerCase()) {
    own.report(RULES.stageNameCasing, RULES.stageNameCasing.format(name), stage.range, name);
  }
  if (as !== "" && !hasCasingOf(from, as)) {
    own.report(RULES.fromAsCasing, RULES.fromAsCasing.format(from, as), stage.range, as);
  }
  if (stage.name !== "") lintDescription(stage, "FROM", [stage.name], linter);
  for (const instruction of stage.instructions) {
    if (instruction.kind === "maintainer") {
      linter
        .withComments(instruction.comments)
        .report(RULES.maintainerDeprecated, RULES.maintainerDeprecated.format(), instruction.range, instruction.name);
    }
    if (instruction.kind === "arg") {
      lintDescription(
        instruction,
        "ARG",
        instruction.args.map(({ name: arg }) => arg),
        linter,
      );
    }
  }
}

function lintStageNames(stages: readonly Stage[], linter: Linter): void {
  const seen = new Set<string>();
  for (const { name, range } of stages) {
    if (name === "") continue;
    if (RESERVED.has(name)) linter.report(RULES.reservedStageName, RULES.reservedStageName.format(name), range, name);
    if (seen.has(name)) linter.report(RULES.duplicateStageName, RULES.duplicateStageName.format(name), range, name);
    seen.add(name);
  }
}

function lintCasing(stages: readonly Stage[], linter: Linter): void {
  const names = stages.flatMap((stage) => [
    { name: stage.written.from, range: stage.range },
    ...stage.instructions.map(({ name, range }) => ({ name, range })),
  ]);
  const lower = names.filter(({ name }) => name === name.toLowerCase()).length;
  const upper = names.filter(({ name }) => name === name.toUpperCase()).length;
  const casing = lower > upper ? "lowercase" : "uppercase";
  for (const { name, range } of names) {
    const right = casing === "lowercase" ? name.toLowerCase() : name.toUpperCase();
    if (name === right) continue;
    const message = RULES.consistentInstructionCasing.format(name, casing);
    linter.report(RULES.consistentInstructionCasing, message, range, name);
  }
}

function lintDescription(
  what: { readonly comments: readonly string[]; readonly range: SourceRange },
  instruction: string,
  names: readonly string[],
  linter: Linter,
): void {
  const comment = what.comments.at(-1);
  if (comment === undefined || names.length === 0) return;
  if (names.includes(comment.split(" ", 1)[0] ?? "")) return;
  const example = names.length > 1 ? "<arg_key>" : (names[0] ?? "");
  const message = RULES.invalidDefinitionDescription.format(instruction, example);
  linter.withComments(what.comments).report(RULES.invalidDefinitionDescription, message, what.range);
}

/** A FROM in mixed case is told of by another rule. */
function hasCasingOf(from: string, as: string): boolean {
  if (from === from.toLowerCase()) return as === as.toLowerCase();
  return from !== from.toUpperCase() || as === as.toUpperCase();
}
