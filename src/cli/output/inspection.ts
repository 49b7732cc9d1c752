import { messageOf } from "../../base/errors.ts";
import { ExitError } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { indentJson } from "./indent.ts";
import { complain, print, printLine } from "./print.ts";

/** What templates see of a kind of values whose fields are known. */
export interface InspectedShape {
  /** What errors call a value. */
  readonly type: string;
  /** Fields that the engine leaves out when they are empty, and what they then are. */
  readonly leftOut: Readonly<Record<string, unknown>>;
}

type Missing = (record: Readonly<Record<string, unknown>>, field: string, isData: boolean) => unknown;

/**
 * Looks each name up and prints what was found: as JSON, on one line for the format `json`, or by a template. What was
 * not found is complained of at the end. Resolves to the exit code. `shape` is of values of one kind that is known.
 */
export async function inspectValues(
  names: readonly string[],
  lookup: (name: string) => Promise<string>,
  format: string,
  shape?: InspectedShape,
): Promise<number> {
  const show = format === "" || format === "json" ? undefined : await templateFor(format, shape);
  const found: string[] = [];
  const complaints: string[] = [];
  let shown = 0;
  for (const name of names) {
    let text: string;
    try {
      text = await lookup(name);
    } catch (error) {
      complaints.push(errorLine(error));
      continue;
    }
    if (show === undefined) found.push(text.trim());
    else {
      print(`${show(JSON.parse(text))}\n`);
      shown++;
    }
  }
  const all = `[${found.join(",")}]`;
  if (format === "json") print(`${all}\n`);
  else if (show === undefined) print(`${indentJson(all, "    ")}\n`);
  else if (shown === 0) print("\n");
  for (const text of complaints) complain(text);
  return complaints.length > 0 ? 1 : 0;
}

/** Fields that the engine leaves out of its JSON when they are empty, and what they then are. */
const LEFT_OUT: Readonly<Record<string, unknown>> = {
  Health: null,
  Healthcheck: null,
  SizeRw: null,
  SizeRootFs: null,
  Init: null,
  StopTimeout: null,
  ExposedPorts: null,
  Shell: null,
  Tmpfs: null,
  Sysctls: null,
  Annotations: null,
  StorageOpt: null,
  Mounts: null,
  UsageData: null,
  Status: null,
  StopSignal: "",
  MacAddress: "",
  Runtime: "",
  Variant: "",
  OsVersion: "",
  Gateway: "",
  IPRange: "",
  Peers: [],
  Services: {},
  Parent: "",
  Author: "",
};

const missingOfAny: Missing = (record, field) => {
  if (Object.hasOwn(LEFT_OUT, field)) return LEFT_OUT[field];
  // Go's names of fields, as templates are often written with, differ from JSON's only in case: ID and Id.
  const key = Object.keys(record).find((name) => name.toLowerCase() === field.toLowerCase());
  if (key !== undefined) return record[key];
  // In a map that users fill, such as labels, a missing key is no mistake.
  if (Object.keys(record).some((name) => !/^[A-Z]/.test(name)) || Object.keys(record).length === 0) return undefined;
  throw new Error(`map has no entry for key ${JSON.stringify(field)}`);
};

const missingOf =
  ({ type, leftOut }: InspectedShape): Missing =>
  (_record, field, isData) => {
    // Below the value itself are only maps that users or drivers fill.
    if (!isData) return undefined;
    if (Object.hasOwn(leftOut, field)) return leftOut[field];
    throw new Error(`can't evaluate field ${field} in type ${type}`);
  };

async function templateFor(format: string, shape?: InspectedShape): Promise<(data: unknown) => string> {
  const { compileTemplate } = await import("../../base/template/evaluate.ts");
  let template: (data: unknown) => string;
  try {
    template = compileTemplate(
      format,
      shape === undefined ? { missing: missingOfAny } : { type: shape.type, missing: missingOf(shape) },
    );
  } catch (error) {
    throw new ExitError(64, `template parsing error: ${messageOf(error)}`);
  }
  return (data) => {
    try {
      return template(data);
    } catch (error) {
      printLine("");
      throw new ExitError(1, `template parsing error: ${messageOf(error)}`);
    }
  };
}
