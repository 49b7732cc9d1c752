import type { BinaryOperator, Expression, ObjectItem, Span } from "./syntax.ts";
import { TemplateParser } from "./template-parser.ts";

const NUMBER = /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const LEVELS: readonly (readonly BinaryOperator[])[] = [
  ["||"],
  ["&&"],
  ["==", "!="],
  ["<=", ">=", "<", ">"],
  ["+", "-"],
  ["*", "/", "%"],
];

/** Expressions: operators by their levels, terms, and what follows them. */
export class ExpressionParser extends TemplateParser {
  protected expression(): Expression {
    this.enter();
    const test = this.binary(0);
    this.skip();
    if (!this.take("?")) {
      this.depth--;
      return test;
    }
    const yes = this.loose(() => this.expression());
    this.skipLines();
    if (!this.take(":")) {
      throw this.error(
        "Missing false expression in conditional",
        "The conditional operator (...?...:...) requires a false expression, delimited by a colon.",
      );
    }
    const no = this.expression();
    this.depth--;
    return { kind: "conditional", test, yes, no, span: between(test, no) };
  }

  protected binary(level: number): Expression {
    const operators = LEVELS[level];
    if (operators === undefined) return this.unary();
    let left = this.binary(level + 1);
    for (;;) {
      this.skip();
      const operator = operators.find((each) => this.text.startsWith(each, this.at));
      if (operator === undefined) return left;
      this.at += operator.length;
      this.skipLines();
      const right = this.binary(level + 1);
      left = { kind: "binary", operator, left, right, span: between(left, right) };
    }
  }

  protected unary(): Expression {
    this.skip();
    const start = this.at;
    const operator = this.text[start];
    if (operator !== "-" && !(operator === "!" && this.text[start + 1] !== "=")) return this.postfix();
    this.at++;
    this.enter();
    const operand = this.unary();
    this.depth--;
    return { kind: "unary", operator: operator as "-" | "!", operand, span: { start, end: this.at } };
  }

  protected postfix(): Expression {
    return this.traversal(this.term());
  }

  /** What follows a term: `.name`, `.0`, `[key]`, `.*`, `[*]`. */
  protected traversal(first: Expression): Expression {
    let of = first;
    const span = () => ({ start: first.span.start, end: this.at });
    for (;;) {
      const next = this.text[this.at];
      if (next === "." && this.text[this.at + 1] === "*") {
        this.at += 2;
        const each = this.namesAfter({ kind: "element", span: span() });
        of = { kind: "splat", of, each, span: span() };
      } else if (next === "." && !this.text.startsWith("...", this.at)) {
        of = this.dot(of);
      } else if (next === "[") {
        this.at++;
        const star = this.loose(() => {
          this.skipLines();
          return this.take("*");
        });
        if (star) {
          this.skipLines();
          this.expect("]");
          const each = this.traversal({ kind: "element", span: span() });
          of = { kind: "splat", of, each, span: span() };
          continue;
        }
        const key = this.loose(() => this.expression());
        this.skipLines();
        this.expect("]");
        of = { kind: "index", of, key, span: span() };
      } else {
        return of;
      }
    }
  }

  protected namesAfter(first: Expression): Expression {
    let of = first;
    while (this.text[this.at] === "." && this.text[this.at + 1] !== "*") of = this.dot(of);
    return of;
  }

  protected dot(of: Expression): Expression {
    this.at++;
    const start = this.at;
    const digits = /\d+/y;
    digits.lastIndex = start;
    const number = digits.exec(this.text)?.[0];
    if (number !== undefined) {
      this.at += number.length;
      const key: Expression = { kind: "literal", value: Number(number), span: { start, end: this.at } };
      return { kind: "index", of, key, span: { start: of.span.start, end: this.at } };
    }
    const name = this.name();
    if (name === undefined) {
      throw this.error("Invalid attribute name", "An attribute name is required after a dot.");
    }
    return { kind: "attribute", of, name, span: { start: of.span.start, end: this.at } };
  }

  protected term(): Expression {
    this.skip();
    const start = this.at;
    const next = this.text[start];
    if (next === '"') return this.quoted();
    if (next === "(") return this.parenthesis();
    if (next === "[") return this.tuple();
    if (next === "{") return this.object();
    if (this.text.startsWith("<<", start)) return this.heredoc();
    NUMBER.lastIndex = start;
    const number = NUMBER.exec(this.text)?.[0];
    if (number !== undefined) {
      this.at += number.length;
      return { kind: "literal", value: Number(number), span: { start, end: this.at } };
    }
    const name = this.name();
    if (name === undefined) {
      throw this.error(
        "Invalid expression",
        "Expected the start of an expression, but found an invalid expression token.",
      );
    }
    const span = { start, end: this.at };
    if (this.text[this.at] === "(") return this.call(name, start);
    if (name === "true" || name === "false") return { kind: "literal", value: name === "true", span };
    if (name === "null") return { kind: "literal", value: null, span };
    return { kind: "variable", name, span };
  }

