import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ReferenceCase } from "./case.ts";

/** What a case says below its title, behind `% `. */
interface Written {
  readonly args?: Readonly<Record<string, string>>;
  readonly target?: string;
  readonly files?: Readonly<Record<string, string>>;
  /** What ends its lines; "\n" if it isn't said. */
  readonly newline?: string;
  /** It begins with a byte order mark. */
  readonly mark?: boolean;
  /** What stands for the line MARK or the word, and how often. */
  readonly repeat?: readonly [text: string, times: number];
}

const FILE = fileURLToPath(new URL("authors.txt", import.meta.url));

/** Dockerfiles as odd as authors write them, of `authors.txt`: `=== title`, `% OPTIONS` and the text. */
export const AUTHORS_CASES: readonly ReferenceCase[] = readFileSync(FILE, "utf8")
  .split(/^=== /m)
  .slice(1)
  .map((section) => {
    const [, title = "", line = "{}", text = ""] = /^(.*)\n(?:% (.*)\n)?([\s\S]*)\n$/.exec(section) ?? [];
    const { args, target, files, newline, mark, repeat } = JSON.parse(line) as Written;
    const whole = repeat === undefined ? text : text.replace(/MARK\n?/, repeat[0].repeat(repeat[1]));
    return {
      name: `author: ${title}`,
      dockerfile: (mark === true ? "\ufeff" : "") + (newline === undefined ? whole : whole.replaceAll("\n", newline)),
      isBuilt: true,
      ...(args !== undefined && { args }),
      ...(target !== undefined && { target }),
      ...(files !== undefined && { files: Object.entries(files).map(([name, body]) => ({ name, body })) }),
    };
  });
