import type { Expression, Span, TemplatePart } from "./syntax.ts";

/** A template as it is read, before its directives are paired. */
export type Piece =
  | { readonly kind: "text"; readonly text: string }
  | ({ readonly kind: "value"; readonly value: Expression } & Marked)
  | ({ readonly kind: "if"; readonly test: Expression } & Marked)
  | ({
      readonly kind: "for";
      readonly keyName: string | undefined;
      readonly valueName: string;
      readonly collection: Expression;
    } & Marked)
  | ({ readonly kind: "else" | "endif" | "endfor" } & Marked);

interface Marked {
  /** `~` takes away the white space on its side. */
  readonly strips: { readonly before: boolean; readonly after: boolean };
  readonly span: Span;
}

type OnError = (piece: Piece | undefined, why: string) => Error;

/** A template's expression: a literal if it is only text, the value itself if it is only one interpolation. */
export function joinParts(pieces: readonly Piece[], span: Span, onError: OnError): Expression {
  const [first] = pieces;
  if (first?.kind === "value" && pieces.length === 1) return { kind: "wrapped", inner: first.value, span };
  const parts = treeOf(stripped(pieces), onError);
  if (parts.every((part) => part.kind === "text")) {
    return { kind: "literal", value: parts.map((part) => part.text).join(""), span };
  }
  return { kind: "template", parts, span };
}

/** White space beside the marks goes. */
function stripped(pieces: readonly Piece[]): Piece[] {
  return pieces.map((piece, index) => {
    if (piece.kind !== "text") return piece;
    const [before, after] = [pieces[index - 1], pieces[index + 1]];
    let { text } = piece;
    if (before !== undefined && before.kind !== "text" && before.strips.after) text = text.trimStart();
    if (after !== undefined && after.kind !== "text" && after.strips.before) text = text.trimEnd();
    return { kind: "text", text };
  });
}

/** Pairs `if` with its `endif`, `for` with its `endfor`. */
function treeOf(pieces: readonly Piece[], onError: OnError): TemplatePart[] {
  let at = 0;
  const read = (ends: readonly string[]): { parts: TemplatePart[]; end: Piece | undefined } => {
    const parts: TemplatePart[] = [];
    while (at < pieces.length) {
      const piece = pieces[at++]!;
      if (ends.includes(piece.kind)) return { parts, end: piece };
      if (piece.kind === "text") parts.push(piece);
      else if (piece.kind === "value") parts.push({ kind: "value", value: piece.value });
      else if (piece.kind === "if") {
        const yes = read(["else", "endif"]);
        const no = yes.end?.kind === "else" ? read(["endif"]) : { parts: [], end: yes.end };
        if (no.end === undefined) throw onError(piece, "The directive if has no endif.");
        parts.push({ kind: "if", test: piece.test, yes: yes.parts, no: no.parts });
      } else if (piece.kind === "for") {
        const body = read(["endfor"]);
        if (body.end === undefined) throw onError(piece, "The directive for has no endfor.");
        const { keyName, valueName, collection } = piece;
        parts.push({ kind: "loop", keyName, valueName, collection, body: body.parts });
      } else {
        throw onError(piece, `Nothing before this ${piece.kind} needs it.`);
      }
    }
    return { parts, end: undefined };
  };
  return read([]).parts;
}

/** Takes from each line the indentation that all of them have, as `<<-` does. */
export function stripHeredoc(pieces: readonly Piece[]): Piece[] {
  let least = Number.POSITIVE_INFINITY;
  eachLineStart(pieces, (text, isWhole) => {
    const indentation = /^[ \t]*/.exec(text)?.[0].length ?? 0;
    if (!isWhole || indentation < text.length) least = Math.min(least, indentation);
  });
  if (least === 0 || least === Number.POSITIVE_INFINITY) return [...pieces];
  let startsLine = true;
  return pieces.map((piece) => {
    if (piece.kind !== "text") {
      startsLine = false;
      return piece;
    }
    const lines = piece.text.split("\n");
    const text = lines
      .map((line, index) => (index > 0 || startsLine ? line.slice(Math.min(least, indentOf(line))) : line))
      .join("\n");
    startsLine = piece.text.endsWith("\n");
    return { kind: "text", text };
  });
}

function indentOf(line: string): number {
  return /^[ \t]*/.exec(line)?.[0].length ?? 0;
}

/** Each text that begins a line; `isWhole` if the line has nothing else. */
function eachLineStart(pieces: readonly Piece[], act: (text: string, isWhole: boolean) => void): void {
  let startsLine = true;
  for (const [index, piece] of pieces.entries()) {
    if (piece.kind !== "text") {
      if (startsLine) act("", false);
      startsLine = false;
      continue;
    }
    const lines = piece.text.split("\n");
    for (const [n, line] of lines.entries()) {
      const isLast = n === lines.length - 1;
      if (isLast && line === "" && n > 0) continue;
      if (n > 0 || startsLine) act(line, !isLast || index === pieces.length - 1);
    }
    startsLine = piece.text.endsWith("\n");
  }
}
