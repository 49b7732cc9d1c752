import { checkDirective, detectSyntax } from "../../dockerfile/directive.ts";
import { dockerfileInSteps } from "../../dockerfile/dockerfile.ts";
import type { Dockerfile, IncludeInstruction } from "../../dockerfile/instruction.ts";
import { type LintOptions, readLintOptions } from "../../dockerfile/linter.ts";
import { DockerfileError, invalid, located, type SourceFile, withPlace } from "../../dockerfile/source.ts";
import { inTurns } from "./turns.ts";
import type { PlanInput } from "./types.ts";

/** A Dockerfile with those that it includes. */
export interface LoadedFile {
  readonly dockerfile: Dockerfile;
  /** What its COPY and ADD read from: `context`, or the named context that it was included from. */
  readonly context: string;
  readonly lint: LintOptions;
  readonly includes: readonly { readonly instruction: IncludeInstruction; readonly file: LoadedFile }[];
}

const MOST_FILES = 50;
/** What the frontend that we are goes by: the stable one, the experimental one, and mirrors of both. */
const OWN_SYNTAX = /(?:^|\/)docker\/dockerfile(?:-upstream)?(?::[A-Za-z0-9._-]+)?(?:@sha256:[a-f0-9]+)?$/;

/** Reads the Dockerfile and all that it includes, each once. */
export async function loadFiles(input: PlanInput): Promise<LoadedFile> {
  const { request } = input;
  const named = request.buildArgs.get("BUILDKIT_SYNTAX");
  if (named !== undefined && named !== "") requireOwnSyntax(named);
  const check = request.buildArgs.get("BUILDKIT_DOCKERFILE_CHECK");
  const lint = check === undefined ? undefined : lintOptionsOf(check, "build-arg:BUILDKIT_DOCKERFILE_CHECK");
  return new Loader(input, lint).load({ name: input.file, text: input.text }, "context", [input.file]);
}

class Loader {
  readonly #input: PlanInput;
  readonly #lint: LintOptions | undefined;
  #count = 0;

  constructor(input: PlanInput, lint: LintOptions | undefined) {
    this.#input = input;
    this.#lint = lint;
  }

  /** `way`: the files that lead here; none may be among those that it includes. */
  async load(source: SourceFile, context: string, way: readonly string[]): Promise<LoadedFile> {
    const dockerfile = await this.#parse(source);
    const lint = this.#lint ?? ownLint(source);
    const includes = [];
    for (const instruction of dockerfile.includes) {
      includes.push({ instruction, file: await this.#include(instruction, source, context, way) });
    }
    if (dockerfile.stages.length === 0 && includes.length === 0) {
      throw new DockerfileError("dockerfile contains no stages to build", {
        source,
        range: dockerfile.metaArgs.at(-1)?.range ?? { start: 1, end: 1 },
      });
    }
    return { dockerfile, context, lint, includes };
  }

  async #parse(source: SourceFile): Promise<Dockerfile> {
    if (source.text === "") throw invalid("the Dockerfile cannot be empty");
    const syntax = detectSyntax(source.text);
    if (syntax !== undefined) {
      located({ source, range: { start: syntax.line, end: syntax.line }, offending: syntax.reference }, () =>
        requireOwnSyntax(syntax.reference),
      );
    }
    return inTurns(dockerfileInSteps(source), this.#input.signal);
  }

  async #include(
    instruction: IncludeInstruction,
    source: SourceFile,
    context: string,
    way: readonly string[],
  ): Promise<LoadedFile> {
    try {
      // Within what was included, `context` is where that came from.
      const from = instruction.context === "context" ? context : instruction.context;
      const name = from === "context" ? instruction.path : `${from}/${instruction.path}`;
      if (way.includes(name)) throw invalid(`INCLUDE goes in a circle: ${[...way, name].join(" → ")}`);
      if (++this.#count > MOST_FILES) throw invalid(`INCLUDE brings more than ${MOST_FILES} files`);
      const text = await this.#input.ports.include(from, instruction.path);
      return await this.load({ name, text }, from, [...way, name]);
    } catch (error) {
      throw withPlace(error, { source, range: instruction.range });
    }
  }
}

function requireOwnSyntax(reference: string): void {
  if (OWN_SYNTAX.test(reference)) return;
  throw invalid(`unsupported frontend ${reference}: Gantry reads Dockerfiles itself and runs no other frontend`);
}

function ownLint(source: SourceFile): LintOptions {
  const directive = checkDirective(source.text);
  if (directive === undefined) return readLintOptions("");
  return located({ source, range: { start: directive.line, end: directive.line }, offending: directive.value }, () =>
    lintOptionsOf(directive.value, "check options"),
  );
}

function lintOptionsOf(text: string, what: string): LintOptions {
  try {
    return readLintOptions(text);
  } catch (error) {
    throw invalid(`failed to parse ${what}: ${(error as Error).message}`);
  }
}
