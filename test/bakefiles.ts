import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** A definition, and what is asked of it. */
export interface BakeCase {
  readonly title: string;
  /** After `bake`. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly files: ReadonlyMap<string, string>;
}

/** What buildx says to a case: what it prints (JSON where it is some), or its last line of errors. */
export interface BakeAnswer {
  readonly printed?: unknown;
  readonly error?: string;
}

const FOLDER = fileURLToPath(new URL("./bakefiles/", import.meta.url));

/** `=== title`, `$ NAME=value bake ARGS` and files behind `--- name` each. */
export function bakeCases(): readonly BakeCase[] {
  const [, ...texts] = readFileSync(join(FOLDER, "cases.txt"), "utf8").split(/^=== /m);
  return texts.map((text) => {
    const [head = "", ...files] = text.split(/^--- /m);
    const [title = "", command = ""] = head.split("\n");
    const words = command.replace(/^\$ /, "").split(" ");
    const at = words.indexOf("bake");
    return {
      title,
      args: words.slice(at + 1).filter((word) => word !== ""),
      env: Object.fromEntries(
        words.slice(0, Math.max(at, 0)).map((word) => word.split(/=(.*)/s, 2) as [string, string]),
      ),
      files: new Map(files.map((file) => file.split(/\n(.*)/s, 2) as [string, string])),
    };
  });
}

/** Puts a case's files into a folder. */
export function layOut({ files }: BakeCase, folder: string): void {
  for (const [name, text] of files) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), `${text.trimEnd()}\n`);
  }
}

export function recordedAnswers(): ReadonlyMap<string, BakeAnswer> {
  return new Map(Object.entries(JSON.parse(readFileSync(join(FOLDER, "expected.json"), "utf8")) as object));
}

export function recordAnswers(answers: ReadonlyMap<string, BakeAnswer>): void {
  writeFileSync(join(FOLDER, "expected.json"), `${JSON.stringify(Object.fromEntries(answers), undefined, 1)}\n`);
}

/** What a client's two streams say. */
export function answerOf({
  code,
  stdout,
  stderr,
}: {
  code: number | null;
  stdout: string;
  stderr: string;
}): BakeAnswer {
  if (code === 0) {
    try {
      return { printed: JSON.parse(stdout) };
    } catch {
      return { printed: stdout };
    }
  }
  return { error: stderr.trimEnd().replace(/^[\s\S]*?^ERROR: /m, "") };
}
