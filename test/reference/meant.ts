import type { Recorded } from "./record.ts";

/** Where Gantry is otherwise than BuildKit, and is meant to be. */
export interface MeantDifference {
  readonly why: string;
  /** Names of cases. */
  readonly of: RegExp;
  /** What differs in them. */
  readonly in: readonly (keyof Recorded)[];
}

export const MEANT: readonly MeantDifference[] = [
  {
    why: "what would steer a terminal is shown as ?",
    of: /^file: has CR in the middle$/,
    in: ["error"],
  },
  {
    why: "the line that is wrong is shown, not the one before it",
    of: /^(?:file: has a line that is too long|directive: is there twice)$/,
    in: ["error", "check"],
  },
  {
    why: "an argument that can't be read is refused with a sentence by --call=check, too",
    of: /^directive: check by an argument that is wrong$/,
    in: ["check"],
  },
  {
    why: "what ends too early is said to, in place of a character that is none",
    of: /^(?:FROM: names a bad substitution|substitution: that is not ended|substitution: with the backtick)$/,
    in: ["error", "check"],
  },
  {
    why: "a platform that is none is refused in one sentence everywhere",
    of: /^FROM: has a wrong platform$/,
    in: ["error", "check"],
  },
  {
    why: "a circle is told of by the last of its instructions",
    of: /^FROM: goes in a circle/,
    in: ["check"],
  },
  {
    why: "what can be seen to fail is refused before anything is built",
    of: /^(?:heredoc: has a slash in its name|COPY: with an owner too high)$/,
    in: ["error", "check", "outline", "files"],
  },
  {
    why: "a file without instructions to build has no targets: that is an error for whoever asks for them",
    of: /^(?:file: has only ARG|ARG: has flags)$/,
    in: ["targets"],
  },
  {
    why: "a file that can't be read has an error and no warnings",
    of: /^MAINTAINER: has no argument$/,
    in: ["check"],
  },
  {
    why: "a mode that is none is named",
    of: /^COPY: has a (?:symbolic mode that is none|negative mode)$/,
    in: ["error", "check"],
  },
  {
    why: "steps are given no devices",
    of: /^RUN flags: a device$/,
    in: ["error", "check"],
  },
];
