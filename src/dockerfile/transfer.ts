import { readFlags } from "./flags.ts";
import { heredocOf, withoutLeadingTabs } from "./heredoc.ts";
import type { AddInstruction, CopyInstruction, InlineFile } from "./instruction.ts";
import type { Node } from "./node.ts";
import { invalid } from "./source.ts";

/** COPY and ADD. */

type Own<T> = Omit<T, "name" | "code" | "range" | "comments">;

export function readCopy(node: Node): Own<CopyInstruction> {
  requireTarget("COPY", node);
  const flags = readFlags(node.flags, {
    chown: "text",
    from: "text",
    chmod: "text",
    link: "boolean",
    exclude: "texts",
    parents: "boolean",
  });
  return {
    kind: "copy",
    ...sourcesAndTarget("COPY", node),
    ...common(flags),
    from: flags.from ?? "",
    parents: flags.parents === true,
  };
}

export function readAdd(node: Node): Own<AddInstruction> {
  requireTarget("ADD", node);
  const flags = readFlags(node.flags, {
    chown: "text",
    chmod: "text",
    link: "boolean",
    "keep-git-dir": "boolean",
    checksum: "text",
    unpack: "boolean",
    exclude: "texts",
  });
  return {
    kind: "add",
    ...sourcesAndTarget("ADD", node),
    ...common(flags),
    checksum: flags.checksum ?? "",
    keepGitDir: flags["keep-git-dir"],
    unpack: flags.unpack,
  };
}

function common(flags: {
  readonly chown: string | undefined;
  readonly chmod: string | undefined;
  readonly link: boolean | undefined;
  readonly exclude: readonly string[];
}) {
  return {
    chown: flags.chown ?? "",
    chmod: flags.chmod ?? "",
    link: flags.link === true,
    exclude: flags.exclude,
  };
}

function requireTarget(instruction: string, node: Node): void {
  if (node.args.length >= 2) return;
  throw invalid(
    `${instruction} requires at least two arguments, but only one was provided. Destination could not be determined`,
  );
}

function sourcesAndTarget(instruction: string, node: Node) {
  const target = node.args.at(-1) ?? "";
  const words = node.args.slice(0, -1);
  if (node.json) return { sources: words, inline: [], target };
  if (opened(target) !== undefined) throw invalid(`${instruction} cannot accept a heredoc as a destination`);
  const contents = new Map(node.heredocs.map((heredoc) => [heredoc.name, heredoc.content]));
  const sources: string[] = [];
  const inline: InlineFile[] = [];
  for (const word of words) {
    const heredoc = opened(word);
    if (heredoc === undefined) {
      sources.push(word);
      continue;
    }
    const content = contents.get(heredoc.name) ?? "";
    inline.push({
      name: heredoc.name,
      data: heredoc.chomp ? withoutLeadingTabs(content) : content,
      expand: heredoc.expand,
    });
  }
  return { sources, inline, target };
}

/** A word with broken quotes is a file's name. */
function opened(word: string): ReturnType<typeof heredocOf> {
  try {
    return heredocOf(word);
  } catch {
    return undefined;
  }
}
