import { csvFields } from "../../base/csv.ts";
import { GantryError } from "../../base/errors.ts";
import { parseBool } from "../../base/parse-bool.ts";
import type { Asked } from "./asked.ts";

/** `--call`: what is asked about a Dockerfile in place of building it, and how the answer is shown. */
export interface CallWish {
  readonly name: Asked["call"];
  readonly format: "" | "json" | "text";
  /** The answer's own verdict is no exit code. */
  readonly ignoresStatus: boolean;
}

const NAMES: Readonly<Record<string, Asked["call"]>> = {
  "": "build",
  build: "build",
  check: "check",
  lint: "check",
  outline: "outline",
  targets: "targets",
};

/** `check`, or `targets,format=json`. Throws an Error that says what is wrong. */
export function callOf(text: string): CallWish {
  const [first = "", ...fields] = csvFields(text);
  const rows = new Map<string, string>();
  for (const field of first.includes("=") ? [first, ...fields] : [`type=${first}`, ...fields]) {
    const [key = "", value = "true"] = field.split(/=(.*)/s, 2);
    if (!["type", "format", "ignorestatus"].includes(key)) {
      throw new GantryError("invalid", `invalid call: there is no ${JSON.stringify(key)}`);
    }
    rows.set(key, value);
  }
  const name = NAMES[rows.get("type") ?? ""];
  if (name === undefined) throw new GantryError("invalid", "call has to be one of build, check, outline, targets");
  const format = rows.get("format") ?? "";
  if (format !== "" && format !== "json" && format !== "text") {
    throw new GantryError("invalid", `unsupported format ${JSON.stringify(format)} of call: there are json and text`);
  }
  return { name, format, ignoresStatus: parseBool(rows.get("ignorestatus") ?? "false") === true };
}

interface LintResult {
  readonly warnings?: readonly unknown[] | null;
  readonly buildError?: unknown;
}

/** What was answered, as text, and the exit code that it is. */
export function answerText(
  { name, format, ignoresStatus }: CallWish,
  response: ReadonlyMap<string, string>,
): { readonly text: string; readonly code: number } {
  const json = response.get("result.json") ?? "";
  const code = ignoresStatus ? 0 : Number(response.get("result.statuscode") ?? 0);
  if (format === "json") return { text: `${json.trimEnd()}\n`, code };
  const text = response.get("result.txt") ?? "";
  if (name !== "check") return { text, code };
  const { warnings, buildError } = (json === "" ? {} : JSON.parse(json)) as LintResult;
  const count = warnings?.length ?? 0;
  const head =
    count === 0 ? "" : `Check complete, ${count === 1 ? "1 warning has" : `${count} warnings have`} been found!\n`;
  // The text has the error, too.
  if (buildError !== undefined && buildError !== null) return { text: `${head}${text}`, code: code || 1 };
  return { text: count === 0 ? "Check complete, no warnings found.\n" : `${head}${text}`, code };
}
