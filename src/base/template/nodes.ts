/** What a command is made of. `at` is its place in the template, `text` how Go's errors show it. */
export type Operand = { readonly at: number } & (
  | { readonly kind: "dot" | "nil" }
  | { readonly kind: "literal"; readonly value: string | number | bigint | boolean; readonly text: string }
  | { readonly kind: "function"; readonly name: string }
  | { readonly kind: "field"; readonly names: readonly string[] }
  | { readonly kind: "variable"; readonly name: string; readonly names: readonly string[] }
  | { readonly kind: "chain"; readonly base: Operand; readonly names: readonly string[] }
  | { readonly kind: "pipe"; readonly pipe: Pipe }
);

/** A function, field or value and its arguments. */
export interface Command {
  readonly at: number;
  readonly operands: readonly [Operand, ...Operand[]];
}

export interface Pipe {
  readonly at: number;
  readonly variables: readonly string[];
  /** True for `=`, false for `:=`. */
  readonly assigns: boolean;
  readonly commands: readonly Command[];
}

export type Node = { readonly at: number } & (
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "print"; readonly pipe: Pipe }
  | {
      readonly kind: "if" | "with" | "range";
      readonly pipe: Pipe;
      readonly body: readonly Node[];
      readonly other: readonly Node[];
    }
  | { readonly kind: "template"; readonly name: string; readonly pipe: Pipe | undefined }
  | { readonly kind: "break" | "continue" }
);

export type BlockNode = Node & { readonly kind: "if" | "with" | "range" };

function operandText(operand: Operand): string {
  switch (operand.kind) {
    case "dot":
      return ".";
    case "nil":
      return "nil";
    case "literal":
      return operand.text;
    case "function":
      return operand.name;
    case "field":
      return operand.names.map((name) => `.${name}`).join("");
    case "variable":
      return [operand.name, ...operand.names].join(".");
    case "chain":
      return `${operandText(operand.base)}${operand.names.map((name) => `.${name}`).join("")}`;
    case "pipe":
      return `(${pipeText(operand.pipe)})`;
  }
}

function commandText(command: Command): string {
  return command.operands.map(operandText).join(" ");
}

function pipeText(pipe: Pipe): string {
  const declared = pipe.variables.length === 0 ? "" : `${pipe.variables.join(", ")} ${pipe.assigns ? "=" : ":="} `;
  return declared + pipe.commands.map(commandText).join(" | ");
}

/** A piece of a template as it is shown in an error. */
export function shownText(piece: Operand | Command | Node): string {
  if ("operands" in piece) return commandText(piece);
  switch (piece.kind) {
    case "template":
      return `{{template ${JSON.stringify(piece.name)}${piece.pipe === undefined ? "" : ` ${pipeText(piece.pipe)}`}}}`;
    case "text":
      return piece.text;
    case "print":
      return `{{${pipeText(piece.pipe)}}}`;
    case "if":
    case "with":
    case "range":
      return `{{${piece.kind} ${pipeText(piece.pipe)}}}`;
    case "break":
    case "continue":
      return `{{${piece.kind}}}`;
    default:
      return operandText(piece);
  }
}
