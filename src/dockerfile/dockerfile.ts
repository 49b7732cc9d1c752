import { GantryError, messageOf } from "../base/errors.ts";
import type { ArgInstruction, Dockerfile, IncludeInstruction, Instruction, Stage } from "./instruction.ts";
import type { Node } from "./node.ts";
import { finished, nodesInSteps } from "./parse.ts";
import { readFrom, readInclude, readInstruction } from "./read-instruction.ts";
import { invalid, located, ParseError, type SourceFile } from "./source.ts";

/** No Dockerfile has more stages: each may be planned. */
const MOST_STAGES = 1_000;

/**
 * Text → arguments and stages. Throws DockerfileError (`invalid`) with lines, in BuildKit's words. Bytes that are no
 * UTF-8 are the caller's to replace.
 */
export function parseDockerfile(source: SourceFile): Dockerfile {
  return finished(dockerfileInSteps(source));
}

/** The same with a pause after each instruction, for those who must not hold up others. */
export function* dockerfileInSteps(source: SourceFile): Generator<void, Dockerfile> {
  const { nodes, ...file } = yield* nodesInSteps(source);
  const draft = new Draft(source);
  for (const node of nodes) {
    draft.add(node);
    yield;
  }
  const { metaArgs, includes, stages } = draft;
  return { source, ...file, metaArgs, includes, stages };
}

class Draft {
  readonly metaArgs: ArgInstruction[] = [];
  readonly includes: IncludeInstruction[] = [];
  readonly stages: Stage[] = [];
  readonly #source: SourceFile;
  #instructions: Instruction[] | undefined;

  constructor(source: SourceFile) {
    this.#source = source;
  }

  add(node: Node): void {
    const name = node.name.toLowerCase();
    if (name === "from") {
      this.#begin(node);
      return;
    }
    if (name === "include") {
      const include = this.#read(node, readInclude);
      if (this.#instructions === undefined) this.includes.push(include);
      else this.#refuse(node, "INCLUDE has to stand before the first FROM");
      return;
    }
    const instruction = this.#read(node, readInstruction);
    if (this.#instructions !== undefined) this.#instructions.push(instruction);
    else if (instruction.kind === "arg") this.metaArgs.push(instruction);
    else this.#refuse(node, "no build stage in current context");
  }

  #begin(node: Node): void {
    const instructions: Instruction[] = [];
    this.stages.push({ ...this.#read(node, readFrom), instructions });
    this.#instructions = instructions;
    if (this.stages.length > MOST_STAGES) this.#refuse(node, `a Dockerfile can have at most ${MOST_STAGES} stages`);
  }

  #read<T>(node: Node, read: (node: Node) => T): T {
    try {
      return read(node);
    } catch (error) {
      if (!(error instanceof GantryError)) throw error;
      const offending = offendingPart(node, error.message);
      const place = { source: this.#source, range: node.range, offending };
      throw new ParseError(node.range.start, messageOf(error), place, { cause: error });
    }
  }

  #refuse(node: Node, message: string): never {
    return located({ source: this.#source, range: node.range, offending: node.name }, () => {
      throw invalid(message);
    });
  }
}

/** What of an instruction an error is about: a flag or an argument that its message names, else its name. */
function offendingPart(node: Node, message: string): string {
  const flag = /flag(?: specified)?:? (--[^\s,]+)/.exec(message)?.[1];
  if (flag !== undefined) return flag;
  const quoted = /["']([^"']+)["']/.exec(message)?.[1];
  if (quoted !== undefined && node.original.includes(quoted)) return quoted;
  return node.name;
}
