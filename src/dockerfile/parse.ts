import {
  type Arguments,
  blankSeparated,
  healthcheck,
  jsonOrWhole,
  jsonOrWords,
  namedPairs,
  nameOrPairs,
  splitCommand,
  wholeLine,
} from "./arguments.ts";
import { DirectiveReader } from "./directive.ts";
import { trimLeftSpace, trimSpace } from "./go-text.ts";
import { type Heredoc, heredocsOf } from "./heredoc.ts";
import type { Node, ParsedFile } from "./node.ts";
import { invalid, located, type SourceFile, type SourceRange } from "./source.ts";

/** Bytes of a line without its end. */
const LONGEST_LINE = 65_535;
/** Characters of an instruction with the lines that continue it: a step can be given no longer command. */
const LONGEST_INSTRUCTION = 512 << 10;
/** Lines that are read before others get a turn. */
const LINES_AT_ONCE = 1_000;

type ReadArguments = (rest: string, escaper: string) => Arguments;

const ARGUMENTS: ReadonlyMap<string, ReadArguments> = new Map<string, ReadArguments>([
  ["add", jsonOrWords],
  ["arg", nameOrPairs],
  ["cmd", jsonOrWhole],
  ["copy", jsonOrWords],
  ["entrypoint", jsonOrWhole],
  ["env", (rest, escaper) => namedPairs("ENV", rest, escaper)],
  ["expose", blankSeparated],
  ["from", blankSeparated],
  ["healthcheck", healthcheck],
  ["include", blankSeparated],
  ["label", (rest, escaper) => namedPairs("LABEL", rest, escaper)],
  ["maintainer", wholeLine],
  ["run", jsonOrWhole],
  ["shell", jsonOrWhole],
  ["stopsignal", wholeLine],
  ["user", wholeLine],
  ["volume", jsonOrWords],
  ["workdir", wholeLine],
]);
const WITH_HEREDOCS: ReadonlySet<string> = new Set(["add", "copy", "run"]);

/**
 * Text → instructions as they are written, as BuildKit's parser has it. Throws DockerfileError (`invalid`) with the
 * lines. Takes time and memory in proportion to the text.
 */
export function parseNodes(source: SourceFile): ParsedFile {
  return finished(nodesInSteps(source));
}

/** The same with a pause after each instruction, for those who must not hold up others. */
export function nodesInSteps(source: SourceFile): Generator<void, ParsedFile> {
  return new FileParser(source).parse();
}

