import { messageOf } from "../../base/errors.ts";
import { compileTemplate } from "../../base/template/evaluate.ts";
import { ExitError } from "../command.ts";
import { print, printLine } from "./print.ts";

/** How templates see one value. */
export interface ValueShape {
  /** The template's name in errors. */
  readonly name?: string;
  /** What errors call the value. */
  readonly type: string;
  /** Values in it, and what errors call them. */
  readonly parts?: ReadonlyMap<unknown, string>;
  /** Fields of it that may be missing. */
  readonly fields?: ReadonlySet<string>;
}

/** Prints one value by a template. Its fields may be spelled as Go's are: in any case. */
export function printValue(value: unknown, format: string, shape: ValueShape): void {
  const missing = (record: Readonly<Record<string, unknown>>, field: string, isData: boolean): unknown => {
    const key = Object.keys(record).find((name) => name.toLowerCase() === field.toLowerCase());
    if (key !== undefined) return record[key];
    const part = shape.parts?.get(record);
    if (part !== undefined) throw new Error(`can't evaluate field ${field} in type ${part}`);
    if (isData && shape.fields?.has(field) !== true) {
      throw new Error(`can't evaluate field ${field} in type ${shape.type}`);
    }
    return undefined;
  };
  let template: (data: unknown) => string;
  try {
    template = compileTemplate(format, { name: shape.name ?? "", type: shape.type, missing });
  } catch (error) {
    throw new ExitError(64, `template parsing error: ${messageOf(error)}`);
  }
  let text: string;
  try {
    text = template(value);
  } catch (error) {
    // The line that was begun is ended, as a reader of lines expects.
    printLine("");
    throw error;
  }
  print(`${text}\n`);
}
