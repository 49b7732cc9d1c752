import { messageOf } from "../base/errors.ts";
import { ParseError } from "../dockerfile/source.ts";
import { MissingSource, MissingTarget } from "./missing.ts";
import { ProcessFailure, StartFailure } from "./process-failure.ts";

/** What the classic builder said of the same failure, and the exit code of a command. */
export interface ClassicFailure {
  readonly message: string;
  readonly code?: number;
}

/** More causes than any error has. */
const DEEPEST = 10;

/** A build's failure as the classic builder told it: by what it is, or else by what caused it. */
export function classicFailure(error: unknown): ClassicFailure {
  for (let one = error, depth = 0; one instanceof Error && depth < DEEPEST; one = one.cause, depth++) {
    const said = saidOf(one);
    if (said !== undefined) return said;
  }
  return { message: messageOf(error) };
}

function saidOf(error: Error): ClassicFailure | undefined {
  if (error instanceof StartFailure) return { message: messageOf(error.cause) };
  if (error instanceof ProcessFailure) {
    const { args, exitCode } = error;
    return { message: `The command '${args.join(" ")}' returned a non-zero code: ${exitCode}`, code: exitCode };
  }
  if (error instanceof MissingSource) {
    const why = `stat ${error.path.slice(1)}: file does not exist`;
    return { message: `COPY failed: file not found in build context or excluded by .dockerignore: ${why}` };
  }
  if (error instanceof MissingTarget) {
    return { message: `failed to reach build target ${error.target} in Dockerfile` };
  }
  if (error instanceof ParseError) return { message: `dockerfile parse error line ${error.line}: ${error.why}` };
  return undefined;
}
