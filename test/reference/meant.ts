import type { Recorded } from "./record.ts";

/** Where Gantry is otherwise than BuildKit, and is meant to be. */
export interface MeantDifference {
  readonly why: string;
  /** Where it shows: in what is planned, or only in what is built. */
  readonly by: "plan" | "build";
  /** Names of cases. */
  readonly of: RegExp;
  /** What differs in them. */
  readonly in: readonly (keyof Recorded)[];
}

export const MEANT: readonly MeantDifference[] = [
  {
    why: "what would steer a terminal is shown as ?",
    by: "plan",
    of: /^(?:file: has CR in the middle|author: CR alone at the ends of lines)$/,
    in: ["error"],
  },
  {
    why: "the line that is wrong is shown, not the one before it",
    by: "plan",
    of: /^(?:file: has a line that is too long|directive: is there twice)$/,
    in: ["error", "check"],
  },
  {
    why: "an argument that can't be read is refused with a sentence by --call=check, too",
    by: "plan",
    of: /^directive: check by an argument that is wrong$/,
    in: ["check"],
  },
  {
    why: "what ends too early is said to, in place of a character that is none",
    by: "plan",
    of: /^(?:FROM: names a bad substitution|substitution: that is not ended|substitution: with the backtick)$/,
    in: ["error", "check"],
  },
  {
    why: "a platform that is none is refused in one sentence everywhere",
    by: "plan",
    of: /^FROM: has a wrong platform$/,
    in: ["error", "check"],
  },
  {
    why: "a circle is told of by the last of its instructions",
    by: "plan",
    of: /^FROM: goes in a circle/,
    in: ["check"],
  },
  {
    why: "what can be seen to fail is refused before anything is built",
    by: "plan",
    of: /^(?:heredoc: has a slash in its name|COPY: with an owner too high|author: an empty array for a command|author: a device that is needed)$/,
    in: ["error", "check", "outline", "files"],
  },
  {
    why: "a file without instructions to build has no targets: that is an error for whoever asks for them",
    by: "plan",
    of: /^(?:file: has only ARG|ARG: has flags)$/,
    in: ["targets"],
  },
  {
    why: "a file that can't be read has an error and no warnings",
    by: "plan",
    of: /^MAINTAINER: has no argument$/,
    in: ["check"],
  },
  {
    why: "a mode that is none is named",
    by: "plan",
    of: /^COPY: has a (?:symbolic mode that is none|negative mode)$|^author: COPY with a symbolic mode (?:that|and) /,
    in: ["error", "check"],
  },
  {
    why: "a file that a wildcard finds is left out by --exclude, as the reference has it",
    by: "build",
    of: /^COPY: with --exclude (?:of a wildcard's|of all that a wildcard finds|in a folder's wildcard)$/,
    in: ["files"],
  },
  {
    why: "a broken link in a folder of which something is left out is copied as it is",
    by: "build",
    of: /^COPY: with --exclude of all of the context$/,
    in: ["error", "files", "config"],
  },
  {
    why: "all of a context can be copied with --parents",
    by: "build",
    of: /^COPY: with --parents of all$/,
    in: ["error", "files", "config"],
  },
  {
    why: "a checksum of a URL may be of 512 bits",
    by: "build",
    of: /^ADD of a URL: with a checksum of 512 bits$/,
    in: ["error", "files", "config"],
  },
  {
    why: "a hard link in an archive is its file, whose header counts",
    by: "build",
    of: /^ADD: an archive with a link that has a look of its own$/,
    in: ["files"],
  },
  {
    why: "the times in a repository's address mean to ADD what they mean to a context; BuildKit's ADD has those of now",
    by: "build",
    of: /^ADD of a repository: of the commit's times/,
    in: ["files"],
  },
  {
    why: "a folder of a repository may lie behind a link in it",
    by: "build",
    of: /^ADD of a repository: of a folder behind a link$/,
    in: ["error", "files", "config"],
  },
  {
    why: "what a server or a repository hasn't is told in one sentence that names it",
    by: "build",
    of: /^ADD of a URL: that redirects for ever$|^ADD of a repository: (?:of a commit that isn't there|of a folder that is(?:n't there| a file)|of a folder of a submodule|that isn't there)$/,
    in: ["error"],
  },
  {
    why: "a checksum that is none is refused before anything is fetched",
    by: "plan",
    of: /^ADD of a repository: with a checksum that is none$/,
    in: ["error", "check"],
  },
  {
    why: "a pattern that is none is refused before anything is built",
    by: "plan",
    of: /^COPY: (?:is broken JSON|a broken pattern|from a stage by a broken pattern)$|^author: a COPY that is almost JSON$/,
    in: ["error", "check", "outline", "config", "history"],
  },
  {
    why: "an owner that is no number and no name is refused",
    by: "plan",
    of: /^COPY: with an owner that is negative$/,
    in: ["error", "check", "files", "config", "history"],
  },
  {
    why: "a name that can't be looked up is named",
    by: "plan",
    of: /by name without a base$|^COPY: with --link and (?:an owner|a group by name)$/,
    in: ["error", "check"],
  },
  {
    why: "the folder that can't be made is named, whichever call finds it out",
    by: "build",
    of: /^(?:COPY: to a path|WORKDIR:) through a file$|^COPY: a link in a loop$/,
    in: ["error"],
  },
  {
    why: "what isn't there is told in the same words whatever it is read of",
    by: "build",
    of: /^COPY: from a stage what is not there in one that is empty$/,
    in: ["error"],
  },
  {
    why: "a tmpfs has nothing of a source",
    by: "build",
    of: /^author: a tmpfs with a source$/,
    in: ["error", "files", "config"],
  },
];
