import { invalid } from "./source.ts";

/** A parser directive: `# escape=\``, before anything else in a Dockerfile. */
export interface Directive {
  readonly name: "syntax" | "escape" | "check";
  readonly value: string;
  readonly line: number;
}

const BYTE_ORDER_MARK = "\ufeff";
const NAMES: ReadonlySet<string> = new Set(["syntax", "escape", "check"]);

/** Reads directives a line at a time; with the first line that is none they are over. */
export class DirectiveReader {
  readonly #prefix: string;
  readonly #seen = new Set<string>();
  #line: number;
  #over = false;

  constructor(prefix = "#", linesBefore = 0) {
    this.#prefix = prefix;
    this.#line = linesBefore;
  }

  get over(): boolean {
    return this.#over;
  }

  /** The directive of the next line. Throws `invalid` for one that is there a second time. */
  read(line: string): Directive | undefined {
    this.#line++;
    if (this.#over) return undefined;
    const directive = line.startsWith(this.#prefix) ? directiveOf(line.slice(this.#prefix.length)) : undefined;
    if (directive === undefined || !NAMES.has(directive.name)) {
      this.#over = true;
      return undefined;
    }
    if (this.#seen.has(directive.name)) throw invalid(`only one ${directive.name} parser directive can be used`);
    this.#seen.add(directive.name);
    return { name: directive.name as Directive["name"], value: directive.value, line: this.#line };
  }
}

/**
 * The frontend that a file asks for, in a comment of `#` or `//`, or as the field `syntax` of a JSON object; a first
 * line `#!` is no matter. undefined if it asks for none.
 */
export function detectSyntax(text: string): { readonly reference: string; readonly line: number } | undefined {
  const { body, linesBefore } = withoutShebang(text);
  const found = findDirective("syntax", body, "#", linesBefore) ?? findDirective("syntax", body, "//", linesBefore);
  if (found !== undefined) return { reference: firstWord(found.value), line: found.line };
  const reference = jsonSyntax(body);
  return reference === undefined ? undefined : { reference, line: linesBefore + 1 };
}

/** The options of the `check` directive. */
export function checkDirective(text: string): Directive | undefined {
  const { body, linesBefore } = withoutShebang(text);
  const found = findDirective("check", body, "#", linesBefore);
  return found === undefined ? undefined : { ...found, value: firstWord(found.value) };
}

/** The `check` directive of a comment that stands before an instruction, without its `#`. */
export function checkOfComment(comment: string): string | undefined {
  const directive = directiveOf(comment);
  return directive?.name === "check" ? firstWord(directive.value) : undefined;
}

function directiveOf(text: string): { name: string; value: string } | undefined {
  const [, name = "", value] = /^\s*([A-Za-z][A-Za-z0-9]*)\s*=(.*)$/s.exec(text) ?? [];
  const trimmed = value?.trim() ?? "";
  return trimmed === "" || trimmed.includes("\n") ? undefined : { name: name.toLowerCase(), value: trimmed };
}

function findDirective(name: string, text: string, prefix: string, linesBefore: number): Directive | undefined {
  const reader = new DirectiveReader(prefix, linesBefore);
  for (let at = 0; at < text.length && !reader.over; ) {
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    let directive: Directive | undefined;
    try {
      directive = reader.read(text.slice(at, end));
    } catch {
      // A second one of a name ends the search here; the parser is the one to refuse it.
      return undefined;
    }
    if (directive?.name === name) return directive;
    at = end + 1;
  }
  return undefined;
}

function withoutShebang(text: string): { body: string; linesBefore: number } {
  const body = text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
  if (!body.startsWith("#!")) return { body, linesBefore: 0 };
  const newline = body.indexOf("\n");
  return { body: newline < 0 ? "" : body.slice(newline + 1), linesBefore: 1 };
}

function jsonSyntax(text: string): string | undefined {
  if (!/^\s*\{/.test(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    const syntax = typeof value === "object" && value !== null && Object.hasOwn(value, "syntax") && "syntax" in value;
    return syntax && typeof value.syntax === "string" ? value.syntax : undefined;
  } catch {
    return undefined;
  }
}

function firstWord(text: string): string {
  return text.split(" ", 1)[0] ?? "";
}
