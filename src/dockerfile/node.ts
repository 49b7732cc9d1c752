import type { Heredoc } from "./heredoc.ts";
import type { SourceRange } from "./source.ts";

/** One instruction as it is written: its name, flags and arguments, nothing understood yet. */
export interface Node {
  /** In the case it is written in. */
  readonly name: string;
  readonly flags: readonly string[];
  /** Of ENV and LABEL three for each pair: name, value, and "=" or "". */
  readonly args: readonly string[];
  /** The arguments were a JSON array. */
  readonly json: boolean;
  /** ONBUILD's instruction. */
  readonly trigger?: Node;
  readonly heredocs: readonly Heredoc[];
  /** The line, its continuations joined; without what heredocs hold. */
  readonly original: string;
  readonly range: SourceRange;
  /** Comment lines right before it, without their `#`. */
  readonly comments: readonly string[];
}

export interface ParsedFile {
  readonly nodes: readonly Node[];
  /** What escapes and continues lines. */
  readonly escape: string;
  /** Last lines of instructions that have an empty line inside. */
  readonly emptyContinuations: readonly SourceRange[];
}
