import type { ImageProcess } from "../oci/image.ts";
import { applyToConfig, type ConfigInstruction, draftOf, type Expander, variablesOf } from "./config-effect.ts";
import { trimSpace } from "./go-text.ts";
import type { Node } from "./node.ts";
import { parseNodes } from "./parse.ts";
import { readInstruction } from "./read-instruction.ts";
import { invalid } from "./source.ts";
import { expandText, expandWords } from "./words.ts";

const ALLOWED: ReadonlySet<string> = new Set(
  "cmd entrypoint env expose healthcheck label onbuild stopsignal user volume workdir".split(" "),
);

/**
 * Applies the instructions of `docker import --change` and `docker commit --change` to a config, in order, and gives
 * a new one. Each text is one or more lines of a Dockerfile. Refused with `invalid` and Docker's texts.
 */
export function applyChanges(config: ImageProcess, changes: readonly string[]): ImageProcess {
  const text = changes.join("\n");
  if (trimSpace(text) === "") return config;
  const { nodes, escape: escaper } = parseNodes({ name: "changes", text });
  for (const { name } of nodes) {
    if (!ALLOWED.has(name.toLowerCase())) throw invalid(`${name} is not a valid change command`);
  }
  const draft = draftOf(config);
  for (const node of nodes) applyToConfig(draft, change(node), expanderOf(draft.config, escaper));
  return draft.config;
}

function change(node: Node): ConfigInstruction {
  // Which instructions there may be was looked at before.
  return readInstruction(node) as ConfigInstruction;
}

function expanderOf(config: ImageProcess, escaper: string): Expander {
  const variables = variablesOf(config.Env);
  return {
    text: (text) => expandText(text, variables, { escape: escaper }).text,
    words: (text) => expandWords(text, variables, { escape: escaper }).words,
  };
}
