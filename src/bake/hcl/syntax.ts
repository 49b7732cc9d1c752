/** A place in a file: offsets into its text. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Body {
  readonly source: Source;
  readonly attributes: ReadonlyMap<string, Attribute>;
  readonly blocks: readonly Block[];
}

/** A file's name and its text. */
export interface Source {
  readonly name: string;
  readonly text: string;
}

export interface Attribute {
  readonly name: string;
  readonly nameSpan: Span;
  readonly value: Expression;
}

export interface Block {
  readonly type: string;
  readonly typeSpan: Span;
  readonly labels: readonly string[];
  readonly labelSpans: readonly Span[];
  /** Where its body begins: at its first definition if it is all on one line, else at its brace. */
  readonly start: number;
  readonly body: Body;
}

export type Expression = { readonly span: Span } & (
  | { readonly kind: "literal"; readonly value: string | number | boolean | null }
  | { readonly kind: "template"; readonly parts: readonly TemplatePart[] }
  /** A template of one interpolation alone: its value as it is. */
  | { readonly kind: "wrapped"; readonly inner: Expression }
  | { readonly kind: "variable"; readonly name: string }
  | { readonly kind: "attribute"; readonly of: Expression; readonly name: string }
  | { readonly kind: "index"; readonly of: Expression; readonly key: Expression }
  /** `each` is applied to every element, which stands for `variable` named "" in it. */
  | { readonly kind: "splat"; readonly of: Expression; readonly each: Expression }
  | { readonly kind: "element" }
  | { readonly kind: "call"; readonly name: string; readonly args: readonly Expression[]; readonly expands: boolean }
  | { readonly kind: "unary"; readonly operator: "-" | "!"; readonly operand: Expression }
  | {
      readonly kind: "binary";
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: "conditional"; readonly test: Expression; readonly yes: Expression; readonly no: Expression }
  | { readonly kind: "tuple"; readonly items: readonly Expression[] }
  | { readonly kind: "object"; readonly items: readonly ObjectItem[] }
  | ({ readonly kind: "for" } & ForExpression)
);

export type BinaryOperator = "||" | "&&" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "+" | "-" | "*" | "/" | "%";

export interface ObjectItem {
  /** A bare name stands for itself: a literal. */
  readonly key: Expression;
  readonly value: Expression;
}

export interface ForExpression {
  readonly keyName: string | undefined;
  readonly valueName: string;
  readonly collection: Expression;
  /** Of an object. */
  readonly key: Expression | undefined;
  readonly value: Expression;
  readonly condition: Expression | undefined;
  readonly groups: boolean;
}

export type TemplatePart =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "value"; readonly value: Expression }
  | {
      readonly kind: "if";
      readonly test: Expression;
      readonly yes: readonly TemplatePart[];
      readonly no: readonly TemplatePart[];
    }
  | {
      readonly kind: "loop";
      readonly keyName: string | undefined;
      readonly valueName: string;
      readonly collection: Expression;
      readonly body: readonly TemplatePart[];
    };
