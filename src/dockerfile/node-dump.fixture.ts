import { quote } from "./go-text.ts";
import type { Node, ParsedFile } from "./node.ts";

/** The nodes as the S-expressions that BuildKit's parser is tested by. */
export function dump(file: ParsedFile): string {
  return file.nodes.map((node) => `(${dumpNode(node)})`).join("\n");
}

function dumpNode(node: Node): string {
  const parts = [node.name.toLowerCase()];
  if (node.flags.length > 0) parts.push(`[${node.flags.map(quote).join(" ")}]`);
  if (node.trigger !== undefined) parts.push(`(${dumpNode(node.trigger)})`);
  parts.push(...argsOf(node).map(quote));
  return parts.join(" ").trim();
}

/** The table was made when the parser did not yet tell by what a name and its value were parted. */
function argsOf(node: Node): readonly string[] {
  const pairs = /^(?:env|label)$/i.test(node.name);
  return pairs ? node.args.filter((_, index) => index % 3 !== 2) : node.args;
}