/** What a generator returns in the end. */
export function finished<T>(steps: Generator<void, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** The instruction of a trigger that an image carries; its lines are those of the FROM that brought it. */
export function parseTrigger(text: string, source: SourceFile | undefined, range: SourceRange): Node {
  const { nodes } = located({ ...(source !== undefined && { source }), range }, () => {
    return parseNodes({ name: "ONBUILD", text });
  });
  const [node] = nodes;
  if (node === undefined || nodes.length > 1) throw invalid("onbuild trigger should be a single expression");
  return moved(node, range);
}

function moved(node: Node, range: SourceRange): Node {
  return { ...node, range, ...(node.trigger !== undefined && { trigger: moved(node.trigger, range) }) };
}

class FileParser {
  readonly #source: SourceFile;
  readonly #text: string;
  readonly #directives = new DirectiveReader();
  readonly #nodes: Node[] = [];
  readonly #emptyContinuations: SourceRange[] = [];
  #escape = "\\";
  #at = 0;
  /** Lines read so far. */
  #line = 0;
  #comments: string[] = [];

  constructor(source: SourceFile) {
    this.#source = source;
    this.#text = source.text.startsWith("\ufeff") ? source.text.slice(1) : source.text;
  }

  *parse(): Generator<void, ParsedFile> {
    for (let line = this.#next(); line !== undefined; line = this.#next()) {
      yield* this.#instruction(line);
      yield;
    }
    if (this.#nodes.length === 0) {
      throw this.#failAt(this.#line, this.#line, () => {
        throw invalid("file with no instructions");
      });
    }
    return { nodes: this.#nodes, escape: this.#escape, emptyContinuations: this.#emptyContinuations };
  }

  *#instruction(first: string): Generator<void> {
    const start = this.#line;
    const text = trimLeftSpace(withoutEnd(first));
    if (text.startsWith("#")) this.#comment(first, text);
    else if (!this.#directives.over) this.#directives.read(text);
    if (text === "" || text.startsWith("#")) return;
    const joined = yield* this.#joined(text, start);
    const node = this.#failAt(start, this.#line, () => this.#node(joined, this.#comments));
    const heredocs = yield* this.#heredocs(node, joined, start);
    this.#nodes.push({ ...node, heredocs, range: { start, end: this.#line } });
    this.#comments = [];
  }

  #comment(line: string, text: string): void {
    const directive = this.#failAt(this.#line, this.#line, () => this.#directives.read(text));
    if (directive !== undefined) {
      if (directive.name === "escape") this.#setEscape(directive.value);
      return;
    }
    const comment = trimSpace(line.slice(1));
    if (comment === "") this.#comments = [];
    else this.#comments.push(comment);
  }

  #setEscape(value: string): void {
    this.#failAt(this.#line, this.#line, () => {
      if (value !== "\\" && value !== "`") {
        throw invalid(`invalid escape token '${value}' does not match \` or \\`);
      }
      this.#escape = value;
    });
  }

  /** A line with those that continue it; comments and empty lines between them are left out. */
  *#joined(first: string, start: number): Generator<void, string> {
    let [text, continued] = this.#withoutContinuation(first);
    if (!continued) return text;
    const parts = [text];
    let { length } = text;
    let empty = false;
    while (continued) {
      const line = this.#next();
      if (line === undefined) break;
      if (this.#line % LINES_AT_ONCE === 0) yield;
      const whole = withoutEnd(line);
      const trimmed = trimLeftSpace(whole);
      if (trimmed.startsWith("#")) continue;
      if (trimmed === "") {
        empty = true;
        continue;
      }
      [text, continued] = this.#withoutContinuation(whole);
      parts.push(text);
      length += text.length;
      if (length > LONGEST_INSTRUCTION) {
        this.#failAt(start, this.#line, () => {
          throw invalid(`an instruction with its continuations can have at most ${LONGEST_INSTRUCTION} characters`);
        });
      }
    }
    if (empty) this.#emptyContinuations.push({ start: this.#line, end: this.#line });
    return parts.join("");
  }

  /** An escape at the end, but for blanks, continues the line, unless it is itself escaped. */
  #withoutContinuation(line: string): [text: string, continued: boolean] {
    let end = line.length;
    while (end > 0 && (line[end - 1] === " " || line[end - 1] === "\t")) end--;
    if (line[end - 1] !== this.#escape || line[end - 2] === this.#escape) return [line, false];
    return [line.slice(0, end - 1), true];
  }

  #node(line: string, comments: readonly string[]): Node {
    const { name, flags, rest } = splitCommand(line, this.#escape);
    const lower = name.toLowerCase();
    const base = { name, flags, heredocs: [], original: line, range: { start: this.#line, end: this.#line }, comments };
    if (lower === "onbuild") {
      if (rest === "") return { ...base, args: [], json: false };
      return { ...base, args: [], json: false, trigger: this.#node(rest, []) };
    }
    const read = ARGUMENTS.get(lower);
    if (read === undefined) return { ...base, args: [""], json: false };
    return { ...base, ...read(rest, this.#escape) };
  }

  *#heredocs(node: Node, line: string, start: number): Generator<void, Heredoc[]> {
    const holder = node.trigger ?? node;
    if (!WITH_HEREDOCS.has(holder.name.toLowerCase()) || holder.json || !line.includes("<<")) return [];
    const heredocs: Heredoc[] = [];
    for (const heredoc of this.#failAt(start, this.#line, () => heredocsOf(line))) {
      heredocs.push({ ...heredoc, content: yield* this.#heredoc(heredoc, start) });
    }
    return heredocs;
  }

  *#heredoc(heredoc: Heredoc, start: number): Generator<void, string> {
    const from = this.#at;
    for (let before = this.#at; ; before = this.#at) {
      const line = this.#next();
      if (line === undefined) {
        return this.#failAt(start, this.#line, () => {
          throw invalid("unterminated heredoc");
        });
      }
      if (this.#line % LINES_AT_ONCE === 0) yield;
      const text = withoutEnd(line);
      if ((heredoc.chomp ? text.replace(/^\t+/, "") : text) === heredoc.name) return this.#text.slice(from, before);
    }
  }

  /** The next line with its end. */
  #next(): string | undefined {
    if (this.#at >= this.#text.length) return undefined;
    const newline = this.#text.indexOf("\n", this.#at);
    const end = newline < 0 ? this.#text.length : newline + 1;
    const line = this.#text.slice(this.#at, end);
    if (isTooLong(line)) {
      return this.#failAt(this.#line + 1, this.#line + 1, () => {
        throw invalid(`dockerfile line greater than max allowed size of ${LONGEST_LINE}`);
      });
    }
    this.#at = end;
    this.#line++;
    return line;
  }

  #failAt<T>(start: number, end: number, act: () => T): T {
    return located({ source: this.#source, range: { start, end: Math.max(start, end) } }, act);
  }
}

function withoutEnd(line: string): string {
  let end = line.length;
  while (end > 0 && (line[end - 1] === "\n" || line[end - 1] === "\r")) end--;
  return line.slice(0, end);
}

function isTooLong(line: string): boolean {
  const length = line.endsWith("\n") ? line.length - 1 : line.length;
  if (length * 3 <= LONGEST_LINE) return false;
  if (length > LONGEST_LINE) return true;
  let bytes = 0;
  for (let at = 0; at < length; at++) {
    const unit = line.charCodeAt(at);
    // Each half of a surrogate pair counts two of its four bytes.
    bytes += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3;
  }
  return bytes > LONGEST_LINE;
}
