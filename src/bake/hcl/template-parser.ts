import type { HclError } from "./error.ts";
import { Scanner } from "./scanner.ts";
import type { Expression, Span } from "./syntax.ts";
import { joinParts, type Piece, stripHeredoc } from "./template.ts";

export const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\" };

/** Strings and heredocs: text with `${…}` and `%{…}` in it. */
export abstract class TemplateParser extends Scanner {
  protected abstract expression(): Expression;

  template(): Expression {
    const pieces = this.pieces(() => this.at >= this.text.length, false);
    return joinParts(pieces, { start: 0, end: this.text.length }, (piece, why) => this.pieceError(piece, why));
  }

  protected quoted(): Expression {
    const start = this.at++;
    const pieces = this.pieces(() => this.text[this.at] === '"', true);
    this.at++;
    return joinParts(pieces, { start, end: this.at }, (piece, why) => this.pieceError(piece, why));
  }

  protected heredoc(): Expression {
    const start = this.at;
    const opening = /<<(-?)([\p{ID_Start}_][\p{ID_Continue}-]*)\r?\n/uy;
    opening.lastIndex = start;
    const match = opening.exec(this.text);
    if (match === null) {
      throw this.error("Invalid expression", "A heredoc begins with << or <<-, its marker and a new line.");
    }
    const [whole, dash = "", marker = ""] = match;
    this.at += whole.length;
    const closing = new RegExp(`^[ \\t]*${marker.replace(/-/g, "\\-")}[ \\t]*(?=\\r?$)`, "mu");
    const found = closing.exec(this.text.slice(this.at));
    if (found === null) {
      throw this.error("Unterminated template string", `No line has the marker ${marker} alone.`, {
        start,
        end: start + whole.length,
      });
    }
    const end = this.at + found.index;
    const pieces = this.pieces(() => this.at >= end, false, end);
    this.at = end + found[0].length;
    const stripped = dash === "" ? pieces : stripHeredoc(pieces);
    return joinParts(stripped, { start, end: this.at }, (piece, why) => this.pieceError(piece, why));
  }

  /** Text, `${…}` and `%{…}` up to where `isEnd` says; `escapes` are those of quoted strings. */
  protected pieces(isEnd: () => boolean, escapes: boolean, limit = this.text.length): Piece[] {
    const pieces: Piece[] = [];
    let text = "";
    const flush = (): void => {
      if (text !== "") pieces.push({ kind: "text", text });
      text = "";
    };
    while (!isEnd()) {
      const at = this.at;
      const next = this.text[at];
      if (at >= limit || next === undefined || (escapes && (next === "\n" || next === "\r"))) {
        throw this.error(
          "Invalid multi-line string",
          "Quoted strings may not be split over multiple lines. To produce a multi-line string, either use the \\n " +
            'escape to represent a newline character or use the "heredoc" multi-line template syntax.',
        );
      }
      if ((next === "$" || next === "%") && this.text[at + 1] === next && this.text[at + 2] === "{") {
        text += `${next}{`;
        this.at += 3;
      } else if ((next === "$" || next === "%") && this.text[at + 1] === "{") {
        flush();
        pieces.push(next === "$" ? this.interpolation() : this.directive());
      } else if (escapes && next === "\\") {
        text += this.escape();
      } else {
        text += next;
        this.at++;
      }
    }
    flush();
    return pieces;
  }

  protected escape(): string {
    const kind = this.text[this.at + 1] ?? "";
    const length = { u: 4, U: 8 }[kind];
    if (length !== undefined) {
      const digits = this.text.slice(this.at + 2, this.at + 2 + length);
      const code = /^[0-9a-fA-F]+$/.test(digits) && digits.length === length ? Number.parseInt(digits, 16) : -1;
      if (code < 0 || code > 0x10ffff)
        throw this.error("Invalid escape sequence", "It needs hex digits of a code point.");
      this.at += 2 + length;
      return String.fromCodePoint(code);
    }
    const character = ESCAPES[kind];
    if (character === undefined) {
      throw this.error("Invalid escape sequence", `The symbol "${kind}" is not a valid escape sequence selector.`, {
        start: this.at,
        end: this.at + 2,
      });
    }
    this.at += 2;
    return character;
  }

  protected interpolation(): Piece {
    const start = this.at;
    this.at += 2;
    const before = this.take("~");
    const value = this.loose(() => this.expression());
    this.skipLines();
    const after = this.take("~");
    this.expect("}");
    return { kind: "value", value, strips: { before, after }, span: { start, end: this.at } };
  }

  protected directive(): Piece {
    const start = this.at;
    this.at += 2;
    const before = this.take("~");
    return this.loose(() => {
      this.skipLines();
      const word = this.name();
      const end = (): { strips: { before: boolean; after: boolean }; span: Span } => {
        this.skipLines();
        const after = this.take("~");
        this.expect("}");
        return { strips: { before, after }, span: { start, end: this.at } };
      };
      if (word === "if") return { kind: "if", test: this.expression(), ...end() };
      if (word === "else" || word === "endif" || word === "endfor") return { kind: word, ...end() };
      if (word !== "for") {
        throw this.error("Invalid template directive", "The directives are if, else, endif, for and endfor.");
      }
      const first = this.nameAfterLines();
      this.skipLines();
      const second = this.take(",") ? this.nameAfterLines() : undefined;
      this.skipLines();
      if (this.name() !== "in") throw this.error("Invalid 'for' directive", "It requires the 'in' keyword.");
      const [keyName, valueName] = second === undefined ? [undefined, first] : [first, second];
      return { kind: "for", keyName, valueName, collection: this.expression(), ...end() };
    });
  }

  protected nameAfterLines(): string {
    this.skipLines();
    const name = this.name();
    if (name === undefined) throw this.error("Invalid 'for' expression", "For expression requires a variable name.");
    return name;
  }

  protected pieceError(piece: Piece | undefined, why: string): HclError {
    const span = piece !== undefined && piece.kind !== "text" ? piece.span : undefined;
    return this.error("Invalid template directive", why, span);
  }
}