  protected parenthesis(): Expression {
    this.at++;
    const inner = this.loose(() => this.expression());
    this.skipLines();
    this.expect(")");
    return inner;
  }

  protected call(name: string, start: number): Expression {
    this.at++;
    const args: Expression[] = [];
    let expands = false;
    this.loose(() => {
      for (;;) {
        this.skipLines();
        if (this.take(")")) return;
        if (expands) throw this.error("Invalid expansion argument", "An expanded argument must be the last one.");
        args.push(this.expression());
        this.skipLines();
        expands = this.take("...");
        this.skipLines();
        if (this.take(",")) continue;
        if (this.take(")")) return;
        throw this.error(
          "Missing argument separator",
          "A comma is required to separate each function argument from the next.",
        );
      }
    });
    return { kind: "call", name, args, expands, span: { start, end: this.at } };
  }

  protected tuple(): Expression {
    const start = this.at++;
    return this.loose(() => {
      const loop = this.forExpression(start, "]");
      if (loop !== undefined) return loop;
      const items: Expression[] = [];
      for (;;) {
        this.skipLines();
        if (this.take("]")) break;
        items.push(this.expression());
        this.skipLines();
        if (this.take(",")) continue;
        if (this.take("]")) break;
        throw this.error("Missing item separator", "Expected a comma to mark the beginning of the next item.");
      }
      return { kind: "tuple", items, span: { start, end: this.at } };
    });
  }

  protected object(): Expression {
    const start = this.at++;
    const loop = this.loose(() => this.forExpression(start, "}"));
    if (loop !== undefined) return loop;
    const linesEnd = this.linesEnd;
    this.linesEnd = true;
    const items: ObjectItem[] = [];
    for (;;) {
      this.skipLines();
      if (this.take("}")) break;
      items.push(this.objectItem());
      this.skip();
      if (this.take(",")) continue;
      const next = this.text[this.at];
      if (next === "\n" || next === "\r" || next === "}") continue;
      throw this.error(
        "Missing attribute separator",
        "Expected a newline or comma to mark the beginning of the next attribute.",
      );
    }
    this.linesEnd = linesEnd;
    return { kind: "object", items, span: { start, end: this.at } };
  }

  protected objectItem(): ObjectItem {
    const start = this.at;
    const bare = this.name();
    if (bare !== undefined) {
      const span = { start, end: this.at };
      this.skip();
      if (this.takeAssignment()) {
        return { key: { kind: "literal", value: bare, span }, value: this.expression() };
      }
      this.at = start;
    }
    const key = this.expression();
    this.skip();
    if (!this.takeAssignment()) {
      throw this.error("Missing attribute value", 'Expected an attribute value, introduced by an equals sign ("=").');
    }
    return { key, value: this.expression() };
  }

  protected takeAssignment(): boolean {
    if (this.text.startsWith("==", this.at)) return false;
    return this.take("=") || this.take(":");
  }

  /** `for k, v in all : key => value... if test`, after the opening bracket. */
  protected forExpression(start: number, close: "]" | "}"): Expression | undefined {
    this.skipLines();
    const before = this.at;
    if (this.name() !== "for") {
      this.at = before;
      return undefined;
    }
    this.skipLines();
    const first = this.name();
    if (first === undefined) {
      this.at = before;
      return undefined;
    }
    this.skipLines();
    const second = this.take(",") ? this.nameAfterLines() : undefined;
    this.skipLines();
    if (this.name() !== "in") throw this.error("Invalid 'for' expression", "For expression requires the 'in' keyword.");
    const collection = this.expression();
    this.skipLines();
    this.expect(":");
    let value = this.expression();
    this.skipLines();
    let key: Expression | undefined;
    if (this.take("=>")) {
      key = value;
      value = this.expression();
      this.skipLines();
    }
    const groups = this.take("...");
    this.skipLines();
    const beforeIf = this.at;
    let condition: Expression | undefined;
    if (this.name() === "if") condition = this.expression();
    else this.at = beforeIf;
    this.skipLines();
    this.expect(close);
    if ((close === "}") !== (key !== undefined)) {
      throw this.error(
        "Invalid 'for' expression",
        close === "}"
          ? "A key expression is required when building an object."
          : "Key expression is not valid when building a tuple.",
      );
    }
    const [keyName, valueName] = second === undefined ? [undefined, first] : [first, second];
    const span = { start, end: this.at };
    return { kind: "for", keyName, valueName, collection, key, value, condition, groups, span };
  }
}

function between(first: Expression, last: Expression): Span {
  return { start: first.span.start, end: last.span.end };
}
